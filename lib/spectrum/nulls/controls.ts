/**
 * Controls of a subspace: subspaces of the same rank from exchanged rows, and directions that use no contrast
 * (docs/method.md, "Where subspaces are used").
 */

import type { BackendChoice } from '../../backend/select.js'
import { firstColumns } from '../../math/columns.js'
import type { NullSubspaces, PlainDirections } from '../../store/controls.js'
import type { NullSource } from '../rank/exchange/null-source.js'
import type { SideMoments } from '../rank/exchange/side-moments.js'
import { svd } from '../svd.js'

/** Default number of null subspaces of every subspace. */
export const NULL_SUBSPACES = 20

/** Most principal components that are kept. */
const MOST_COMPONENTS = 64

export interface NullsOptions {
  /** Number of null subspaces of each head. */
  count: number
  backend: BackendChoice
  /** Seed of the randomised start of the decomposition. */
  seed: number
  signal?: AbortSignal
}

/** Workspace in bytes: most memory of the null matrices of the heads in one step. */
const ROOM = 64 * 2 ** 20

/**
 * The first `rank` components of the null matrices D_1, D_2, ... of each head. All heads and contrasts on the same
 * units share the signs, or the exchanged labels.
 */
export async function nullSubspaces(
  source: NullSource,
  heads: readonly { head: number; rank: number }[],
  { count, backend, seed, signal }: NullsOptions,
): Promise<NullSubspaces[]> {
  const d = source.headDim
  const found: NullSubspaces[] = []
  const together = Math.max(1, Math.floor(ROOM / (8 * (count + 1) * d * d)))
  for (let from = 0; from < heads.length; from += together) {
    const own = heads.slice(from, from + together)
    const all = await source.matrices(
      own.map(({ head }) => head),
      0,
      count + 1,
      signal,
    )
    // Draw 0 is the observed matrix.
    const matrices = all.subarray(own.length * d * d)
    const rank = Math.max(...own.map((head) => head.rank))
    const n = count * own.length
    const { u, v, maxRank } = await svd(matrices, { n, rows: d, cols: d, rank, backend, seed, signal })
    own.forEach((head, h) => {
      const of = (columns: Float64Array) => {
        return columnsOfHead(columns, {
          count,
          heads: own.length,
          head: h,
          d,
          width: maxRank,
          rank: head.rank,
        })
      }
      found.push({ count, u: of(u), v: of(v) })
    })
  }
  return found
}

interface ColumnSizes {
  count: number
  heads: number
  head: number
  d: number
  width: number
  rank: number
}

/** [count, heads, d, width] -> the first columns of one head, [count, d, rank]; zeros where there are fewer. */
function columnsOfHead(columns: Float64Array, sizes: ColumnSizes): Float64Array {
  const { count, heads, head, d, width, rank } = sizes
  const out = new Float64Array(count * d * rank)
  const kept = Math.min(width, rank)
  for (let b = 0; b < count; b++) {
    for (let i = 0; i < d; i++) {
      const from = ((b * heads + head) * d + i) * width
      out.set(columns.subarray(from, from + kept), (b * d + i) * rank)
    }
  }
  return out
}

/** The mean query and the principal components of the keys of each head. */
export async function plainDirections(
  source: NullSource,
  heads: readonly { head: number }[],
  { backend, seed, signal }: Omit<NullsOptions, 'count'>,
): Promise<PlainDirections[]> {
  const d = source.headDim
  const moments: SideMoments[] = []
  for (const { head } of heads) {
    moments.push(await source.sides(head))
  }
  const keys = new Float64Array(heads.length * d * d)
  moments.forEach(({ keyMoment }, i) => {
    keys.set(keyMoment, i * d * d)
  })
  const { u, maxRank } = await svd(keys, { n: heads.length, rows: d, cols: d, backend, seed, signal })
  const width = Math.min(maxRank, MOST_COMPONENTS)
  return moments.map(({ meanQuery }, i) => {
    const length = Math.hypot(...meanQuery)
    const columns = u.subarray(i * d * maxRank, (i + 1) * d * maxRank)
    return {
      meanQuery: meanQuery.map((x) => (length > 0 ? x / length : 0)),
      keyComponents: firstColumns(columns, maxRank, width),
    }
  })
}
