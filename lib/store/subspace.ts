/** What a result holds of one contrast of one head. */

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
  /** Components that the rank rule kept. */
  rank: number
  /** ||ΔC||_F^2 */
  totalEnergy: number
  /** Mean scaled score of the positive keys less that of the negative ones: scale * trace(ΔC). */
  scoreGap: number
  /** Upper bound of ||ΔC - U diag(s) V^T||_F / ||ΔC||_F. */
  errorBound: number
  /** Whether the decomposition met its accuracy contract. */
  converged: boolean
  /** Terms that went in. */
  terms: number
  /** Label-matched queries that were left out because one of their sets was empty. */
  skipped: number
  /** Absent where it was not measured, or could not be followed in the graph. */
  attention?: MeanAttention
  /** Of a sweep, on units that did not fit the subspace; of discovered heads. */
  heldOut?: HeldOut
  /** Under the rule `permutation`: p-values, draws, ranks, replication. */
  test?: RankTest
  /** Subspaces that exchanged prompts give, and directions without any contrast; where rows were kept and the rank is not 0. */
  nulls?: NullSubspaces
  /** Directions that rows show without any contrast. */
  directions?: PlainDirections
  /** All singular values of ΔC, [d], descending, where they were asked for; the first of them are `s`. */
  spectrum?: Float64Array
  /** C+ and C-, [d, d], where they were asked for. */
  cPos?: Float64Array
  /** C-, [d, d], where it was asked for. */
  cNeg?: Float64Array
}

/** Attention of the terms' queries on their keys: fractions, means over terms. */
export interface MeanAttention {
  /** On all positive keys of a term together, and on all negative ones. */
  positive: number
  /** On all negative keys of a term together. */
  negative: number
  /** On one positive and on one negative key, which can be compared where the sets have different sizes. */
  perPositive: number
  /** On one negative key. */
  perNegative: number
}
