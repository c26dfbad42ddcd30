/** Figures of the paper’s tables, each beside its null subspaces and other controls. */

import { controlKey, controlledBars } from '../../drawing/controlled-bars.js'
import { figure } from '../../drawing/figure.js'
import { slug } from './wording.js'

/** Rows of a table with the columns of controls, as `controlledBars` takes them. */
export const besideNulls = (row, label) => ({
  label,
  mean: row.value,
  low: row.low,
  high: row.high,
  nullMean: row['null mean'],
  nullTop: row['null p95'],
  keys: row['key components'],
  meanQuery: row['mean query'],
  random: row.random,
  within: row['above null'] === false,
})

/** `label` names a row; rows of the whole keys have no null, and say so. */
export function controlled(table, anchor, { title, words, label }) {
  const rows = table.map((row) => besideNulls(row, label(row)))
  return figure({
    id: () => `${anchor}-${slug(title)}`,
    title: () => title,
    caption: () =>
      `${words} Each bar stands beside the same of null subspaces of equal rank (of exchanged labels) and of other controls; what is within the null is no evidence.`,
    key: () => controlKey('subspaces', rows),
    draw: (width) => controlledBars(width, rows, { label: 'fraction', domain: [0, 1] }),
    rows: () => table,
  }).node
}
