/** The scores of one prompt, for figure 10. */

import { figure } from '../../drawing/figure.js'
import { REST, stackedScores, stackKey } from '../../drawing/stacked-scores.js'

const PARTS = ['order', 'lexical']

export function scoreBars(scores, anchor) {
  const words = scores.map(({ token, position }) => token ?? `${position}`)
  const parts = () =>
    scores.flatMap((row, token) => [
      ...PARTS.map((name) => ({ token, part: name, value: row[name] })),
      { token, part: REST, value: row.residual },
    ])
  return figure({
    id: () => `${anchor}-scores`,
    title: () => 'Scores of one prompt, token by token',
    caption: () =>
      'Scaled scores of the last token’s query with every key: parts stacked, negative ones below zero; the line is their sum, the full score.',
    key: () => stackKey(PARTS),
    draw: (width) =>
      stackedScores(
        width,
        parts(),
        scores.map(({ total }) => total),
        words,
        PARTS,
      ),
    rows: () => scores,
  }).node
}
