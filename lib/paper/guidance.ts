/**
 * The attention targets that guided the bundled transformer's training (lib/bundled/README.md). They limit what its
 * heads show.
 */

const GUIDED = {
  L3H0: {
    wanted: 'the letter of the answer’s box',
    more: ' Training also closed the way by order or the way by name for a third of the sequences each, so that the model had to learn both: that it has an order and a lexical feature is by design.',
  },
  L3H2: { wanted: 'the item that is the answer', more: '' },
} as const

/** Note beside every figure about such a head. */
export function guidanceNote(head: string): string {
  const guided = GUIDED[head as keyof typeof GUIDED]
  if (!guided) {
    return `${head} is not among the heads that an auxiliary loss guided while the bundled transformer was trained (lib/bundled/README.md), but other heads of that model were guided.`
  }
  return `${head} was taught where to look. For the first 1,000 of 1,500 training steps an auxiliary loss, fading linearly to nothing, rewarded it for attention from the last token to ${guided.wanted} (lib/bundled/README.md). That this head attends there is therefore no finding. The loss did not say by which features of the keys.${guided.more}`
}
