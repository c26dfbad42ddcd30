/** One batch accumulated, and the comparison with the processor's sums of the same batch. */

import { QKCovariance } from '../../dist/covariance/qk-covariance.js'
import { decode } from '../../dist/math/tensor.js'

export async function accumulated(backend, { heads, kvHeads, headDim }, batch) {
  const covariance = new QKCovariance({ heads, kvHeads, headDim, contrasts: ['c'], backend })
  try {
    await covariance.add(batch)
    const { cPos, cNeg } = await covariance.read()
    return [cPos, cNeg]
  } finally {
    covariance.dispose()
  }
}

/** Contract 1 on both sides: 4 units each. */
export const ALLOWED = 8

/** Largest difference of an entry in units of 2^-23 E|q| E|k|, what an entry of C is made of on random rows. */
export async function errorAgainstCpu(found, sizes, { q, k, terms }) {
  const want = await accumulated('cpu', sizes, { q, k, terms })
  const magnitude = (tensor) => {
    const values = decode(tensor.data.subarray(0, 1 << 16), tensor.dtype)
    return values.reduce((sum, x) => sum + Math.abs(x), 0) / values.length
  }
  const unit = 2 ** -23 * magnitude(q) * magnitude(k)
  let worst = 0
  want.forEach((matrix, side) => {
    matrix.forEach((x, i) => {
      const error = Math.abs(found[side][i] - x) / unit
      if (!(error <= worst)) {
        worst = error
      }
    })
  })
  return worst
}
