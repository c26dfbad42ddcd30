/** Rows of the paper’s figures as points. */

import { scatter } from '../../drawing/points/scatter.js'
import { el } from '../../shared/dom.js'
import { slug } from './wording.js'

/** A scatter for each combination of what is neither label nor coordinate, in the order of the table. */
export function clouds(points, anchor, labelColumn, titleOf) {
  const groups = new Map()
  for (const { [labelColumn]: label, pc1, pc2, pc3, ...rest } of points) {
    const key = JSON.stringify(rest)
    if (!groups.has(key)) {
      groups.set(key, { rest, points: [] })
    }
    const at = [pc1, pc2, pc3].filter((value) => value !== null)
    groups.get(key).points.push({ at, label: readableLabel(labelColumn, label) })
  }
  const figures = [...groups.values()].map(({ rest, points: own }) =>
    scatter({
      id: () => `${anchor}-points-${slug(titleOf(rest))}`,
      title: () => titleOf(rest),
      caption: () => `Along their first principal components; colour: ${labelColumn}.`,
      cloud: () => ({ points: own }),
      more: () => rest,
    }),
  )
  return el(
    'div',
    { class: 'pair' },
    figures.map(({ node }) => node),
  )
}

/** Places are counted from 0 in the table, and signs are set as such. */
const readableLabel = (column, label) =>
  column === 'place' ? `place ${Number(label) + 1}` : column === 'signs' ? label.replaceAll('-', '−') : label
