/** Attention scores and patterns of single query rows, in float64. */

import type { FloatArray } from './tensor.js'

/** scale * q_i . k_ij, [n, keys], of queries [n, d] and keys [n, keys, d]. */
export function scoreRows(q: FloatArray, k: FloatArray, d: number, scale: number): Float64Array {
  const n = q.length / d
  const keys = n === 0 ? 0 : k.length / (n * d)
  const scores = new Float64Array(n * keys)
  for (let row = 0; row < n; row++) {
    for (let i = row * keys; i < (row + 1) * keys; i++) {
      scores[i] = scale * dotAt(q, row * d, k, i * d, d)
    }
  }
  return scores
}

/** The dot product of d elements of `a` from `fromA` and d of `b` from `fromB`. */
export function dotAt(a: FloatArray, fromA: number, b: FloatArray, fromB: number, d: number): number {
  let sum = 0
  for (let i = 0; i < d; i++) {
    sum += a[fromA + i] * b[fromB + i]
  }
  return sum
}

/**
 * The softmax of each row [n, keys] over its unmasked keys. Masked keys get 0, and so do all keys of a fully masked
 * row.
 */
export function softmaxRows(scores: Float64Array, keys: number, mask?: Uint8Array): Float64Array {
  const pattern = new Float64Array(scores.length)
  const visible = (i: number) => mask === undefined || mask[i] === 1
  for (let start = 0; start < scores.length; start += keys) {
    let largest = Number.NEGATIVE_INFINITY
    for (let i = start; i < start + keys; i++) {
      if (visible(i)) {
        largest = Math.max(largest, scores[i])
      }
    }
    let sum = 0
    for (let i = start; i < start + keys; i++) {
      if (visible(i)) {
        pattern[i] = Math.exp(scores[i] - largest)
        sum += pattern[i]
      }
    }
    if (sum > 0) {
      for (let i = start; i < start + keys; i++) {
        pattern[i] /= sum
      }
    }
  }
  return pattern
}
