/** u^T D v of one label sequence, from the numbers a_i = u . q_i and b_j = v . k_j. */

import type { Estimator, LabelSequence } from '../../../backend/backend.js'

/** What the sides are divided by: total weight of the positive and of the negative side. */
export type SideWeights = readonly [number, number]

/**
 * sum_i a_i (what the positive keys of query i give - what its negative keys give): their means (`per-query`) or sums
 * (otherwise), each side over its weight. Queries with an empty side are left out. `a` and `b` are by row.
 */
export function labelForm(
  { keyScope, queryRows, queryPositions, queryLabels, keyRows, keyPositions, keyLabels }: LabelSequence,
  a: Float64Array,
  b: Float64Array,
  estimator: Estimator,
  [positiveWeight, negativeWeight]: SideWeights,
): number {
  const sums = new Map<number, { sum: number; count: number }>()
  let sum = 0
  let count = 0
  const take = (j: number) => {
    const label = keyLabels[j]
    if (label < 0) return
    const found = sums.get(label) ?? { sum: 0, count: 0 }
    found.sum += b[keyRows[j]]
    found.count += 1
    sums.set(label, found)
    sum += b[keyRows[j]]
    count += 1
  }
  const before = keyScope === 'before'
  let next = 0
  if (!before) while (next < keyRows.length) take(next++)
  const own =
    keyScope === 'others' ? new Map([...keyPositions].map((position, j) => [position, j])) : undefined
  let total = 0
  for (let i = 0; i < queryRows.length; i++) {
    while (before && next < keyRows.length && keyPositions[next] < queryPositions[i]) take(next++)
    const label = queryLabels[i]
    if (label < 0) continue
    const same = sums.get(label) ?? { sum: 0, count: 0 }
    let [positive, positives, all, alls] = [same.sum, same.count, sum, count]
    const j = own?.get(queryPositions[i])
    if (j !== undefined && keyLabels[j] >= 0) {
      all -= b[keyRows[j]]
      alls -= 1
      if (keyLabels[j] === label) {
        positive -= b[keyRows[j]]
        positives -= 1
      }
    }
    const [negative, negatives] = [all - positive, alls - positives]
    if (positives === 0 || negatives === 0) continue
    const means = estimator === 'per-query'
    const up = positive / (means ? positives : 1) / positiveWeight
    const down = negative / (means ? negatives : 1) / negativeWeight
    total += a[queryRows[i]] * (up - down)
  }
  return total
}
