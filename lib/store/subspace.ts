/** Content of a result for one contrast of one head. */

import type { NullSubspaces, PlainDirections } from './controls.js'
import type { HeldOut } from './held-out.js'
import type { RankTest } from './rank-test.js'

/** One contrast of one head: ΔC ≈ U diag(s) V^T (docs/method.md, "Subspaces"). */
export interface ContrastSubspace {
  /** Query-side basis, [d, rank], row-major, orthonormal columns. */
  u: Float64Array
  /** Singular values, [rank], descending. */
  s: Float64Array
  /** Key-side basis, [d, rank], row-major, orthonormal columns; v itself, not its transpose. */
  v: Float64Array
  /** Head dimension d. */
  headDim: number
  /** Number of components that the rank rule kept. */
  rank: number
  /** ||ΔC||_F^2 */
  totalEnergy: number
  /** Mean scaled score of the positive keys less that of the negative keys: scale * trace(ΔC). */
  scoreGap: number
  /** Upper bound of ||ΔC - U diag(s) V^T||_F / ||ΔC||_F. */
  errorBound: number
  /** Whether the decomposition met its accuracy contract. */
  converged: boolean
  /** Number of accumulated terms. */
  terms: number
  /** Number of label-matched queries that were skipped because a key set was empty. */
  skipped: number
  /** Absent if it was not measured, or if the attention pattern was not found in the graph. */
  attention?: MeanAttention
  /** Figures on units that were not used to fit the subspace. Only for heads that a sweep discovered. */
  heldOut?: HeldOut
  /** Under the rule `permutation`: p-values, draws, ranks, replication. */
  test?: RankTest
  /** Subspaces of exchanged prompts. Present if rows were kept and the rank is not 0. */
  nulls?: NullSubspaces
  /** Directions of the rows that use no contrast. */
  directions?: PlainDirections
  /** All singular values of ΔC, [d], descending, if they were requested. They begin with `s`. */
  spectrum?: Float64Array
  /** C+, [d, d], if it was requested. */
  cPos?: Float64Array
  /** C-, [d, d], if it was requested. */
  cNeg?: Float64Array
}

/** Attention of the terms' queries on their keys: fractions, means over terms. */
export interface MeanAttention {
  /** On all positive keys of a term together. */
  positive: number
  /** On all negative keys of a term together. */
  negative: number
  /** On one positive key. Comparable with `perNegative` where the sets have different sizes. */
  perPositive: number
  /** On one negative key. */
  perNegative: number
}
