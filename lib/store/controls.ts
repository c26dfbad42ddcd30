/** What a subspace is compared with, as results keep it (docs/method.md, "Where subspaces are used"). */

/**
 * Subspaces of what exchanged prompts give: the same rank, from the null matrices of the test
 * (docs/method.md, Rank 3).
 */
export interface NullSubspaces {
  /** Number of null subspaces. */
  count: number
  /** Query- and key-side bases, [count, d, rank], orthonormal columns. */
  u: Float64Array
  /** Key-side bases, [count, d, rank], orthonormal columns. */
  v: Float64Array
}

/** What rows show without any contrast. */
export interface PlainDirections {
  /** Direction of the mean query of the terms, [d], of length 1; zeros where queries cancel. */
  meanQuery: Float64Array
  /**
   * Principal components of the keys, [d, width], the largest first: of their differences within terms under `per-query`,
   * otherwise of the keys less their mean.
   */
  keyComponents: Float64Array
}
