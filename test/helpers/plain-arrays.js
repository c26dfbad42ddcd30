/** Naive float64 linear algebra on arrays of rows, that attribution and intervention are compared with. */

import { normal } from './arithmetic-random.js'

/** A flat normal array { data, shape }. */
export function gaussian(shape, seed) {
  const next = normal(seed)
  return { data: Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, next), shape }
}

/** The same array in float32. */
export const narrowed = ({ data, shape }) => ({ data: Float32Array.from(data), shape })

/** Columns (arrays of length d) to a row-major { data, shape: [d, r] }. */
export function fromColumns(columns, d = columns[0].length) {
  const r = columns.length
  const data = new Float64Array(d * r)
  columns.forEach((column, j) => {
    for (let i = 0; i < d; i++) {
      data[i * r + j] = column[i]
    }
  })
  return { data, shape: [d, r] }
}

/**
 * Row-major { data, shape: [d, r] } to columns.
 * @param {{ data: ArrayLike<number>, shape: readonly number[] }} array
 */
export function toColumns({ data, shape: [d, r] }) {
  return Array.from({ length: r }, (_, j) => Array.from({ length: d }, (_, i) => data[i * r + j]))
}

/** Row `index` of { data, shape: [..., d] }. */
export function rowOf({ data, shape }, index) {
  const d = shape[shape.length - 1]
  return Array.from(data.slice(index * d, (index + 1) * d))
}

export function inner(x, y) {
  let sum = 0
  for (let i = 0; i < x.length; i++) {
    sum += x[i] * y[i]
  }
  return sum
}

export const plus = (x, y, factor = 1) => x.map((value, i) => value + factor * y[i])
export const minus = (x, y) => plus(x, y, -1)

/** The projection of x on the span of independent columns, by solving the normal equations. */
export function projection(columns, x) {
  if (columns.length === 0) {
    return x.map(() => 0)
  }
  const gram = columns.map((a) => columns.map((b) => inner(a, b)))
  const weights = solve(
    gram,
    columns.map((a) => inner(a, x)),
  )
  return columns.reduce(
    (sum, column, j) => plus(sum, Array.from(column), weights[j]),
    x.map(() => 0),
  )
}

/** Gaussian elimination with partial pivoting. */
function solve(matrix, right) {
  const n = right.length
  const a = matrix.map((row, i) => [...row, right[i]])
  for (let c = 0; c < n; c++) {
    let pivot = c
    for (let i = c; i < n; i++) {
      if (Math.abs(a[i][c]) > Math.abs(a[pivot][c])) {
        pivot = i
      }
    }
    const swapped = a[c]
    a[c] = a[pivot]
    a[pivot] = swapped
    for (let i = c + 1; i < n; i++) {
      const factor = a[i][c] / a[c][c]
      for (let j = c; j <= n; j++) {
        a[i][j] -= factor * a[c][j]
      }
    }
  }
  const x = new Array(n).fill(0)
  for (let c = n - 1; c >= 0; c--) {
    let sum = a[c][n]
    for (let j = c + 1; j < n; j++) {
      sum -= a[c][j] * x[j]
    }
    x[c] = sum / a[c][c]
  }
  return x
}

/** All orders of 0 ... n - 1. */
export function permutations(n) {
  if (n === 0) {
    return [[]]
  }
  return permutations(n - 1).flatMap((order) =>
    Array.from({ length: n }, (_, at) => [...order.slice(0, at), n - 1, ...order.slice(at)]),
  )
}

/** max |a - b|; infinite when the lengths differ or anything is NaN. */
export function largestGap(a, b) {
  if (a.length !== b.length) {
    return Number.POSITIVE_INFINITY
  }
  let gap = 0
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i])
    gap = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(gap, difference)
  }
  return gap
}
