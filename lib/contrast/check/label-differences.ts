/** Dependence of a sequence's labels on their position and on the previous label, besides the feature. */

import type { Label, Labels } from '../prompt.js'
import { LABEL_STRIDE, type Numbering } from './term-differences.js'
import type { UnitDifferences } from './units/differences.js'

/** Fewer bins than for terms, since all labels of a sequence fall into them. */
const BINS = 5

/**
 * Adds a label sequence to its unit. `label drift`: positions with each label in each fifth of the sequence, less the
 * expectation under independence within the sequence. `label repetition`: neighbours with the same label, less the
 * expected number when the sequence's labels are shuffled. Both have mean 0 if the labels of a sequence are
 * exchangeable.
 */
export function addLabels(unit: UnitDifferences, query: readonly Label[], classes: Numbering<Label>): void {
  const perClass = new Map<number, number>()
  const perBin = new Float64Array(BINS)
  const joint = new Map<number, number>()
  let labelled = 0
  let pairs = 0
  let same = 0
  query.forEach((label, i) => {
    if (label === null) {
      return
    }
    const id = classes.of(label)
    const bin = Math.floor((BINS * i) / query.length)
    labelled += 1
    perBin[bin] += 1
    perClass.set(id, (perClass.get(id) ?? 0) + 1)
    joint.set(id * BINS + bin, (joint.get(id * BINS + bin) ?? 0) + 1)
    unit.add('label place', id, i / Math.max(1, query.length - 1))
    unit.add('label place', LABEL_STRIDE + id, 1)
    if (i > 0 && query[i - 1] !== null) {
      pairs += 1
      same += Number(query[i - 1] === label)
    }
  })
  if (labelled < 2) {
    return
  }
  unit.weigh('label place', labelled)
  for (const [id, count] of perClass) {
    for (let bin = 0; bin < BINS; bin++) {
      const expected = (count * perBin[bin]) / labelled
      if (expected > 0) {
        unit.add('label drift', id * BINS + bin, (joint.get(id * BINS + bin) ?? 0) - expected)
      }
    }
  }
  unit.weigh('label drift', labelled)
  if (pairs > 0) {
    const agreeing = [...perClass.values()].reduce((sum, n) => sum + n * (n - 1), 0)
    const expected = (pairs * agreeing) / (labelled * (labelled - 1))
    unit.addNumber('label repetition', same - expected, pairs)
    unit.addNumber('label repetition expected', expected, pairs)
  }
}

/** Number of label queries of a sequence, by the keys that they have. */
export interface LabelQueries {
  /** Queries with positive and negative keys. */
  complete: number
  withoutPositive: number
  /** Queries with positive but no negative keys. */
  withoutNegative: number
}

/**
 * Counts queries as the accumulation does. The key scope is: earlier keys with `causal`; otherwise all keys but the
 * query's own position; all keys if query and key axes differ in length.
 */
export function countQueries({ query, key = query, causal = false }: Labels): LabelQueries {
  const counts = { complete: 0, withoutPositive: 0, withoutNegative: 0 }
  const cross = key.length !== query.length
  const totals = new Map<Label, number>()
  let all = 0
  const add = (label: Label) => {
    if (label !== null) {
      totals.set(label, (totals.get(label) ?? 0) + 1)
      all += 1
    }
  }
  if (!causal) {
    key.forEach(add)
  }
  query.forEach((label, i) => {
    if (label !== null) {
      const own = !causal && !cross && key[i] !== null
      const positive = (totals.get(label) ?? 0) - Number(own && key[i] === label)
      const negative = all - Number(own) - positive
      if (positive <= 0) {
        counts.withoutPositive += 1
      } else if (negative <= 0) {
        counts.withoutNegative += 1
      } else {
        counts.complete += 1
      }
    }
    if (causal && i < key.length) {
      add(key[i])
    }
  })
  return counts
}
