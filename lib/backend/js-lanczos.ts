/**
 * The largest singular value of a d x d matrix A in plain float64: Golub-Kahan-Lanczos bidiagonalisation with full
 * reorthogonalisation, A V = P B, whose small B is decomposed by `jacobiSvd`.
 */

import { jacobiSvd } from './js-svd.js'

/** Relative growth over CHECK_EVERY steps below which, twice in a row, the value counts as converged. */
const SETTLED = 1e-10
const CHECK_EVERY = 4

/** Most starts before the value is accepted. About one random matrix in ten thousand needs a second start. */
const ATTEMPTS = 4
/** Relative margin: larger singular values within it are not searched for. */
const MARGIN = 1e-9

/** Fixed start vectors, one per attempt, with all entries away from zero. */
function start(d: number, attempt: number): Float64Array {
  return Float64Array.from({ length: d }, (_, i) => {
    const wave = Math.sin(12.9898 * (i + 1) + 78.233 * attempt)
    return (wave > 0 ? 1 : -1) * (0.5 + Math.abs(wave))
  })
}

/**
 * The largest singular value of row-major `a`. Any scale is fine, since `a` is divided by its largest entry first.
 */
export function largestSingularValue(a: Float64Array, d: number): number {
  let scale = 0
  for (const x of a) {
    scale = Math.max(scale, Math.abs(x))
  }
  if (scale === 0) {
    return 0
  }
  const m = a.map((x) => x / scale)
  let value = 0
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    value = Math.max(value, lanczosValue(m, d, attempt))
    if (isLargest(m, d, value)) {
      break
    }
  }
  return value * scale
}

function lanczosValue(m: Float64Array, d: number, attempt: number): number {
  const left: Float64Array[] = []
  const right: Float64Array[] = []
  const alpha: number[] = []
  const beta: number[] = []
  let v = timesTransposed(m, start(d, attempt), d)
  if (normalise(v) === 0) {
    v = start(d, attempt)
    normalise(v)
  }
  let value = 0
  let quiet = 0
  for (let n = 1; ; n++) {
    right.push(v)
    const p = times(m, v, d)
    orthogonalise(p, left)
    alpha.push(normalise(p))
    left.push(p)
    v = timesTransposed(m, p, d)
    orthogonalise(v, right)
    const next = normalise(v)
    const ended = n === d || next <= 1e-14 * Math.max(...alpha)
    if (ended || n % CHECK_EVERY === 0) {
      const grown = largestOfBidiagonal(alpha, beta)
      quiet = grown - value <= SETTLED * grown ? quiet + 1 : 0
      value = grown
      if (ended || quiet === 2) {
        return value
      }
    }
    beta.push(next)
  }
}

/**
 * Whether no singular value exceeds `value`: then I - A^T A / value^2 = L diag(p) L^T has positive pivots p. Lanczos
 * alone cannot tell if its start is nearly orthogonal to the first singular vector.
 */
function isLargest(a: Float64Array, d: number, value: number): boolean {
  const factor = 1 / (value * (1 + MARGIN)) ** 2
  const s = new Float64Array(d * d)
  for (let r = 0; r < d; r++) {
    for (let i = 0; i < d; i++) {
      const x = factor * a[r * d + i]
      for (let j = i; j < d; j++) {
        s[i * d + j] -= x * a[r * d + j]
      }
    }
  }
  for (let k = 0; k < d; k++) {
    s[k * d + k] += 1
    const pivot = s[k * d + k]
    if (!(pivot > 0)) {
      return false
    }
    for (let i = k + 1; i < d; i++) {
      const x = s[k * d + i] / pivot
      for (let j = i; j < d; j++) {
        s[i * d + j] -= x * s[k * d + j]
      }
    }
  }
  return true
}

function largestOfBidiagonal(alpha: readonly number[], beta: readonly number[]): number {
  const n = alpha.length
  return jacobiSvd(n, n, (i, j) => (i === j ? alpha[i] : j === i + 1 ? beta[i] : 0)).s[0]
}

function times(a: Float64Array, x: Float64Array, d: number): Float64Array {
  const out = new Float64Array(d)
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      out[i] += a[i * d + j] * x[j]
    }
  }
  return out
}

function timesTransposed(a: Float64Array, x: Float64Array, d: number): Float64Array {
  const out = new Float64Array(d)
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      out[j] += a[i * d + j] * x[i]
    }
  }
  return out
}

/** Orthogonalises twice. One pass leaves rounding errors if most of x lies in the span of the others. */
function orthogonalise(x: Float64Array, others: readonly Float64Array[]): void {
  for (let pass = 0; pass < 2; pass++) {
    for (const y of others) {
      let along = 0
      for (let i = 0; i < x.length; i++) {
        along += x[i] * y[i]
      }
      for (let i = 0; i < x.length; i++) {
        x[i] -= along * y[i]
      }
    }
  }
}

/** Scales x to length 1, unless it is 0. Returns the previous length. */
function normalise(x: Float64Array): number {
  let square = 0
  for (const e of x) {
    square += e * e
  }
  const length = Math.sqrt(square)
  if (length > 0) {
    for (let i = 0; i < x.length; i++) {
      x[i] /= length
    }
  }
  return length
}
