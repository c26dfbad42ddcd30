/** What tells the candidate boxes of one prompt apart, for figure 10. */

import { figure } from '../../drawing/figure.js'
import { REST, stackedScores, stackKey } from '../../drawing/stacked-scores.js'
import { el } from '../../shared/dom.js'

const PARTS = ['order', 'lexical']

/** A figure each kind of covariances, and one of their null subspaces. */
export function candidateBars(candidates, anchor) {
  const figures = ['plain', 'centred'].flatMap((covariances) => {
    const own = candidates.filter((row) => row.covariances === covariances)
    const drawn = (name, title, caption, part) =>
      stacked({ own, name: `${anchor}-${name}`, title, caption, part })
    return [
      drawn(
        `candidates-${covariances}`,
        `The candidate boxes of one prompt, ${covariances} covariances`,
        'Scores of the last token’s query with the box that is the answer and with the others, less their mean over these boxes: what attention chooses by.',
        (row, name) => row[name],
      ),
      drawn(
        `candidates-${covariances}-null`,
        `The same in null subspaces, ${covariances} covariances`,
        'The parts that subspaces of exchanged labels take, the mean of their draws: what of the parts above is no evidence.',
        (row, name) => row[`${name}, null mean`],
      ),
    ]
  })
  return el('div', { class: 'pair' }, figures)
}

function stacked({ own, name, title, caption, part }) {
  const words = own.map(
    ({ token, position, role }) => `${token ?? position}${role === 'answer' ? ', answer' : ''}`,
  )
  const rest = (row) => PARTS.reduce((left, one) => left - part(row, one), row.total)
  const rows = own.flatMap((row, token) => [
    ...PARTS.map((one) => ({ token, part: one, value: part(row, one) })),
    { token, part: REST, value: rest(row) },
  ])
  return figure({
    id: () => name,
    title: () => title,
    caption: () => caption,
    key: () => stackKey(PARTS),
    draw: (width) =>
      stackedScores(
        Math.min(width, 480),
        rows,
        own.map(({ total }) => total),
        words,
        PARTS,
      ),
    rows: () => own,
  }).node
}
