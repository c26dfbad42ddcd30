/**
 * Orthonormal bases of the spans of columns, in float64.
 *
 * Columns may be linearly dependent, of any length, and nearly parallel: only their span matters. One-sided Jacobi
 * rotations (Hestenes) turn them into columns u_i s_i. Columns with s_i at most 1e-6 of the largest are round-off, or
 * noise of the caller's precision, and are dropped.
 */

import { QkError } from '../errors.js'
import { checkInteger } from '../validate.js'
import { type ArrayInput, readArray } from './arrays.js'
import { type Random, seededRandom } from './random.js'
import { elementCount, type FloatArray } from './tensor.js'

/** Orthonormal columns. */
export interface Basis {
  /** [d, rank], row-major: column j is data[i * rank + j] over i. */
  data: Float64Array
  /** Dimension of the space and number of columns. */
  shape: [d: number, rank: number]
}

/** Directions at most this fraction of the largest singular value are dropped. */
export const DROPPED_BELOW = 1e-6

/**
 * Columns this far below the largest are not rotated: they are dropped anyway, and rotations only mix round-off.
 */
const NEGLIGIBLE = 1e-10
/** Two columns are orthogonal when the cosine between them is at most this. */
const ORTHOGONAL = 1e-14
/** The largest dimension of a random basis. Orthogonalising more would take too long. */
const MOST_DIMENSIONS = 2 ** 16
/** An upper limit; Jacobi needs six to ten sweeps. */
const MOST_SWEEPS = 60

/**
 * An orthonormal basis of the span of `columns` [d, r], directions of largest singular value first. Rank 0 if there
 * are no columns, or only zeros. Errors: ERR_TYPE, ERR_ARGUMENT, ERR_SHAPE, ERR_NON_FINITE.
 */
export function orthonormalBasis(columns: ArrayInput, name = 'basis', d?: number): Basis {
  if (d !== undefined) {
    checkInteger(d, 'd', 0)
  }
  const { data, shape } = readArray(columns, name, { d, r: undefined })
  return fromVectors(orthonormalized(toVectors(data, shape[0], shape[1])), shape[0])
}

/**
 * An orthonormal basis of the sum of the spans of several sets, each [d, r]. Every set has the same weight, whatever
 * the length of its columns. Errors: as orthonormalBasis, and ERR_EMPTY_SET if there is no set.
 */
export function unionBasis(sets: readonly ArrayInput[], name = 'bases', d?: number): Basis {
  if (!Array.isArray(sets)) {
    throw new QkError('ERR_TYPE', `${name} must be an array of { data, shape: [d, r] }`)
  }
  if (sets.length === 0) {
    throw new QkError('ERR_EMPTY_SET', `${name} is empty, expected at least one basis`)
  }
  const first = orthonormalBasis(sets[0], `${name}[0]`, d)
  const bases = sets.map((set, i) =>
    i === 0 ? first : orthonormalBasis(set, `${name}[${i}]`, first.shape[0]),
  )
  return bases.length === 1 ? first : unionOf(bases, first.shape[0])
}

/** The sum of the spans of orthonormal bases of length-d columns. Rank 0 if there are no bases. */
export function unionOf(bases: readonly Basis[], d: number): Basis {
  const vectors = bases.flatMap((basis) => toVectors(basis.data, d, basis.shape[1]))
  return fromVectors(orthonormalized(vectors), d)
}

/**
 * The part of the span of `basis` outside the span of `earlier`, both orthonormal: a basis orthogonal to `earlier`. A
 * direction within 1e-6 (the sine of its angle) of `earlier` is dropped, so a duplicate leaves nothing.
 */
export function withoutSpan(basis: Basis, earlier: Basis): Basis {
  const [d, rank] = basis.shape
  let vectors = toVectors(basis.data, d, rank)
  // The columns had length 1, and their remainders are measured against that. Normalising a small remainder
  // magnifies the round-off of the first removal; the second removal takes it away.
  for (let pass = 0; pass < 2; pass++) {
    for (const vector of vectors) {
      subtract(vector, project(earlier, vector))
    }
    vectors = orthonormalized(vectors, 1)
  }
  return fromVectors(vectors, d)
}

/** The orthogonal projections of `rows` [n, d] on the span. */
export function project(basis: Basis, rows: FloatArray): Float64Array {
  const [d, rank] = basis.shape
  const { data } = basis
  const out = new Float64Array(rows.length)
  const along = new Float64Array(rank)
  for (let start = 0; start < rows.length; start += d) {
    along.fill(0)
    for (let i = 0; i < d; i++) {
      const x = rows[start + i]
      if (x !== 0) {
        for (let j = 0; j < rank; j++) {
          along[j] += x * data[i * rank + j]
        }
      }
    }
    for (let i = 0; i < d; i++) {
      let sum = 0
      for (let j = 0; j < rank; j++) {
        sum += along[j] * data[i * rank + j]
      }
      out[start + i] = sum
    }
  }
  return out
}

/** The projections of `rows` [n, d] on the orthogonal complement of the span. */
export function projectOut(basis: Basis, rows: FloatArray): Float64Array {
  const out = Float64Array.from(rows)
  subtract(out, project(basis, rows))
  return out
}

