/** The readable reference backend: float64, one thread, cooperative. */

import { QkError } from '../errors.js'
import type {
  Backend,
  BackendCovariance,
  BackendDescription,
  CovarianceSpec,
  FlipsRequest,
  ResidentHandle,
  RowTensor,
  SvdRequest,
  SvdResult,
} from './backend.js'
import { cooperator } from './cooperate.js'
import { JsCovariance } from './js-covariance.js'
import { largestOfFlips } from './js-flips.js'
import { type FullSvd, jacobiSvd, rankByEnergy, svdArrays } from './js-svd.js'

export class JsBackend implements Backend {
  readonly name = 'js'
  readonly choice = 'js'

  describe(): BackendDescription {
    return { name: 'js', choice: 'js', instructionSet: 'scalar', threads: 1, version: '1' }
  }

  covariance(spec: CovarianceSpec): BackendCovariance {
    return new JsCovariance(spec)
  }

  async upload(tensor: RowTensor): Promise<ResidentHandle> {
    return { ...tensor, data: tensor.data.slice() }
  }

  release(): void {}

  largestOfFlips(request: FlipsRequest, signal?: AbortSignal): Promise<Float64Array> {
    return largestOfFlips(request, signal)
  }

  async svd(request: SvdRequest, signal?: AbortSignal): Promise<SvdResult<Float32Array | Float64Array>> {
    const { n, rows, cols, energy, rank, maxRank } = request
    const matrices = request.matrices.slice()
    const pause = cooperator(signal)
    const size = rows * cols
    const least = Math.min(rows, cols)
    const ranks = new Int32Array(n)
    const totalEnergy = new Float64Array(n)
    const errorBound = new Float64Array(n)
    const converged = new Uint8Array(n)
    const results: (FullSvd & { scale: number })[] = []
    for (let m = 0; m < n; m++) {
      const scale = powerOfTwoAbove(matrices.subarray(m * size, (m + 1) * size), m)
      // Divided in two steps, since 2^1023 has a reciprocal and 2^-1074 has none.
      const half = 2 ** Math.trunc(Math.log2(scale) / 2)
      const svd = jacobiSvd(rows, cols, (i, j) => matrices[m * size + i * cols + j] / half / (scale / half))
      let r = least
      if (energy !== undefined) {
        r = Math.min(rankByEnergy(svd.s, energy), maxRank || least)
      } else if (rank !== undefined) {
        r = Math.min(rank, least)
      }
      let kept = 0
      let left = 0
      svd.s.forEach((x, i) => {
        if (i < r) {
          kept += x * x
        } else {
          left += x * x
        }
      })
      const total = kept + left
      ranks[m] = r
      totalEnergy[m] = total * scale * scale
      errorBound[m] = total > 0 ? Math.sqrt(left / total) + 8 * 2 ** -52 * Math.max(rows, cols) : 0
      converged[m] = +svd.converged
      results.push({ ...svd, scale })
      await pause()
    }
    const width = ranks.reduce((most, r) => Math.max(most, r), 0)
    const { u, s, v } = svdArrays(request, width)
    results.forEach((svd, m) => {
      for (let c = 0; c < ranks[m]; c++) {
        const sign = leadingSign(svd.u[c])
        s[m * width + c] = svd.s[c] * svd.scale
        for (let i = 0; i < rows; i++) {
          u[(m * rows + i) * width + c] = sign * svd.u[c][i]
        }
        for (let i = 0; i < cols; i++) {
          v[(m * cols + i) * width + c] = sign * svd.v[c][i]
        }
      }
    })
    return { maxRank: width, ranks, u, s, v, totalEnergy, errorBound, converged }
  }
}

/** A power of two near the largest magnitude, 1 for a zero matrix. */
function powerOfTwoAbove(values: Float32Array | Float64Array, index: number): number {
  let most = 0
  for (const x of values) {
    if (!Number.isFinite(x)) {
      throw new QkError('ERR_NON_FINITE', `matrix ${index} has an entry that is not finite`)
    }
    most = Math.max(most, Math.abs(x))
  }
  return most === 0 ? 1 : 2 ** Math.max(-1022, Math.floor(Math.log2(most)))
}

/** Sign that makes the entry of largest magnitude positive, the first such entry on a tie. */
function leadingSign(column: Float64Array): 1 | -1 {
  let at = 0
  for (let i = 1; i < column.length; i++) {
    if (Math.abs(column[i]) > Math.abs(column[at])) {
      at = i
    }
  }
  return column[at] < 0 ? -1 : 1
}
