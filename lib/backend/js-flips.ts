/**
 * Largest singular values under sign flips in plain float64. Of every unit the matrix D_u = sum_r c_r q_r k_r^T is made
 * once and added to, or taken from, the matrix of each draw.
 */

import { QkError, throwIfAborted } from '../errors.js'
import { elementReader } from '../math/tensor.js'
import type { FlipsRequest, RowTensor } from './backend.js'
import { checkFlips } from './check.js'
import { cooperator } from './cooperate.js'
import { largestSingularValue } from './js-lanczos.js'

/** Numbers of matrices that are made before they are decomposed. */
const ROOM = 2 ** 22

export async function largestOfFlips(request: FlipsRequest, signal?: AbortSignal): Promise<Float64Array> {
  throwIfAborted(signal)
  checkFlips(request)
  const { draws, unitCount, removed, components = 1 } = request
  // Read until the last draw, so copied before the call returns.
  const heads = request.heads.slice()
  const coefficients = request.coefficients.slice()
  const units = request.units.slice()
  const flips = request.flips.slice()
  const rank = removed?.rank ?? 0
  const [u, v] = [removed?.u.slice(), removed?.v.slice()]
  const [rows, qHeads, d] = request.q.shape.slice(1)
  const group = qHeads / request.k.shape[2]
  const words = Math.ceil(draws / 32)
  const pause = cooperator(signal)
  const out = new Float64Array(heads.length * draws * components)
  const unitMatrix = new Float64Array(d * d)
  const together = Math.max(1, Math.min(draws, Math.floor(ROOM / (d * d))))
  const matrices = new Float64Array(together * d * d)

  for (let h = 0; h < heads.length; h++) {
    const q = headRows(request.q, heads[h], 'q')
    const k = headRows(request.k, Math.floor(heads[h] / group), 'k')
    for (let first = 0; first < draws; first += together) {
      const count = Math.min(together, draws - first)
      matrices.fill(0)
      let row = 0
      for (let unit = 0; unit < unitCount; unit++) {
        unitMatrix.fill(0)
        for (; row < rows && units[row] === unit; row++) {
          for (let i = 0; i < d; i++) {
            const x = coefficients[row] * q[row * d + i]
            for (let j = 0; j < d; j++) unitMatrix[i * d + j] += x * k[row * d + j]
          }
        }
        for (let b = 0; b < count; b++) {
          const draw = first + b
          const sign = (flips[unit * words + (draw >>> 5)] >>> (draw & 31)) & 1 ? -1 : 1
          const at = b * d * d
          for (let i = 0; i < d * d; i++) matrices[at + i] += sign * unitMatrix[i]
        }
        await pause()
      }
      for (let b = 0; b < count; b++) {
        const matrix = matrices.subarray(b * d * d, (b + 1) * d * d)
        for (let c = 0; c <= rank; c++) {
          const value = c - (rank - components + 1)
          if (value >= 0) out[(h * draws + first + b) * components + value] = largestSingularValue(matrix, d)
          if (c === rank || !u || !v) continue
          removeDirection(
            matrix,
            Float64Array.from({ length: d }, (_, i) => u[(h * d + i) * rank + c]),
            Float64Array.from({ length: d }, (_, i) => v[(h * d + i) * rank + c]),
          )
        }
        await pause()
      }
    }
  }
  return out
}

/** Rows of a head, [rows, d]. Errors: ERR_NON_FINITE. */
function headRows(tensor: RowTensor, head: number, name: string): Float64Array {
  const { data, dtype } = tensor.resident as RowTensor
  const [batch, pos, , d] = tensor.shape
  const [sb, st, sh, sd] = tensor.strides
  const read = elementReader(data, dtype)
  const out = new Float64Array(batch * pos * d)
  for (let row = 0; row < batch * pos; row++) {
    const at = Math.floor(row / pos) * sb + (row % pos) * st + head * sh
    for (let i = 0; i < d; i++) {
      const x = read(at + i * sd)
      if (!Number.isFinite(x))
        throw new QkError('ERR_NON_FINITE', `${name} is not finite at head ${head}, row ${row}`)
      out[row * d + i] = x
    }
  }
  return out
}

/** A = (I - u u^T) A (I - v v^T) */
function removeDirection(a: Float64Array, u: Float64Array, v: Float64Array): void {
  const d = u.length
  const along = new Float64Array(d)
  for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) along[j] += u[i] * a[i * d + j]
  for (let i = 0; i < d; i++) {
    let sum = 0
    for (let j = 0; j < d; j++) {
      a[i * d + j] -= u[i] * along[j]
      sum += a[i * d + j] * v[j]
    }
    for (let j = 0; j < d; j++) a[i * d + j] -= sum * v[j]
  }
}
