/** Random batches for the covariance tests, in every layout and dtype. */

import { decode, encode } from '../../dist/math/tensor.js'
import { normal, uniform } from './arithmetic-random.js'

/** @import { KeyScope } from '../../dist/backend/backend.js' */
/** @import { Dtype } from '../../dist/math/tensor.js' */

/** @typedef {'BTHd' | 'BHTd' | 'BHdT'} Layout */

/**
 * Rows as the package takes them, and their values in float32.
 * @typedef {{ data: Float32Array | Uint16Array, dtype: Dtype, shape: number[], strides: number[],
 *   values: Float32Array }} TestTensor
 */

/**
 * Terms with one typed array a field.
 * @typedef {Record<'contrast' | 'query' | 'posOffsets' | 'pos' | 'negOffsets' | 'neg', Int32Array> &
 *   { queryNeg?: Int32Array, weights?: Float32Array, posWeights?: Float32Array, negWeights?: Float32Array }} TestTerms
 */

/** Axis orders in memory, slowest first, of [batch, pos, heads, d]. */
export const LAYOUTS = { BTHd: [0, 1, 2, 3], BHTd: [0, 2, 1, 3], BHdT: [0, 2, 3, 1] }

/**
 * @param {number[]} shape
 * @param {{ layout?: Layout, dtype?: Dtype, seed?: number, offset?: number, mean?: number, abs?: boolean }} [options]
 * @returns {TestTensor}
 */
export function tensor(
  shape,
  { layout = 'BTHd', dtype = 'f32', seed = 1, offset = 0, mean = 0, abs = false } = {},
) {
  const strides = [0, 0, 0, 0]
  let size = 1
  for (const axis of LAYOUTS[layout].toReversed()) {
    strides[axis] = size
    size *= shape[axis]
  }
  const next = normal(seed)
  const raw = Float64Array.from({ length: size }, () => (abs ? Math.abs(next()) : next()) + mean)
  const data = encode(raw, dtype)
  // A view with an offset into a larger buffer.
  const whole =
    data instanceof Float32Array ? new Float32Array(size + offset) : new Uint16Array(size + offset)
  whole.set(data, offset)
  return { data: whole.subarray(offset), dtype, shape, strides, values: decode(data, dtype) }
}

/**
 * CSR terms over the given numbers of rows; options switch on queryNeg, weights, key weights.
 * @param {number} n
 * @param {number} qRows
 * @param {number} kRows
 * @param {{ contrasts?: number, seed?: number, most?: number, counterfactual?: boolean, weights?: boolean,
 *   keyWeights?: boolean }} [options]
 * @returns {TestTerms}
 */
export function terms(
  n,
  qRows,
  kRows,
  { contrasts = 1, seed = 1, most = 5, counterfactual, weights, keyWeights } = {},
) {
  const next = uniform(seed)
  const below = (m) => Math.floor(next() * m)
  const out = { contrast: [], query: [], posOffsets: [0], pos: [], negOffsets: [0], neg: [] }
  for (let t = 0; t < n; t++) {
    out.contrast.push(below(contrasts))
    out.query.push(below(qRows))
    for (const side of ['pos', 'neg']) {
      for (let j = below(most); j >= 0; j--) {
        out[side].push(below(kRows))
      }
      out[`${side}Offsets`].push(out[side].length)
    }
  }
  if (counterfactual) {
    out.queryNeg = out.query.map((q, t) => (t % 3 ? below(qRows) : q))
  }
  /** @type {any} */
  const arrays = Object.fromEntries(Object.entries(out).map(([key, x]) => [key, Int32Array.from(x)]))
  if (weights) {
    arrays.weights = Float32Array.from({ length: n }, next)
  }
  if (keyWeights) {
    for (const side of ['pos', 'neg']) {
      arrays[`${side}Weights`] = Float32Array.from(out[side], () => 0.1 + next())
    }
  }
  return arrays
}

/**
 * A labelled sequence over rows first .. first + length, some labels null, positions with gaps.
 * @param {number} length
 * @param {{ first?: number, contrast?: number, keyScope?: KeyScope, labels?: number, seed?: number,
 *   shift?: number }} [options]
 */
export function sequence(
  length,
  { first = 0, contrast = 0, keyScope = 'before', labels = 3, seed = 1, shift = 0 } = {},
) {
  const next = uniform(seed)
  const label = () => (next() < 0.15 ? -1 : Math.floor(next() * labels) * 7)
  const rows = Int32Array.from({ length }, (_, i) => first + i)
  const positions = Int32Array.from({ length }, (_, i) => 2 * i + 5)
  return {
    contrast,
    keyScope,
    queryRows: rows,
    keyRows: rows,
    keyPositions: positions,
    queryPositions: positions.map((p) => p + shift),
    queryLabels: Int32Array.from({ length }, label),
    keyLabels: Int32Array.from({ length }, label),
  }
}
