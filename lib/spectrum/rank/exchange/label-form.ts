/** u^T D v of one label sequence, from the numbers a_i = u . q_i and b_j = v . k_j. */

import type { Estimator, LabelSequence } from '../../../backend/backend.js'

/** What the sides are divided by: total weight of the positive and of the negative side. */
export type SideWeights = readonly [number, number]

/**
 * sum_i a_i (what the positive keys of query i give - what its negative keys give): their means (`per-query`) or sums
 * (otherwise), each side over its weight. Queries with an empty side are left out. `a` and `b` are by row; labels are
 * 0, 1, 2, ..., or below 0 where there is none.
 */
export function labelForm(
  { keyScope, queryRows, queryPositions, queryLabels, keyRows, keyPositions, keyLabels }: LabelSequence,
  a: Float64Array,
  b: Float64Array,
  estimator: Estimator,
  [positiveWeight, negativeWeight]: SideWeights,
): number {
  let most = 0
  for (const label of keyLabels) most = Math.max(most, label + 1)
  const sums = new Float64Array(most)
  const counts = new Float64Array(most)
  let sum = 0
  let count = 0
  const take = (j: number) => {
    const label = keyLabels[j]
    if (label < 0) return
    sums[label] += b[keyRows[j]]
    counts[label] += 1
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
    let positive = label < most ? sums[label] : 0
    let positives = label < most ? counts[label] : 0
    let all = sum
    let alls = count
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
