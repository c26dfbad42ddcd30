/** The limit that a figure has to beat, from the same figure of null draws. */

/** A figure of null draws. */
export interface NullFigures {
  /** Number of draws. */
  count: number
  /** Mean over the draws. */
  mean: number
  /** 95th percentile, as `nullP95` takes it: of 20 draws the largest. */
  p95: number
}

/** Null where there is no draw. */
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

/** With fewer draws, more than one figure in twenty is above all of them by chance. */
export const LEAST_NULL_DRAWS = 19

/**
 * The 95th percentile as a limit: the order statistic ceil(0.95 (B + 1)) of B draws, of 20 the largest. A figure that could
 * as well be one of the draws is above it in at most one case of twenty (B at least 19); an interpolated percentile of 20
 * draws is exceeded in two cases of 21. NaN without draws.
 */
export function nullP95(draws: ArrayLike<number>): number {
  const sorted = Float64Array.from(draws).sort()
  if (sorted.length === 0) {
    return Number.NaN
  }
  return sorted[Math.min(sorted.length, Math.ceil(0.95 * (sorted.length + 1))) - 1]
}

/** Whether a figure is above the limit of so many draws; null where it is not known, or where there are too few. */
export function exceedsNull(value: number | null, p95: number | null, draws: number): boolean | null {
  if (value === null || p95 === null || Number.isNaN(value) || Number.isNaN(p95)) {
    return null
  }
  return draws < LEAST_NULL_DRAWS ? null : value > p95
}
