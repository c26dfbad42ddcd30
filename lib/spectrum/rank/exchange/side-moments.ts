/**
 * Moments of a head's rows without any contrast: the mean direction of its queries, and the directions in which its
 * keys vary.
 */

import { cooperator } from '../../../backend/cooperate.js'

export interface SideMoments {
  /** Mean of the queries, [d]. */
  meanQuery: Float64Array
  /** sum_r k_r k_r^T over rows, [d, d]: its eigenvectors are the principal components of the keys. */
  keyMoment: Float64Array
}

/** Most rows that are used; more would not change the result noticeably. */
const MOST_ROWS = 4_096

export interface SideRows {
  heads: number
  kvHeads: number
  headDim: number
  /** [rows, heads, d] and [rows, kvHeads, d]; the numbers of rows may differ. */
  q: Float32Array
  k: Float32Array
}

/**
 * Moments of a head. Keys that are differences within a term are used as they are, since an exchange of the two
 * changes their mean. Other keys (`centre`) are centred, since no exchange changes their mean.
 */
export async function sideMoments(
  { heads, kvHeads, headDim: d, q, k }: SideRows,
  head: number,
  centre: boolean,
): Promise<SideMoments> {
  const pause = cooperator()
  const meanQuery = meanOf(q, heads, head, d)
  await pause()
  const keyHead = Math.floor(head / (heads / kvHeads))
  const mean = centre ? meanOf(k, kvHeads, keyHead, d) : new Float64Array(d)
  const keyMoment = new Float64Array(d * d)
  const key = new Float64Array(d)
  for (const row of spread(k.length / (kvHeads * d))) {
    const at = (row * kvHeads + keyHead) * d
    for (let i = 0; i < d; i++) {
      key[i] = k[at + i] - mean[i]
    }
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        keyMoment[i * d + j] += key[i] * key[j]
      }
    }
    await pause()
  }
  return { meanQuery, keyMoment }
}

function meanOf(data: Float32Array, heads: number, head: number, d: number): Float64Array {
  const mean = new Float64Array(d)
  const rows = data.length / (heads * d)
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < d; i++) {
      mean[i] += data[(row * heads + head) * d + i] / rows
    }
  }
  return mean
}

/** Evenly spaced rows. */
function* spread(rows: number): Generator<number> {
  const step = Math.max(1, rows / MOST_ROWS)
  for (let at = 0; at < rows; at += step) {
    yield Math.floor(at)
  }
}
