/** Mean and standard deviation of a sample. */

/** The sample standard deviation, with n - 1 in the denominator. 0 for a single value. */
export function meanAndDeviation(values: Float64Array): { mean: number; sd: number } {
  let mean = 0
  for (const value of values) {
    mean += value / values.length
  }
  let square = 0
  for (const value of values) {
    square += (value - mean) ** 2
  }
  return { mean, sd: Math.sqrt(square / Math.max(1, values.length - 1)) }
}
