/** Corrects p-values of many tests and decides on discoveries (docs/method.md, Rank 8). */

import { meanAndDeviation } from '../../math/moments.js'

/** Whether an adjusted p-value is at most a level, up to rounding. */
export const atMost = (p: number, level: number) => p <= level * (1 + 1e-9)

/**
 * Adjusted p-values (q-values) by Benjamini and Hochberg (1995). Rejecting those at most α keeps the expected fraction
 * of false discoveries at α if tests are independent or positively dependent. `dependent`: by Benjamini and Yekutieli
 * (2001), under any dependence. A NaN does not count as a test and stays NaN.
 */
export function adjustedByRate(p: ArrayLike<number>, dependent = false): Float64Array {
  const order = [...Array(p.length).keys()].filter((i) => !Number.isNaN(p[i])).sort((a, b) => p[a] - p[b])
  const m = order.length
  let harmonic = 1
  if (dependent) {
    harmonic = 0
    for (let i = 1; i <= m; i++) {
      harmonic += 1 / i
    }
  }
  const q = new Float64Array(p.length).fill(Number.NaN)
  let least = 1
  for (let rank = m; rank >= 1; rank--) {
    const i = order[rank - 1]
    least = Math.min(least, (p[i] * m * harmonic) / rank)
    q[i] = least
  }
  return q
}

/**
 * Adjusted p-values by step-down max-T (Westfall and Young 1993). Rejecting those at most α keeps the probability of
 * any false discovery at α. The statistics are z = (s - mean) / sd of a test's own null values, which makes tests of
 * different scales comparable. Draw b of every test has the same signs.
 *
 * `observed` [tests], `nulls` of each test [draws].
 */
export function adjustedByMaximum(observed: ArrayLike<number>, nulls: readonly Float64Array[]): Float64Array {
  const tests = nulls.length
  const draws = tests === 0 ? 0 : nulls[0].length
  const z = new Float64Array(tests)
  const scaled = nulls.map((values, i) => {
    const { mean, sd } = meanAndDeviation(values)
    const of = (value: number) => (sd > 0 ? (value - mean) / sd : value > mean ? Number.POSITIVE_INFINITY : 0)
    z[i] = of(observed[i])
    return Float64Array.from(values, of)
  })
  const order = [...Array(tests).keys()].sort((a, b) => z[a] - z[b])
  const running = new Float64Array(draws).fill(Number.NEGATIVE_INFINITY)
  const adjusted = new Float64Array(tests)
  for (const i of order) {
    let above = 0
    for (let b = 0; b < draws; b++) {
      if (scaled[i][b] > running[b]) {
        running[b] = scaled[i][b]
      }
      if (running[b] >= z[i]) {
        above += 1
      }
    }
    adjusted[i] = (1 + above) / (1 + draws)
  }
  let least = 0
  for (const i of order.reverse()) {
    least = Math.max(least, adjusted[i])
    adjusted[i] = least
  }
  return adjusted
}
