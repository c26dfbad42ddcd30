/** Exact binomial tests and intervals, and Holm's correction. */

/** P(X = x) of `n` trials, by logarithms. */
export function binomialDensity(x, n, p) {
  if (p <= 0 || p >= 1) {
    return x === (p <= 0 ? 0 : n) ? 1 : 0
  }
  return Math.exp(logChoose(n, x) + x * Math.log(p) + (n - x) * Math.log1p(-p))
}

/** P(X <= x). */
export function binomialBelow(x, n, p) {
  let sum = 0
  for (let i = 0; i <= x; i++) {
    sum += binomialDensity(i, n, p)
  }
  return Math.min(1, sum)
}

/** Clopper and Pearson's interval of 95%. */
export function interval(x, n) {
  const solve = (above) => {
    let [low, high] = [0, 1]
    for (let i = 0; i < 50; i++) {
      const middle = (low + high) / 2
      if (above(middle)) {
        high = middle
      } else {
        low = middle
      }
    }
    return (low + high) / 2
  }
  const low = x === 0 ? 0 : solve((p) => 1 - binomialBelow(x - 1, n, p) > 0.025)
  const high = x === n ? 1 : solve((p) => binomialBelow(x, n, p) < 0.025)
  return [low, high]
}

/** Adjusted p-values by Holm (1979). */
export function holm(p) {
  const order = [...p.keys()].sort((a, b) => p[a] - p[b])
  const out = Array(p.length).fill(1)
  let most = 0
  order.forEach((i, at) => {
    most = Math.max(most, Math.min(1, p[i] * (p.length - at)))
    out[i] = most
  })
  return out
}

/** Sample quantiles, the smallest value with at least that part of the values up to it. */
export function quantiles(values, at) {
  const sorted = [...values].sort((a, b) => a - b)
  return at.map((part) => sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)])
}

export const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length
export const median = (values) => quantiles(values, [0.5])[0]

const LOG_FACTORIALS = [0]
function logChoose(n, x) {
  while (LOG_FACTORIALS.length <= n) {
    LOG_FACTORIALS.push(LOG_FACTORIALS.at(-1) + Math.log(LOG_FACTORIALS.length))
  }
  return LOG_FACTORIALS[n] - LOG_FACTORIALS[x] - LOG_FACTORIALS[n - x]
}
