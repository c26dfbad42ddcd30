/** Batched SVD, in full and to 99% of the energy, of matrices of rank 9 with half a per cent of noise. */

import { svd } from '../../../dist/spectrum/svd.js'
import { relativeError } from '../../data.mjs'
import { makeMatrix } from '../../matrices.mjs'
import { BARS, limitAt, peerBar, timeBar } from '../bars.mjs'
import { measure } from '../measure.mjs'

/** The limits are those of these sizes. */
const WHOLE = { matrices: 4096, side: 128 }
/** Different matrices of a batch, and those of them that are compared. */
const DISTINCT = 128
const CHECKED = 8

const goal = (mode) => (mode === 'energy' ? { energy: 0.99 } : {})

export default {
  title: 'SVD',
  variants: ({ matrices, side }) =>
    ['full', 'energy'].map((mode) => ({
      label: `${matrices} of ${side} x ${side}, ${mode === 'full' ? 'in full' : 'rank 9, to 99% of the energy'}`,
      mode,
    })),
  run: async (bench, sizes, { mode }) => {
    const { matrices: n, side } = sizes
    const options = { rows: side, cols: side, ...goal(mode) }
    const figures = await measure(
      bench,
      { bytes: 4 * n * side * side, matrices: n },
      {
        allowed: 1e-5,
        fresh: (seed) => {
          const area = side * side
          const data = new Float32Array(new SharedArrayBuffer(4 * n * area))
          for (let m = 0; m < Math.min(n, DISTINCT); m++) {
            data.set(makeMatrix(side, 'low rank', seed * DISTINCT + m), m * area)
          }
          for (let m = DISTINCT; m < n; m++) {
            data.copyWithin(m * area, (m % DISTINCT) * area, ((m % DISTINCT) + 1) * area)
          }
          return data
        },
        once: (data) => svd(data, { n, ...options, backend: bench.name }),
        verify: async (data, found) => {
          const checked = Math.min(CHECKED, n)
          const some = Float64Array.from(data.subarray(0, checked * side * side))
          const want = await svd(some, { n: checked, ...options, backend: 'cpu' })
          const errors = Array.from({ length: checked }, (_, m) => errorOf(some, side, found, want, m))
          return Math.max(...errors)
        },
      },
    )
    const { median } = figures.deviceMs
    const { deviceMs, callMs } = BARS.svd[mode]
    const bars = [
      timeBar('ms of the device', median, limitAt(sizes, WHOLE, deviceMs)),
      timeBar('ms of the call', figures.callMs.median, limitAt(sizes, WHOLE, callMs)),
      peerBar('svd', bench.pytorch, median, null),
      peerBar('svd-cupy-eigh-of-gram', bench.pytorch, median, null),
    ]
    return { ...figures, bars }
  },
}

/** Of singular values, relative to the largest, and of the product beyond that of the reference. */
function errorOf(matrices, side, found, want, m) {
  const rank = want.ranks[m]
  if (found.ranks[m] !== rank) {
    return Number.POSITIVE_INFINITY
  }
  const values = ({ s, maxRank }) => s.subarray(m * maxRank, m * maxRank + rank)
  const top = values(want)[0]
  const ofValues = Math.max(...values(found).map((s, i) => Math.abs(s - values(want)[i]) / top))
  const matrix = matrices.subarray(m * side * side, (m + 1) * side * side)
  const left = (result) => relativeError(product(result, side, m), matrix)
  return Math.max(ofValues, left(found) - left(want))
}

function product({ u, s, v, maxRank }, side, m) {
  const out = new Float64Array(side * side)
  for (let i = 0; i < side; i++) {
    for (let c = 0; c < maxRank; c++) {
      const x = u[(m * side + i) * maxRank + c] * s[m * maxRank + c]
      for (let j = 0; j < side; j++) {
        out[i * side + j] += x * v[(m * side + j) * maxRank + c]
      }
    }
  }
  return out
}
