/**
 * The rows whose products sum to ΔC, which the rank test exchanges (docs/method.md, Rank 1). Under `per-query`, a term
 * with one query is one row: q, and the mean of its positive keys less that of its negative keys. Otherwise it is two
 * rows, one per side. Under `per-pair` and `sum`, the pooled mean of all keys is subtracted later, which requires the
 * sides and their numbers of keys.
 */

import type { Estimator, RowTensor, TermBatch } from '../../backend/backend.js'
import { cooperator } from '../../backend/cooperate.js'
import { elementReader } from '../../math/tensor.js'

/** Rows of one contrast and of heads that share them. */
export interface TermRows {
  heads: number
  kvHeads: number
  headDim: number
  rows: number
  /** [rows, heads, d] */
  q: Float32Array
  /** Means of keys (`per-query`), or sums (otherwise), [rows, kvHeads, d]. */
  k: Float32Array
  /** Term of each row, [rows]. */
  term: Int32Array
  /** Side of the keys, [rows]: 1 positive, -1 negative, 0 the difference of both. */
  side: Int8Array
  /** Total weight of the keys in `k`, 1 for a mean, [rows]. */
  keys: Float64Array
  /** Weight of the term, [rows]. */
  weight: Float64Array
}

/** Number of rows of a term. */
export function rowsOfTerm(estimator: Estimator, counterfactual: boolean): 1 | 2 {
  return estimator === 'per-query' && !counterfactual ? 1 : 2
}

/** The rows of the given terms, in that order, from a batch that has been checked. */
export async function termRows(
  q: RowTensor,
  k: RowTensor,
  terms: TermBatch,
  chosen: ArrayLike<number>,
  estimator: Estimator,
  counterfactual: boolean,
  signal?: AbortSignal,
): Promise<TermRows> {
  const [, , heads, d] = q.shape
  const kvHeads = k.shape[2]
  const each = rowsOfTerm(estimator, counterfactual)
  const rows = chosen.length * each
  const out: TermRows = {
    heads,
    kvHeads,
    headDim: d,
    rows,
    q: new Float32Array(rows * heads * d),
    k: new Float32Array(rows * kvHeads * d),
    term: new Int32Array(rows),
    side: new Int8Array(rows),
    keys: new Float64Array(rows).fill(1),
    weight: new Float64Array(rows),
  }
  const means = estimator === 'per-query'
  const positive = { rows: terms.pos, weights: terms.posWeights, offsets: terms.posOffsets }
  const negative = { rows: terms.neg, weights: terms.negWeights, offsets: terms.negOffsets }
  const readQuery = rowReader(q)
  const readKey = rowReader(k)
  const width = kvHeads * d
  const sum = new Float64Array(width)
  const pause = cooperator(signal)
  /** The difference of both sides (0), the positive side (1) or the negative side (-1). */
  const keySum = (t: number, side: 0 | 1 | -1): number => {
    sum.fill(0)
    if (side === 0) {
      addKeys(sum, readKey, positive, t, 1)
      return addKeys(sum, readKey, negative, t, -1)
    }
    return addKeys(sum, readKey, side === 1 ? positive : negative, t, means ? 1 : 0)
  }
  const sides = each === 1 ? ([0] as const) : ([1, -1] as const)
  for (let i = 0; i < chosen.length; i++) {
    await pause()
    const t = chosen[i]
    for (const [r, side] of sides.entries()) {
      const row = i * each + r
      out.term[row] = t
      out.side[row] = side
      out.weight[row] = terms.weights?.[t] ?? 1
      readQuery(side === -1 ? terms.queryNeg[t] : terms.query[t], out.q, row * heads * d)
      const total = keySum(t, side)
      if (!means) {
        out.keys[row] = total
      }
      out.k.set(sum, row * width)
    }
  }
  return out
}

/** Keys of one side of all terms: those of term t are [offsets[t], offsets[t + 1]). */
interface KeySets {
  rows: Int32Array
  weights: Float32Array | undefined
  offsets: Int32Array
}

type RowReader = (row: number, out: Float32Array | Float64Array, at: number) => void

/**
 * Adds the weighted keys of term t's set: their mean times `sign`, or their sum if `sign` is 0. Returns their total
 * weight.
 */
function addKeys(
  sum: Float64Array,
  read: RowReader,
  { rows, weights, offsets }: KeySets,
  t: number,
  sign: number,
): number {
  let total = 0
  for (let j = offsets[t]; j < offsets[t + 1]; j++) {
    total += weights?.[j] ?? 1
  }
  const factor = sign === 0 ? 1 : sign / total
  const key = new Float64Array(sum.length)
  for (let j = offsets[t]; j < offsets[t + 1]; j++) {
    read(rows[j], key, 0)
    const by = factor * (weights?.[j] ?? 1)
    for (let x = 0; x < sum.length; x++) {
      sum[x] += by * key[x]
    }
  }
  return total
}

/** Reads all heads of a row, [heads, d]. */
export function rowReader(t: RowTensor): RowReader {
  const [, pos, heads, d] = t.shape
  const [sb, st, sh, sd] = t.strides
  const start = (row: number) => Math.floor(row / pos) * sb + (row % pos) * st
  if (t.dtype === 'f32' && sd === 1 && sh === d) {
    const { data } = t
    return (row, out, at) => out.set(data.subarray(start(row), start(row) + heads * d), at)
  }
  const read = elementReader(t.data, t.dtype)
  return (row, out, at) => {
    const from = start(row)
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < d; i++) {
        out[at + h * d + i] = read(from + h * sh + i * sd)
      }
    }
  }
}

/** Rows of queries and keys to which terms or label sequences refer. */
export interface PlainRows {
  heads: number
  kvHeads: number
  headDim: number
  /** [query rows, heads, d] */
  q: Float32Array
  /** [key rows, kvHeads, d] */
  k: Float32Array
  estimator: Estimator
}

/** Every row of queries and keys. */
export async function plainRows(
  q: RowTensor,
  k: RowTensor,
  estimator: Estimator,
  signal?: AbortSignal,
): Promise<PlainRows> {
  const pause = cooperator(signal)
  const all = async (tensor: RowTensor) => {
    const [batch, pos, heads, d] = tensor.shape
    const out = new Float32Array(batch * pos * heads * d)
    const read = rowReader(tensor)
    for (let row = 0; row < batch * pos; row++) {
      read(row, out, row * heads * d)
      await pause()
    }
    return out
  }
  return {
    heads: q.shape[2],
    kvHeads: k.shape[2],
    headDim: q.shape[3],
    q: await all(q),
    k: await all(k),
    estimator,
  }
}
