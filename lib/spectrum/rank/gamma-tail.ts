/**
 * An extrapolated p-value beyond the number of draws. It is reported under that name, and never decides
 * (docs/method.md, Rank 6).
 */

/**
 * P(S >= observed) under a shifted gamma distribution (Pearson's type III) with the mean, the standard deviation and
 * the skewness of the null values. NaN if there are fewer than 20 null values, or if they do not vary.
 */
export function gammaTail(observed: number, nulls: ArrayLike<number>): number {
  const n = nulls.length
  if (n < 20) {
    return Number.NaN
  }
  let mean = 0
  for (let i = 0; i < n; i++) {
    mean += nulls[i] / n
  }
  let second = 0
  let third = 0
  for (let i = 0; i < n; i++) {
    const x = nulls[i] - mean
    second += x ** 2 / n
    third += x ** 3 / n
  }
  const sd = Math.sqrt(second)
  if (!(sd > 1e-9 * Math.abs(mean))) {
    return Number.NaN
  }
  const z = (observed - mean) / sd
  // A skewness near or below 0 is replaced by a small positive one, whose limit is the normal distribution.
  const skewness = Math.max(third / sd ** 3, 0.02)
  const shape = 4 / skewness ** 2
  const x = shape + z * Math.sqrt(shape)
  return x <= 0 ? 1 : upperGamma(shape, x)
}

/** The regularised upper incomplete gamma function Q(a, x), by its series or its continued fraction (DLMF 8.7, 8.9). */
export function upperGamma(a: number, x: number): number {
  const front = Math.exp(a * Math.log(x) - x - logGamma(a))
  if (x < a + 1) {
    let term = 1 / a
    let sum = term
    for (let n = 1; n < 10_000 && term > sum * 1e-16; n++) {
      term *= x / (a + n)
      sum += term
    }
    return Math.max(0, 1 - front * sum)
  }
  // Lentz's method on Q = front / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...)).
  let b = x + 1 - a
  let c = 1e300
  let d = 1 / b
  let fraction = d
  for (let n = 1; n < 10_000; n++) {
    const numerator = -n * (n - a)
    b += 2
    d = 1 / (numerator * d + b)
    c = b + numerator / c
    const step = c * d
    fraction *= step
    if (Math.abs(step - 1) < 1e-16) {
      break
    }
  }
  return front * fraction
}

/** ln Γ(a) for a > 0: Stirling's series after shifting a above 10 (DLMF 5.11). */
function logGamma(a: number): number {
  let shift = 0
  let x = a
  while (x < 10) {
    shift += Math.log(x)
    x += 1
  }
  const y = 1 / (x * x)
  const series = (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y / 1680))) / x
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series - shift
}
