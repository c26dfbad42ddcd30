/** The limit that a figure must exceed, computed from the same figure of null draws. */

/** A figure of null draws. */
export interface NullFigures {
  /** Number of draws. */
  count: number
  /** Mean over the draws. */
  mean: number
  /** 95th percentile as defined by `nullP95`: of 20 draws, the largest. */
  p95: number
}

/** Null if there are no draws. */
export function nullFigures(draws: ArrayLike<number>): NullFigures | null {
  const count = draws.length
  if (count === 0) {
    return null
  }
  let sum = 0
  for (let i = 0; i < count; i++) {
    sum += draws[i]
  }
  return { count, mean: sum / count, p95: nullP95(draws) }
}

/**
 * The fewest draws for a decision. With fewer, more than one figure in twenty exceeds all of them by chance.
 */
export const LEAST_NULL_DRAWS = 19

/**
 * The 95th percentile as a limit: the order statistic ceil(0.95 (B + 1)) of B draws, which is the largest of 20. A
 * figure that is exchangeable with the draws exceeds it in at most one case of twenty (B at least 19). An
 * interpolated percentile of 20 draws would be exceeded in two cases of 21. NaN without draws.
 */
export function nullP95(draws: ArrayLike<number>): number {
  const sorted = Float64Array.from(draws).sort()
  if (sorted.length === 0) {
    return Number.NaN
  }
  return sorted[Math.min(sorted.length, Math.ceil(0.95 * (sorted.length + 1))) - 1]
}

/** Whether a figure exceeds the limit. Null if the figure is not known, or if there are too few draws. */
export function exceedsNull(value: number | null, p95: number | null, draws: number): boolean | null {
  if (value === null || p95 === null || Number.isNaN(value) || Number.isNaN(p95)) {
    return null
  }
  return draws < LEAST_NULL_DRAWS ? null : value > p95
}
