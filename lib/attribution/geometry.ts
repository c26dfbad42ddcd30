/** Coordinates inside subspaces, their principal components, and the angles between subspaces. */

import type { Basis } from '../math/basis.js'
import { groupBy } from '../math/group-by.js'
import { svd } from '../spectrum/svd.js'

/** Coordinates of rows [n, d] along orthonormal columns [d, rank]: [n, rank]. */
export function coordinates(rows: Float64Array, { data, shape: [d, rank] }: Basis): Float64Array {
  const n = rows.length / d
  const out = new Float64Array(n * rank)
  for (let row = 0; row < n; row++) {
    for (let c = 0; c < rank; c++) {
      let sum = 0
      for (let i = 0; i < d; i++) {
        sum += rows[row * d + i] * data[i * rank + c]
      }
      out[row * rank + c] = sum
    }
  }
  return out
}

/** Rows [n, d] less their mean. */
export function centred(rows: Float64Array, d: number): Float64Array {
  const n = rows.length / d
  const mean = new Float64Array(d)
  rows.forEach((value, at) => {
    mean[at % d] += value / n
  })
  return rows.map((value, at) => value - mean[at % d])
}

/**
 * Share of the variance of rows [n, d] that lies between the means of their labels; rows without a label are left out.
 * Null with fewer than two labels, or if all rows are equal.
 */
export function labelShare(rows: Float64Array, d: number, labels: readonly (string | null)[]): number | null {
  const kept = labels.flatMap((label, i) => (label === null ? [] : [{ label, i }]))
  const groups = groupBy(kept, ({ label }) => label)
  if (groups.size < 2) {
    return null
  }
  const mean = (list: readonly { i: number }[]) => {
    const sum = new Float64Array(d)
    for (const { i } of list) {
      for (let c = 0; c < d; c++) {
        sum[c] += rows[i * d + c] / list.length
      }
    }
    return sum
  }
  const squared = (a: (c: number) => number, b: Float64Array) =>
    b.reduce((sum, x, c) => sum + (a(c) - x) ** 2, 0)
  const all = mean(kept)
  const total = kept.reduce((sum, { i }) => sum + squared((c) => rows[i * d + c], all), 0)
  const between = [...groups.values()].reduce((sum, list) => {
    const own = mean(list)
    return sum + list.length * squared((c) => own[c], all)
  }, 0)
  return total > 0 ? between / total : null
}

/** Rows along their first principal components. */
export interface PrincipalComponents {
  /** [n, count] */
  scores: Float64Array
  count: number
  /** Share of each component in the variance of the rows, [count]. */
  shares: number[]
}

/** The first principal components of rows [n, d], at most `count` of them. */
export async function principalComponents(
  rows: Float64Array,
  d: number,
  count: number,
  signal?: AbortSignal,
): Promise<PrincipalComponents> {
  const n = rows.length / d
  const rank = Math.min(count, d, n)
  const { u, s, totalEnergy } = await svd(centred(rows, d), { n: 1, rows: n, cols: d, rank, signal })
  return {
    scores: u.map((value, at) => value * s[at % rank]),
    count: rank,
    shares: Array.from(s, (value) => (totalEnergy[0] === 0 ? 0 : value ** 2 / totalEnergy[0])),
  }
}

/** Cosines of the principal angles between two spans, descending. */
export async function principalCosines(a: Basis, b: Basis, signal?: AbortSignal): Promise<number[]> {
  const [d, rows] = a.shape
  const [, cols] = b.shape
  if (rows === 0 || cols === 0) {
    return []
  }
  const product = new Float64Array(rows * cols)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      for (let c = 0; c < d; c++) {
        product[i * cols + j] += a.data[c * rows + i] * b.data[c * cols + j]
      }
    }
  }
  const { s } = await svd(product, { n: 1, rows, cols, signal })
  return [...s]
}
