/** Projects singular directions out of a matrix, so that the next component can be tested. */

import type { Removed } from './null-source.js'

/**
 * Matrix `index` of a batch [n, d, d] becomes (I - U U^T) D (I - V V^T), in place, with the first `rank` columns of u and
 * v of a head.
 */
export function removeDirections(
  batch: Float64Array,
  index: number,
  head: number,
  d: number,
  { u, v, rank: width }: Removed,
  rank: number,
): void {
  const at = (i: number, j: number) => (index * d + i) * d + j
  const basis = head * d * width
  for (let c = 0; c < rank; c++) {
    for (let j = 0; j < d; j++) {
      let sum = 0
      for (let i = 0; i < d; i++) {
        sum += u[basis + i * width + c] * batch[at(i, j)]
      }
      for (let i = 0; i < d; i++) {
        batch[at(i, j)] -= sum * u[basis + i * width + c]
      }
    }
    for (let i = 0; i < d; i++) {
      let sum = 0
      for (let j = 0; j < d; j++) {
        sum += batch[at(i, j)] * v[basis + j * width + c]
      }
      for (let j = 0; j < d; j++) {
        batch[at(i, j)] -= sum * v[basis + j * width + c]
      }
    }
  }
}
