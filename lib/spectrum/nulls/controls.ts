/**
 * What a subspace has to beat: subspaces of the same rank of exchanged rows, and directions that need no contrast at all
 * (design: "Rank", where it is used).
 */

import type { BackendChoice } from '../../backend/select.js'
import { firstColumns } from '../../math/columns.js'
import type { NullSubspaces, PlainDirections } from '../../store/controls.js'
import type { NullSource } from '../rank/exchange/null-source.js'
import { svd } from '../svd.js'

/** Null subspaces of every subspace, as a rule. */
export const NULL_SUBSPACES = 20

/** Principal components that are kept at most. */
const MOST_COMPONENTS = 64

export interface NullsOptions {
  /** Null subspaces of each head. */
  count: number
  backend: BackendChoice
  /** Of the randomised start of the decomposition. */
  seed: number
  signal?: AbortSignal
}

/**
 * Of each head, the first `rank` components of its null matrices D_1, D_2, ...: the same signs, or the same exchanged
 * labels, for every head and contrast on the same units.
 */
export async function nullSubspaces(
  source: NullSource,
  heads: readonly { head: number; rank: number }[],
  { count, backend, seed, signal }: NullsOptions,
): Promise<NullSubspaces[]> {
  const d = source.headDim
  const size = d * d
  const found: NullSubspaces[] = []
  for (const { head, rank } of heads) {
    // Draw 0 is what was observed.
    const matrices = (await source.matrices([head], 0, count + 1, signal)).subarray(size)
    const { u, v, maxRank } = await svd(matrices, { n: count, rows: d, cols: d, rank, backend, seed, signal })
    const wide = (columns: Float64Array) => padded(columns, maxRank, rank, count * d)
    found.push({ count, u: wide(u), v: wide(v) })
  }
  return found
}

/** Rows of `from` numbers as rows of `to`, with zeros where null matrices have fewer components. */
function padded(columns: Float64Array, from: number, to: number, rows: number): Float64Array {
  if (from === to) return columns
  const out = new Float64Array(rows * to)
  for (let row = 0; row < rows; row++) out.set(columns.subarray(row * from, (row + 1) * from), row * to)
  return out
}

/** The mean query and the principal components of the keys of each head. */
export async function plainDirections(
  source: NullSource,
  heads: readonly { head: number }[],
  { backend, seed, signal }: Omit<NullsOptions, 'count'>,
): Promise<PlainDirections[]> {
  const d = source.headDim
  const found: PlainDirections[] = []
  for (const { head } of heads) {
    const { meanQuery, keyMoment } = source.sides(head)
    const length = Math.hypot(...meanQuery)
    const { u, maxRank } = await svd(keyMoment, { n: 1, rows: d, cols: d, backend, seed, signal })
    const width = Math.min(d, MOST_COMPONENTS)
    found.push({
      meanQuery: meanQuery.map((x) => (length > 0 ? x / length : 0)),
      keyComponents: firstColumns(u, maxRank, Math.min(width, maxRank)),
    })
  }
  return found
}
