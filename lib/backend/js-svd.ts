/**
 * Singular value decomposition in plain float64, by one-sided Jacobi (Hestenes 1958). Pairs of columns of A are
 * rotated until all are orthogonal. Their lengths are then the singular values, and the rotations make V. The
 * decomposition is always full, and truncated afterwards.
 */

import { QkError } from '../errors.js'
import type { SvdArrays, SvdRequest } from './backend.js'

const EPS = 2 ** -52

export interface FullSvd {
  /** [rows, k] with k = min(rows, cols), as columns. */
  u: Float64Array[]
  s: number[]
  /** [cols, k] as columns. */
  v: Float64Array[]
  converged: boolean
}

/** Completes an orthonormal set of columns, each of length n, where `columns` holds null. */
function complete(columns: (Float64Array | null)[], n: number): Float64Array[] {
  const done = columns.filter((c) => c !== null)
  let axis = 0
  return columns.map((column) => {
    if (column) {
      return column
    }
    while (axis < n) {
      const x = unitAxis(n, axis++)
      removeDirections(x, done)
      const length = Math.sqrt(dot(x, x))
      // At least one axis keeps this much of its length, as long as fewer than n columns are taken.
      if (length * length < 0.5 / n) {
        continue
      }
      for (let i = 0; i < n; i++) {
        x[i] /= length
      }
      done.push(x)
      return x
    }
    throw new Error('no direction left to complete an orthonormal set')
  })
}

function unitAxis(n: number, axis: number): Float64Array {
  const x = new Float64Array(n)
  x[axis] = 1
  return x
}

/** x less its projection on orthonormal directions. Done twice, so that only rounding noise of them is left. */
function removeDirections(x: Float64Array, directions: readonly Float64Array[]): void {
  for (let pass = 0; pass < 2; pass++) {
    for (const direction of directions) {
      const along = dot(direction, x)
      for (let i = 0; i < x.length; i++) {
        x[i] -= along * direction[i]
      }
    }
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) {
    sum += a[i] * b[i]
  }
  return sum
}

function rotate(a: Float64Array, b: Float64Array, c: number, s: number): void {
  for (let i = 0; i < a.length; i++) {
    const x = a[i]
    const y = b[i]
    a[i] = c * x - s * y
    b[i] = s * x + c * y
  }
}

/** All of a matrix's singular triplets, descending. `at(i, j)` must be finite and of moderate size. */
export function jacobiSvd(rows: number, cols: number, at: (i: number, j: number) => number): FullSvd {
  if (rows < cols) {
    const t = jacobiSvd(cols, rows, (i, j) => at(j, i))
    return { u: t.v, s: t.s, v: t.u, converged: t.converged }
  }
  const a = Array.from({ length: cols }, (_, j) => Float64Array.from({ length: rows }, (_, i) => at(i, j)))
  const v = Array.from({ length: cols }, (_, j) => Float64Array.from({ length: cols }, (_, i) => +(i === j)))
  const norm2 = a.reduce((sum, column) => sum + dot(column, column), 0)
  const negligible = norm2 * (EPS * EPS)
  let converged = false
  for (let sweep = 0; sweep < 60 && !converged; sweep++) {
    converged = sweepPairs(a, v, negligible)
  }
  const lengths = a.map((column) => Math.sqrt(dot(column, column)))
  const order = lengths.map((_, j) => j).sort((x, y) => lengths[y] - lengths[x] || x - y)
  const s = order.map((j) => lengths[j])
  // Columns of rounding noise have arbitrary directions that need not be orthogonal, so they are replaced.
  const floor = EPS * rows * (s[0] ?? 0)
  const u = order.map((j) => (lengths[j] > floor ? a[j].map((x) => x / lengths[j]) : null))
  return { u: complete(u, rows), s, v: order.map((j) => v[j]), converged }
}

/**
 * Rotates every pair of columns of A, and the same columns of V. Returns whether all were orthogonal before.
 */
function sweepPairs(a: Float64Array[], v: Float64Array[], negligible: number): boolean {
  let orthogonal = true
  for (let p = 0; p < a.length; p++) {
    for (let q = p + 1; q < a.length; q++) {
      const alpha = dot(a[p], a[p])
      const beta = dot(a[q], a[q])
      const gamma = dot(a[p], a[q])
      if (Math.abs(gamma) <= 4 * EPS * Math.sqrt(alpha * beta) || Math.abs(gamma) <= EPS * negligible) {
        continue
      }
      if (alpha <= negligible && beta <= negligible) {
        continue
      }
      orthogonal = false
      const zeta = (beta - alpha) / (2 * gamma)
      const t = (zeta >= 0 ? 1 : -1) / (Math.abs(zeta) + Math.hypot(1, zeta))
      const c = 1 / Math.sqrt(1 + t * t)
      rotate(a[p], a[q], c, c * t)
      rotate(v[p], v[q], c, c * t)
    }
  }
  return orthogonal
}

/** Smallest r whose squared singular values sum to at least the fraction `energy`; `s` descends. */
export function rankByEnergy(s: readonly number[], energy: number): number {
  const total = s.reduce((sum, x) => sum + x * x, 0)
  if (total === 0) {
    return 0
  }
  let sum = 0
  for (let i = 0; i < s.length; i++) {
    sum += s[i] * s[i]
    if (sum >= energy * total) {
      return i + 1
    }
  }
  return s.length
}

type Numbers = Float32Array | Float64Array

/** Arrays for triplets of that width: those that were asked to be filled, with zeros in them, or new ones. */
export function svdArrays(request: SvdRequest, width: number): SvdArrays<Numbers> {
  const { n, rows, cols, out, dtype } = request
  if (out) {
    const views = svdViews(out, request, width)
    for (const view of Object.values(views)) {
      view.fill(0)
    }
    return views
  }
  const make = (length: number) => (dtype === 'f32' ? new Float32Array(length) : new Float64Array(length))
  return { u: make(n * rows * width), s: make(n * width), v: make(n * cols * width) }
}

/**
 * What of arrays that may be longer is filled by triplets of that width. Errors: ERR_SHAPE where a buffer has been
 * detached or made smaller since they were checked.
 */
export function svdViews(from: SvdArrays<Numbers>, request: SvdRequest, width: number): SvdArrays<Numbers> {
  const { n, rows, cols } = request
  const view = (name: keyof typeof from, length: number) => {
    const array = from[name]
    if (array.length < length) {
      throw new QkError(
        'ERR_SHAPE',
        `the buffer of out.${name} was detached (transferred) or made smaller before the results came`,
      )
    }
    return array.length === length ? array : array.subarray(0, length)
  }
  return { u: view('u', n * rows * width), s: view('s', n * width), v: view('v', n * cols * width) }
}
