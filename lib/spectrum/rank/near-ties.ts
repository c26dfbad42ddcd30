/** Singular directions that the data cannot separate (docs/method.md, Rank 10). */

import { firstColumns } from '../../math/columns.js'
import { meanAndDeviation } from '../../math/moments.js'
import type { NullSource } from './exchange/null-source.js'

/** Number of standard errors by which two singular values must differ. */
const APART = 3

/**
 * Blocks of components 0 to rank - 1. Components i and i + 1 share a block if s_i - s_{i+1} < 3 SE_i, with SE_i =
 * sd_u(x_iu - x_{i+1,u}) / sqrt(U) and x_iu = U u_i^T D_u v_i. A single direction is meaningful only in a block of
 * one.
 */
export async function nearTies(
  source: NullSource,
  head: number,
  { u, s, v }: { u: Float64Array; s: Float64Array; v: Float64Array },
  rank: number,
  signal?: AbortSignal,
): Promise<number[][]> {
  if (rank === 0) {
    return []
  }
  const d = source.headDim
  const units = source.units.length
  const x = await source.contributions(head, firstColumns(u, d, rank), firstColumns(v, d, rank), rank, signal)
  const blocks = [[0]]
  for (let i = 0; i + 1 < rank; i++) {
    const difference = Float64Array.from({ length: units }, (_, unit) => {
      return units * (x[i * units + unit] - x[(i + 1) * units + unit])
    })
    const separate = s[i] - s[i + 1] >= APART * standardError(difference)
    if (separate) {
      blocks.push([i + 1])
    } else {
      blocks[blocks.length - 1].push(i + 1)
    }
  }
  return blocks
}

/** Standard error of the mean of values; infinite for a single value. */
export function standardError(values: Float64Array): number {
  const n = values.length
  return n > 1 ? meanAndDeviation(values).sd / Math.sqrt(n) : Number.POSITIVE_INFINITY
}
