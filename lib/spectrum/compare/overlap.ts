/**
 * How far two subspaces overlap, beside what null subspaces give:
 *
 *   overlap(A, B) = ||U_A^T U_B||_F^2 / min(rank_A, rank_B)
 *
 * 1 where the smaller subspace lies inside the larger, 0 where they are orthogonal, rank_larger / d on average where one
 * of them is random (Haar). Queries and keys are far from round, so that subspaces of no feature overlap by more than
 * that: what counts is the overlap with the other's null subspaces.
 */

import { exceedsNull, nullP95 } from '../../math/null-limit.js'

/** One side, query or key: a basis [d, rank], and the null subspaces in its result. */
export interface Side {
  d: number
  rank: number
  basis: Float64Array
  /** [count, d, rank] */
  nulls?: { count: number; bases: Float64Array }
}

/** Overlap of the subspaces of two results on one side, query or key. */
export interface SideOverlap {
  /** ||U_A^T U_B||_F^2 / min(rank_A, rank_B) */
  overlap: number
  /**
   * Overlaps of A with the null subspaces of B, and of B with those of A: their number, their mean, and the larger of
   * the two 95th percentiles. Null if neither result has null subspaces.
   */
  null: {
    /** Number of null overlaps. */
    count: number
    /** Their mean. */
    mean: number
    /** The larger of the two 95th percentiles. */
    p95: number
  } | null
  /** Whether the overlap is at most `p95`. Null if there is no null. */
  withinNull: boolean | null
}

/**
 * The overlap of two sides. Null if one side has rank 0.
 *
 * The two nulls are not pooled. If A has a feature and B has none, only the null subspaces of B are exchangeable with
 * the compared subspace. Those of A may overlap less with everything, and pooling would lower the percentile (0.10 of
 * the overlaps exceeded it, with 8 components of the bundled transformer).
 */
export function sideOverlap(a: Side, b: Side): SideOverlap | null {
  if (a.rank === 0 || b.rank === 0) {
    return null
  }
  const overlap = overlapOf(a, b.basis, b.rank)
  const nulls = [nullOverlaps(a, b), nullOverlaps(b, a)].filter((values) => values.length > 0)
  if (nulls.length === 0) {
    return { overlap, null: null, withinNull: null }
  }
  const all = nulls.flat()
  const mean = all.reduce((sum, x) => sum + x, 0) / all.length
  const p95 = Math.max(...nulls.map(nullP95))
  const beyond = exceedsNull(overlap, p95, Math.min(...nulls.map(({ length }) => length)))
  return { overlap, null: { count: all.length, mean, p95 }, withinNull: beyond === null ? null : !beyond }
}

/** Overlaps of one side with each of the other's null subspaces. */
function nullOverlaps(a: Side, { d, rank, nulls }: Side): number[] {
  const size = d * rank
  return Array.from({ length: nulls?.count ?? 0 }, (_, i) =>
    overlapOf(a, nulls!.bases.subarray(i * size, (i + 1) * size), rank),
  )
}

function overlapOf(a: Side, other: Float64Array, rank: number): number {
  let energy = 0
  for (let x = 0; x < a.rank; x++) {
    for (let y = 0; y < rank; y++) {
      let cosine = 0
      for (let i = 0; i < a.d; i++) {
        cosine += a.basis[i * a.rank + x] * other[i * rank + y]
      }
      energy += cosine * cosine
    }
  }
  return energy / Math.min(a.rank, rank)
}
