/**
 * Controls that a subspace is compared with, as results store them (docs/method.md, "Where subspaces are used").
 */

/**
 * Subspaces from exchanged prompts, of the same rank, from the null matrices of the test (docs/method.md, Rank 3).
 */
export interface NullSubspaces {
  /** Number of null subspaces. */
  count: number
  /** Query-side bases, [count, d, rank], orthonormal columns. */
  u: Float64Array
  /** Key-side bases, [count, d, rank], orthonormal columns. */
  v: Float64Array
}

/** Directions of the rows that use no contrast. */
export interface PlainDirections {
  /** Direction of the mean query of the terms, [d], of length 1; zeros where queries cancel. */
  meanQuery: Float64Array
  /**
   * Principal components of the keys, [d, width], in descending order. Under `per-query` they are components of the
   * key differences within terms, otherwise of the keys less their mean.
   */
  keyComponents: Float64Array
}
