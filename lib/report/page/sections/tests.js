/** What was tested on prompts beside the test of rank: edits, and how much of the scores the subspace explains. */

import { effects, outputEffects } from '../drawing/effects.js'
import { explained } from '../drawing/explained.js'
import { attributeCommand, interveneCommand } from '../shared/commands.js'
import { absent, capital, el, plural } from '../shared/dom.js'
import { onSelect, report, selection } from '../shared/selection.js'

export function tests() {
  const body = el('div', {})
  const edits = report.interventions.map(editBlock)
  const splits = report.attributions.map(explainedBlock)
  const fill = () => {
    const { head } = selection
    const shown = [...edits, ...splits].filter(({ has }) => has(head))
    body.replaceChildren(
      ...shown.map(({ node }) => node),
      ...(edits.some(({ has }) => has(head))
        ? []
        : [
            absent(
              `Edits in ${head} were not measured. To measure what its dimensions move:`,
              interveneCommand(),
            ),
          ]),
      ...(splits.some(({ has }) => has(head))
        ? []
        : [
            absent(
              `How much of the scores of ${head} its subspaces explain was not measured. To measure it:`,
              attributeCommand(),
            ),
          ]),
    )
    for (const { figures } of shown) {
      for (const { redraw } of figures) {
        redraw()
      }
    }
  }
  onSelect(fill)
  fill()
  return el('section', { id: 'tests', 'aria-labelledby': 'tests-title' }, [
    el('h2', { id: 'tests-title' }, 'Tests'),
    el(
      'p',
      {},
      'Each figure stands beside what subspaces of random labels reach (the band, from their mean to their 95th percentile), and beside other controls of the same rank. What does not pass the band is pale: it is no evidence.',
    ),
    body,
  ])
}

const EDITS = { swap: 'Exchange', patch: 'Patching', ablate: 'Ablation', scale: 'Scaling' }

function editBlock(own, index) {
  const figures = [...effects(own, index), ...outputEffects(own, index)]
  const several = own.heads.length > 1 ? `${own.heads.join(', ')} edited together` : `${own.heads[0]} edited`
  const node = el('div', { class: 'document' }, [
    el('h3', {}, `${EDITS[own.edit] ?? own.edit} of ${own.side === 'key' ? 'keys' : 'queries'}, ${several}`),
    el(
      'p',
      {},
      `${own.name}: ${plural(own.terms, 'term')} of ${plural(own.prompts.prompts, 'prompt')}, seed ${own.seed}; 95% bootstrap intervals over prompts.${own.noNull ? ` ${capital(own.noNull)}.` : ''}`,
    ),
    ...figures.map((one) => one.node),
  ])
  return { node, figures, has: (head) => own.heads.includes(head) }
}

function explainedBlock(own, index) {
  const figures = [explained(own, index)]
  const order = own.order ? ` in the order ${own.order.join(', ')}` : ''
  const keys = own.keys === 'term' ? 'keys of the terms' : 'all keys'
  const words = `${own.name}: method ${own.method}${order}, ${own.sides} side${own.sides === 'both' ? 's' : ''}, ${keys}${own.centered ? ', each row less its mean over them' : ''}, seed ${own.seed}.`
  const node = el('div', { class: 'document' }, [
    el('h3', {}, 'What the subspaces explain of the scores'),
    el('p', {}, words),
    ...figures.map((one) => one.node),
  ])
  return { node, figures, has: (head) => head in own.heads }
}
