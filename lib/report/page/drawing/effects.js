/** What edits in features did, beside the same edits in null subspaces and other controls. */

import { percent } from '../shared/dom.js'
import { controlKey, controlledBars } from './controlled-bars.js'
import { figure } from './figure.js'

const OUTPUT = 'output'

const MOVES = [
  ['flipRate', 'flipped', (move) => move.flipRate],
  ['moved', 'moved', (move) => move.moved],
]

/** Of prompts without a target. */
const LOSS = [['origin', 'change on the origin', ({ origin }) => ({ mean: change(origin) })]]

const change = ({ before, after }) => Math.abs(after.mean - before.mean)

/** Flips and attention moved in one head. */
export function effects(own, head, index) {
  const of = (v) => v.heads[head()]
  const targeted = () => own.variants.some((v) => of(v)?.flipRate)
  const rows = () => rowsOf(own, of, targeted() ? MOVES : LOSS)
  const still = () => own.variants.filter((v) => v.kind === 'features' && of(v)?.moved === null)
  const words = () =>
    targeted()
      ? 'Flipped: share of terms where the most attended key was the origin and became the target. Moved: the fraction of the origin’s attention that went to the target.'
      : 'How much the mean attention on the origin changed.'
  return figure({
    id: () => `effects-${index + 1}-${head()}`,
    title: () => `Effect on ${head()}, beside null subspaces`,
    caption: () =>
      [
        words(),
        ...still().map(
          (v) => `Nothing to move for ${v.name}: the origin has ${percent(of(v).origin.before.mean)}.`,
        ),
      ].join(' '),
    key: () => controlKey('features', rows()),
    draw: (width) =>
      rows().length === 0
        ? 'No feature was measured on these prompts.'
        : controlledBars(width, rows(), { domain: [0, 1], label: targeted() ? 'fraction' : 'attention' }),
    rows,
  })
}

/** How far the output moved. */
export function outputEffects(own, index) {
  const rows = () => rowsOf(own, (v) => v[OUTPUT], [['kl', '', (output) => output.kl]])
  return figure({
    id: () => `kl-${index + 1}`,
    title: () => 'How far the output moved',
    caption: () => 'KL divergence of the next token’s distribution after the edit from that before, in nats.',
    key: () => controlKey('features', rows()),
    draw: (width) =>
      rows().length === 0
        ? 'No feature was measured on these prompts.'
        : controlledBars(width, rows(), { label: 'KL, nats' }),
    rows,
  })
}

/** A row a feature and measure: `[key, name, figure of what was measured]`. */
function rowsOf(own, of, measures) {
  const control = (variant, kind) =>
    own.variants.find((v) => v.kind === kind && v.features.join() === variant.features.join())
  return own.variants
    .filter((v) => v.kind === 'features' && of(v))
    .flatMap((v) =>
      measures.flatMap(([key, name, figureOf]) => {
        const value = figureOf(of(v))
        if (!value) return []
        const beside = (kind) => {
          const other = control(v, kind)
          return (other && of(other) && figureOf(of(other))?.mean) ?? null
        }
        const nulls = control(v, 'null')
        return [
          {
            ...{
              label: name ? `${v.name}: ${name}` : v.name,
              edited: v.name,
              measure: name || key,
              ...value,
            },
            ...{ nullMean: beside('null'), nullTop: (nulls && of(nulls)?.p95?.[key]) ?? null },
            ...{ keys: beside('keys'), meanQuery: beside('mean query'), random: beside('random') },
            within: of(v).exceedsNull?.[key] === false,
          },
        ]
      }),
    )
}
