/** u^T D v of one label sequence, from the numbers a_i = u . q_i and b_j = v . k_j. */

import type { Estimator, LabelSequence } from '../../../backend/backend.js'

/** Divisors of the sides: total weight of the positive and of the negative side. */
export type SideWeights = readonly [number, number]

/**
 * sum_i a_i (P_i - N_i), where P_i and N_i come from the positive and negative keys of query i: the means of their b
 * (`per-query`) or the sums (otherwise), each side over its weight. Queries with an empty side are left out. `a` and
 * `b` are by row; labels are 0, 1, 2, ..., or below 0 for none.
 */
export function labelForm(
  { keyScope, queryRows, queryPositions, queryLabels, keyRows, keyPositions, keyLabels }: LabelSequence,
  a: Float64Array,
  b: Float64Array,
  estimator: Estimator,
  [positiveWeight, negativeWeight]: SideWeights,
): number {
  const seen = new SeenKeys(keyLabels)
  const number = (j: number) => b[keyRows[j]]
  const before = keyScope === 'before'
  let next = 0
  while (!before && next < keyRows.length) {
    seen.take(next, number(next++))
  }
  const own =
    keyScope === 'others' ? new Map([...keyPositions].map((position, j) => [position, j])) : undefined
  const means = estimator === 'per-query'
  let total = 0
  for (let i = 0; i < queryRows.length; i++) {
    while (before && next < keyRows.length && keyPositions[next] < queryPositions[i]) {
      seen.take(next, number(next++))
    }
    if (queryLabels[i] < 0) {
      continue
    }
    const j = own?.get(queryPositions[i])
    const { positive, positives, negative, negatives } = seen.split(
      queryLabels[i],
      j === undefined || keyLabels[j] < 0 ? undefined : { label: keyLabels[j], value: number(j) },
    )
    if (positives === 0 || negatives === 0) {
      continue
    }
    const up = positive / (means ? positives : 1) / positiveWeight
    const down = negative / (means ? negatives : 1) / negativeWeight
    total += a[queryRows[i]] * (up - down)
  }
  return total
}

/** Running sums of the numbers of visible keys: for each label, and in total. */
class SeenKeys {
  private readonly sums: Float64Array
  private readonly counts: Float64Array
  private sum = 0
  private count = 0

  constructor(private readonly labels: Int32Array) {
    let most = 0
    for (const label of labels) {
      most = Math.max(most, label + 1)
    }
    this.sums = new Float64Array(most)
    this.counts = new Float64Array(most)
  }

  take(j: number, value: number): void {
    const label = this.labels[j]
    if (label < 0) {
      return
    }
    this.sums[label] += value
    this.counts[label] += 1
    this.sum += value
    this.count += 1
  }

  /** Sums of the keys with the label and of the others. The query's own key is subtracted if the sums contain it. */
  split(label: number, own: { label: number; value: number } | undefined) {
    let positive = this.sums[label] ?? 0
    let positives = this.counts[label] ?? 0
    let [all, alls] = [this.sum, this.count]
    if (own) {
      all -= own.value
      alls -= 1
      if (own.label === label) {
        positive -= own.value
        positives -= 1
      }
    }
    return { positive, positives, negative: all - positive, negatives: alls - positives }
  }
}
