/**
 * Largest singular values under sign flips in plain float64. The matrix D_u = sum_r c_r q_r k_r^T of every unit is
 * computed once, then added to or subtracted from the matrix of each draw.
 */

import { QkError, throwIfAborted } from '../errors.js'
import { elementReader } from '../math/tensor.js'
import type { FlipsRequest, RowTensor } from './backend.js'
import { checkFlips } from './check.js'
import { cooperator, type Turn } from './cooperate.js'
import { largestSingularValue } from './js-lanczos.js'

/** Most matrix entries that are computed before decomposition. */
const MOST_NUMBERS = 2 ** 22

export async function largestOfFlips(request: FlipsRequest, signal?: AbortSignal): Promise<Float64Array> {
  throwIfAborted(signal)
  checkFlips(request)
  const { draws, components = 1 } = request
  // Copied before the call returns, since the arrays are read until the last draw.
  const heads = request.heads.slice()
  const flips: Flips = {
    coefficients: request.coefficients.slice(),
    units: request.units.slice(),
    unitCount: request.unitCount,
    bits: request.flips.slice(),
    words: Math.ceil(draws / 32),
  }
  const removed = request.removed && {
    rank: request.removed.rank,
    u: request.removed.u.slice(),
    v: request.removed.v.slice(),
  }
  const [, qHeads, d] = request.q.shape.slice(1)
  const group = qHeads / request.k.shape[2]
  const pause = cooperator(signal)
  const out = new Float64Array(heads.length * draws * components)
  const together = Math.max(1, Math.min(draws, Math.floor(MOST_NUMBERS / (d * d))))
  const matrices = new Float64Array(together * d * d)
  for (let h = 0; h < heads.length; h++) {
    const q = headRows(request.q, heads[h], 'q')
    const k = headRows(request.k, Math.floor(heads[h] / group), 'k')
    for (let first = 0; first < draws; first += together) {
      const count = Math.min(together, draws - first)
      await flippedMatrices(matrices, { q, k, d }, flips, { first, count }, pause)
      for (let b = 0; b < count; b++) {
        const matrix = matrices.subarray(b * d * d, (b + 1) * d * d)
        const values = largestValues(matrix, d, removed, h, components)
        out.set(values, (h * draws + first + b) * components)
        await pause()
      }
    }
  }
  return out
}

/** Weights and units of the rows, and one bit for every unit and draw: 1 subtracts the unit. */
interface Flips {
  coefficients: FlipsRequest['coefficients']
  units: Int32Array
  unitCount: number
  bits: Uint32Array
  /** 32-bit words per unit. */
  words: number
}

/** D_b = sum_u (+-) D_u of some draws, [count, d, d]. */
async function flippedMatrices(
  matrices: Float64Array,
  rows: { q: Float64Array; k: Float64Array; d: number },
  { coefficients, units, unitCount, bits, words }: Flips,
  { first, count }: { first: number; count: number },
  pause: Turn,
): Promise<void> {
  const { d } = rows
  const unitMatrix = new Float64Array(d * d)
  matrices.fill(0)
  let row = 0
  for (let unit = 0; unit < unitCount; unit++) {
    unitMatrix.fill(0)
    for (; row < units.length && units[row] === unit; row++) {
      addProduct(unitMatrix, rows, row, coefficients[row])
    }
    for (let b = 0; b < count; b++) {
      const draw = first + b
      const sign = (bits[unit * words + (draw >>> 5)] >>> (draw & 31)) & 1 ? -1 : 1
      const at = b * d * d
      for (let i = 0; i < d * d; i++) {
        matrices[at + i] += sign * unitMatrix[i]
      }
    }
    await pause()
  }
}

/** M += c q_r k_r^T */
function addProduct(
  matrix: Float64Array,
  { q, k, d }: { q: Float64Array; k: Float64Array; d: number },
  row: number,
  c: number,
): void {
  for (let i = 0; i < d; i++) {
    const x = c * q[row * d + i]
    for (let j = 0; j < d; j++) {
      matrix[i * d + j] += x * k[row * d + j]
    }
  }
}

/**
 * Largest singular values of a matrix as directions are projected out one by one; the last `components` of them.
 */
function largestValues(
  matrix: Float64Array,
  d: number,
  removed: { u: Float64Array; v: Float64Array; rank: number } | undefined,
  head: number,
  components: number,
): Float64Array {
  const rank = removed?.rank ?? 0
  const values = new Float64Array(components)
  for (let c = 0; c <= rank; c++) {
    const place = c - (rank - components + 1)
    if (place >= 0) {
      values[place] = largestSingularValue(matrix, d)
    }
    if (removed && c < rank) {
      const column = (of: Float64Array) =>
        Float64Array.from({ length: d }, (_, i) => of[(head * d + i) * rank + c])
      removeDirection(matrix, column(removed.u), column(removed.v))
    }
  }
  return values
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
      if (!Number.isFinite(x)) {
        throw new QkError('ERR_NON_FINITE', `${name} is not finite at head ${head}, row ${row}`)
      }
      out[row * d + i] = x
    }
  }
  return out
}

/** A = (I - u u^T) A (I - v v^T) */
function removeDirection(a: Float64Array, u: Float64Array, v: Float64Array): void {
  const d = u.length
  const along = new Float64Array(d)
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      along[j] += u[i] * a[i * d + j]
    }
  }
  for (let i = 0; i < d; i++) {
    let sum = 0
    for (let j = 0; j < d; j++) {
      a[i * d + j] -= u[i] * along[j]
      sum += a[i * d + j] * v[j]
    }
    for (let j = 0; j < d; j++) {
      a[i * d + j] -= sum * v[j]
    }
  }
}
