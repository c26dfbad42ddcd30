/**
 * Label sequences as rows for sign flips. Valid only if labels are exchangeable over positions, which callers declare.
 */

import type { LabelSequence } from '../../../backend/backend.js'
import type { PlainRows } from '../../../covariance/kept/term-rows.js'
import { unitKey } from '../../../math/unit-hash.js'
import type { UnitRows } from './flip-rows.js'

/** One pair of rows for each query position with both kinds of keys. The sequence is the unit. */
export function labelFlips(
  rows: PlainRows,
  sequences: readonly LabelSequence[],
  ids: readonly string[],
): UnitRows {
  const { heads, kvHeads, headDim: d, estimator, q, k } = rows
  const [qWidth, kWidth] = [heads * d, kvHeads * d]
  const made: { query: number; unit: number; side: number; keys: number; sum: Float64Array }[] = []
  const perQuery = estimator === 'per-query'
  sequences.forEach((sequence, unit) => {
    for (const { query, sides } of labelledQueries(sequence)) {
      sides.forEach((list, s) => {
        const sum = weightedSum(k, kWidth, list, perQuery ? 1 / list.length : 1)
        made.push({ query, unit, side: s === 0 ? 1 : -1, keys: perQuery ? 1 : list.length, sum })
      })
    }
  })
  const out: UnitRows = {
    heads,
    kvHeads,
    headDim: d,
    rows: made.length,
    q: new Float32Array(made.length * qWidth),
    k: new Float32Array(made.length * kWidth),
    side: Int8Array.from(made, ({ side }) => side),
    keys: Float64Array.from(made, ({ keys }) => keys),
    weight: new Float64Array(made.length).fill(1),
    unit: Int32Array.from(made, ({ unit }) => unit),
    unitKeys: ids.map(unitKey),
    estimator,
    counterfactual: false,
  }
  made.forEach(({ query, sum }, row) => {
    out.q.set(q.subarray(query * qWidth, (query + 1) * qWidth), row * qWidth)
    out.k.set(sum, row * kWidth)
  })
  return out
}

/** The sum of some rows, each times `by`. */
function weightedSum(data: Float32Array, width: number, rows: readonly number[], by: number): Float64Array {
  const sum = new Float64Array(width)
  for (const row of rows) {
    for (let i = 0; i < width; i++) {
      sum[i] += by * data[row * width + i]
    }
  }
  return sum
}

/** Rows of queries that have a positive and a negative key, and the rows of both. */
function* labelledQueries(
  sequence: LabelSequence,
): Generator<{ query: number; sides: [number[], number[]] }> {
  const { keyScope, queryRows, queryPositions, queryLabels, keyRows, keyPositions, keyLabels } = sequence
  for (let i = 0; i < queryRows.length; i++) {
    if (queryLabels[i] < 0) {
      continue
    }
    const sides: [number[], number[]] = [[], []]
    for (let j = 0; j < keyRows.length; j++) {
      const hidden =
        keyScope === 'before'
          ? keyPositions[j] >= queryPositions[i]
          : keyScope === 'others' && keyPositions[j] === queryPositions[i]
      if (hidden || keyLabels[j] < 0) {
        continue
      }
      sides[keyLabels[j] === queryLabels[i] ? 0 : 1].push(keyRows[j])
    }
    if (sides[0].length > 0 && sides[1].length > 0) {
      yield { query: queryRows[i], sides }
    }
  }
}
