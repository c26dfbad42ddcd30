/** Our own subjects: one accumulation from empty to C+ and C-, as a caller would time it. */

import { QKCovariance } from '../dist/index.js'

/** A function that accumulates `batch` with the backend and gives [cPos, cNeg] of the heads asked for. */
export function accumulation(backend, { heads, kvHeads, headDim }, batch, read = {}) {
  return async () => {
    const covariance = new QKCovariance({ heads, kvHeads, headDim, contrasts: ['c'], backend })
    await covariance.add(batch)
    const { cPos, cNeg } = await covariance.read(read)
    covariance.dispose()
    return [cPos, cNeg]
  }
}