/**
 * An orthonormal basis [d, rank] drawn uniformly (Haar): a control for subspaces of the same rank. The same seed
 * gives the same basis. Errors: ERR_ARGUMENT.
 */
export function randomBasis(d: number, rank: number, seed: number | Random = 0): Basis {
  checkInteger(d, 'd', 1, MOST_DIMENSIONS)
  checkInteger(rank, 'rank', 0)
  if (rank > d) {
    throw new QkError('ERR_ARGUMENT', `rank is ${rank}, expected at most d = ${d}`)
  }
  const random = isRandom(seed) ? seed : seededRandom(checkInteger(seed, 'seed', 0))
  const vectors: Float64Array[] = []
  while (vectors.length < rank) {
    const vector = new Float64Array(d)
    for (let i = 0; i < d; i++) {
      vector[i] = random.normal()
    }
    for (let pass = 0; pass < 2; pass++) {
      for (const other of vectors) {
        addMultiple(vector, -dot(vector, other), other)
      }
    }
    vectors.push(scaled(vector, 1 / Math.sqrt(dot(vector, vector))))
  }
  return fromVectors(vectors, d)
}

const isRandom = (seed: number | Random): seed is Random =>
  typeof (seed as Random | null)?.normal === 'function'

/**
 * Orthonormal vectors of the same span, directions of largest singular value first; overwrites `vectors`.
 * Directions are dropped relative to `largest`, by default the largest singular value of the vectors themselves.
 */
function orthonormalized(vectors: Float64Array[], largest?: number): Float64Array[] {
  const magnitude = largestMagnitude(vectors)
  if (magnitude === 0) {
    return []
  }
  if (largest === undefined) {
    for (const vector of vectors) {
      divide(vector, magnitude)
    }
  }
  const measure = () => Math.sqrt(vectors.reduce((most, x) => Math.max(most, dot(x, x)), 0))
  rotateToOrthogonal(vectors, NEGLIGIBLE * (largest ?? measure()))
  const least = DROPPED_BELOW * (largest ?? measure())
  return vectors
    .map((vector) => ({ vector, length: Math.sqrt(dot(vector, vector)) }))
    .filter(({ length }) => length > least)
    .sort((a, b) => b.length - a.length)
    .map(({ vector, length }) => scaled(vector, 1 / length))
}

/** Rotates pairs of vectors until all are orthogonal to each other; the span stays. */
function rotateToOrthogonal(vectors: Float64Array[], negligible: number): void {
  for (let sweep = 0; sweep < MOST_SWEEPS; sweep++) {
    let rotated = false
    for (let p = 0; p < vectors.length; p++) {
      for (let q = p + 1; q < vectors.length; q++) {
        if (rotatePair(vectors[p], vectors[q], negligible)) {
          rotated = true
        }
      }
    }
    if (!rotated) {
      return
    }
  }
  throw new QkError('ERR_NO_CONVERGENCE', `a basis of ${vectors.length} columns was not made orthonormal`, {
    hint: 'please report the columns',
  })
}

function rotatePair(x: Float64Array, y: Float64Array, negligible: number): boolean {
  const xx = dot(x, x)
  const yy = dot(y, y)
  const xy = dot(x, y)
  if (Math.min(xx, yy) <= negligible ** 2 || Math.abs(xy) <= ORTHOGONAL * Math.sqrt(xx) * Math.sqrt(yy)) {
    return false
  }
  const zeta = (yy - xx) / (2 * xy)
  const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta))
  const cosine = 1 / Math.hypot(1, tangent)
  const sine = cosine * tangent
  for (let i = 0; i < x.length; i++) {
    const before = x[i]
    x[i] = cosine * before - sine * y[i]
    y[i] = sine * before + cosine * y[i]
  }
  return true
}

/** The columns of a row-major [d, r] array, as vectors of their own. */
function toVectors(data: FloatArray, d: number, r: number): Float64Array[] {
  return Array.from({ length: r }, (_, j) => {
    const vector = new Float64Array(d)
    for (let i = 0; i < d; i++) {
      vector[i] = data[i * r + j]
    }
    return vector
  })
}

function fromVectors(vectors: readonly Float64Array[], d: number): Basis {
  const rank = vectors.length
  const data = new Float64Array(elementCount([d, rank]))
  vectors.forEach((vector, j) => {
    for (let i = 0; i < d; i++) {
      data[i * rank + j] = vector[i]
    }
  })
  return { data, shape: [d, rank] }
}

function largestMagnitude(vectors: readonly Float64Array[]): number {
  let largest = 0
  for (const vector of vectors) {
    for (const x of vector) {
      largest = Math.max(largest, Math.abs(x))
    }
  }
  return largest
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) {
    sum += x[i] * y[i]
  }
  return sum
}

function scaled(vector: Float64Array, factor: number): Float64Array {
  return vector.map((x) => x * factor)
}

/** By division: the reciprocal of a very small number overflows. */
function divide(vector: Float64Array, divisor: number): void {
  for (let i = 0; i < vector.length; i++) {
    vector[i] /= divisor
  }
}

function addMultiple(vector: Float64Array, factor: number, other: Float64Array): void {
  for (let i = 0; i < vector.length; i++) {
    vector[i] += factor * other[i]
  }
}

function subtract(vector: Float64Array, other: Float64Array): void {
  addMultiple(vector, -1, other)
}
