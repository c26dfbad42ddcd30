/** Computes the matrices sum_u (+-) D_u of a few draws: every draw is accumulated as a separate contrast. */

import type { BackendChoice } from '../../../backend/select.js'
import { QKCovariance } from '../../../covariance/qk-covariance.js'
import { pickHeads } from '../../../math/pick-heads.js'
import type { FlipRows } from './flip-rows.js'

/** Workspace in bytes: most memory of the sums of the draws in one step. */
const ROOM = 64 * 2 ** 20

export interface FlipSizes {
  heads: number
  kvHeads: number
  headDim: number
}

/**
 * The matrices [draws, requested heads, d, d]; `flips` as from `flipBits`, for as many draws. A row is a term of one
 * key: positive if its sign is +, negative if it is -, with a key of zeros on the other side.
 */
export async function flipMatrices(
  rows: FlipRows,
  { heads: all, kvHeads, headDim: d }: FlipSizes,
  heads: readonly number[],
  flips: Uint32Array,
  draws: number,
  backend: BackendChoice,
  signal?: AbortSignal,
): Promise<Float64Array> {
  const size = heads.length * d * d
  const out = new Float64Array(draws * size)
  if (rows.rows === 0) {
    return out
  }
  const keyHeads = heads.map((head) => Math.floor(head / (all / kvHeads)))
  const keys = pickHeads(rows.k, rows.rows, kvHeads, d, keyHeads)
  const withZero = new Float32Array(keys.length + heads.length * d)
  withZero.set(keys)
  const q = {
    data: pickHeads(rows.q, rows.rows, all, d, heads),
    shape: [1, rows.rows, heads.length, d] as const,
  }
  const k = { data: withZero, shape: [1, rows.rows + 1, heads.length, d] as const }
  const words = Math.ceil(draws / 32)
  const together = Math.max(1, Math.min(draws, Math.floor(ROOM / (8 * 2 * size))))
  for (let from = 0; from < draws; from += together) {
    const count = Math.min(together, draws - from)
    const covariance = new QKCovariance({
      heads: heads.length,
      headDim: d,
      contrasts: Array.from({ length: count }, (_, c) => `${c}`),
      backend,
    })
    try {
      for (let c = 0; c < count; c++) {
        await covariance.add({ q, k, terms: termsOfDraw(rows, flips, words, from + c, c), signal })
      }
      const { positive, negative } = await covariance.moments()
      for (let i = 0; i < count * size; i++) {
        out[from * size + i] = positive.qk[i] - negative.qk[i]
      }
    } finally {
      covariance.dispose()
    }
  }
  return out
}

function termsOfDraw(
  { rows, coefficients, units }: FlipRows,
  flips: Uint32Array,
  words: number,
  draw: number,
  contrast: number,
) {
  const query = Int32Array.from({ length: rows }, (_, row) => row)
  const offsets = Int32Array.from({ length: rows + 1 }, (_, row) => row)
  const [pos, neg] = [query.slice(), query.slice()]
  for (let row = 0; row < rows; row++) {
    const turned = (flips[units[row] * words + (draw >>> 5)] >>> (draw & 31)) & 1
    const side = (turned === 1) === coefficients[row] < 0 ? neg : pos
    // The key of zeros comes after all others.
    side[row] = rows
  }
  return {
    contrast: new Int32Array(rows).fill(contrast),
    query,
    posOffsets: offsets,
    pos,
    negOffsets: offsets,
    neg,
    weights: coefficients.map(Math.abs),
  }
}
