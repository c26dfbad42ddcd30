/**
 * The same checks as in native/common (batch.cc, flips_request.h), with the same messages. They serve the JavaScript
 * backend, and callers that need the answer before a job of the addon starts.
 */

import { QkError } from '../errors.js'
import { spannedElements } from '../math/tensor.js'
import { counted } from '../validate.js'
import type {
  CovarianceBatch,
  CovarianceSpec,
  FlipsRequest,
  LabelSequence,
  RowTensor,
  TermBatch,
} from './backend.js'

const MAX_ROWS = 2 ** 31 - 1

/** Errors: ERR_TYPE, ERR_SHAPE, ERR_RANGE, ERR_EMPTY_SET, ERR_ARGUMENT; all name the array and the place in it. */
export function checkBatch(spec: CovarianceSpec, batch: CovarianceBatch): void {
  const qRows = checkTensor(batch.q, spec.heads, spec.headDim, 'q')
  const kRows = checkTensor(batch.k, spec.kvHeads, spec.headDim, 'k')
  if (batch.terms) {
    checkTerms(spec, batch.terms, qRows, kRows)
  }
  batch.labels?.forEach((labels, i) => {
    checkLabels(spec, labels, qRows, kRows, `labels[${i}]`)
  })
}

/** Checks the tensors of a batch alone. Errors: ERR_TYPE, ERR_SHAPE. */
export function checkTensors(spec: CovarianceSpec, { q, k }: CovarianceBatch): void {
  checkTensor(q, spec.heads, spec.headDim, 'q')
  checkTensor(k, spec.kvHeads, spec.headDim, 'k')
}

function checkTensor(t: RowTensor, heads: number, d: number, name: string): number {
  const type = t.dtype === 'f32' ? Float32Array : Uint16Array
  if (!(t.data instanceof type)) {
    throw new QkError('ERR_TYPE', `${name}.data is not a typed array of the expected type`)
  }
  for (let i = 0; i < 4; i++) {
    for (const [what, x, most] of [
      ['shape', t.shape[i], MAX_ROWS],
      ['strides', t.strides[i], 2 ** 53],
    ] as const) {
      if (!Number.isInteger(x) || x < 0 || x > most) {
        throw new QkError('ERR_SHAPE', `${name}: ${what}[${i}] is ${x}, expected 0 to ${most}`)
      }
    }
  }
  if (t.shape[2] !== heads) {
    throw new QkError('ERR_SHAPE', `${name} has ${counted(t.shape[2], 'head')}, expected ${heads}`)
  }
  if (t.shape[3] !== d) {
    throw new QkError('ERR_SHAPE', `${name} has head dimension ${t.shape[3]}, expected ${d}`)
  }
  const rows = t.shape[0] * t.shape[1]
  if (rows > MAX_ROWS) {
    throw new QkError('ERR_SHAPE', `${name} has ${counted(rows, 'row')}, at most 2^31 - 1 can be numbered`)
  }
  const need = spannedElements(t.shape, t.strides)
  if (need > 2 ** 53) {
    throw new QkError('ERR_SHAPE', `${name} spans more than 2^53 elements`)
  }
  if (!t.resident && t.data.length < need) {
    throw new QkError(
      'ERR_SHAPE',
      `${name} has ${t.data.length} elements, its shape and strides need ${need}`,
    )
  }
  return rows
}

function checkRows(rows: Int32Array, limit: number, name: string): void {
  for (let i = 0; i < rows.length; i++) {
    if (rows[i] < 0 || rows[i] >= limit) {
      throw new QkError('ERR_RANGE', `${name}[${i}] is ${rows[i]}, expected a row from 0 to ${limit - 1}`)
    }
  }
}

function checkWeights(weights: Float32Array | undefined, name: string): void {
  weights?.forEach((w, i) => {
    if (!Number.isFinite(w) || w < 0) {
      throw new QkError(
        'ERR_ARGUMENT',
        `${name}[${i}] is ${w}, expected a finite weight that is not negative`,
      )
    }
  })
}

function checkLength(array: ArrayLike<number> | undefined, length: number, name: string): void {
  if (array && array.length !== length) {
    throw new QkError('ERR_SHAPE', `${name} has ${array.length} elements, expected ${length}`)
  }
}

function checkOffsets(offsets: Int32Array, keys: number, name: string): void {
  if (offsets[0] !== 0) {
    throw new QkError('ERR_RANGE', `${name}[0] is ${offsets[0]}, expected 0`)
  }
  for (let t = 0; t + 1 < offsets.length; t++) {
    if (offsets[t + 1] < offsets[t]) {
      throw new QkError('ERR_RANGE', `${name} falls at index ${t + 1} (${offsets[t]} to ${offsets[t + 1]})`)
    }
    if (offsets[t + 1] === offsets[t]) {
      throw new QkError('ERR_EMPTY_SET', `${name}: term ${t} has no keys`)
    }
  }
  const end = offsets[offsets.length - 1]
  if (end !== keys) {
    throw new QkError('ERR_RANGE', `${name} ends at ${end}, expected ${keys}`)
  }
}

function checkTerms(spec: CovarianceSpec, t: TermBatch, qRows: number, kRows: number): void {
  const n = t.contrast.length
  checkLength(t.query, n, 'query')
  checkLength(t.queryNeg, n, 'queryNeg')
  checkLength(t.posOffsets, n + 1, 'posOffsets')
  checkLength(t.negOffsets, n + 1, 'negOffsets')
  checkLength(t.weights, n, 'weights')
  checkLength(t.posWeights, t.pos.length, 'posWeights')
  checkLength(t.negWeights, t.neg.length, 'negWeights')
  for (let i = 0; i < n; i++) {
    const c = t.contrast[i]
    if (c < 0 || c >= spec.contrasts) {
      throw new QkError('ERR_RANGE', `contrast[${i}] is ${c}, expected 0 to ${spec.contrasts - 1}`)
    }
  }
  checkRows(t.query, qRows, 'query')
  checkRows(t.queryNeg, qRows, 'queryNeg')
  checkOffsets(t.posOffsets, t.pos.length, 'posOffsets')
  checkOffsets(t.negOffsets, t.neg.length, 'negOffsets')
  checkRows(t.pos, kRows, 'pos')
  checkRows(t.neg, kRows, 'neg')
  checkWeights(t.weights, 'weights')
  checkWeights(t.posWeights, 'posWeights')
  checkWeights(t.negWeights, 'negWeights')
  for (const [weights, offsets, name] of [
    [t.posWeights, t.posOffsets, 'posWeights'],
    [t.negWeights, t.negOffsets, 'negWeights'],
  ] as const) {
    if (!weights) {
      continue
    }
    for (let i = 0; i < n; i++) {
      if (weights.subarray(offsets[i], offsets[i + 1]).every((w) => w === 0)) {
        throw new QkError('ERR_ARGUMENT', `${name}: all weights of term ${i} are zero`)
      }
    }
  }
}

function checkLabels(
  spec: CovarianceSpec,
  l: LabelSequence,
  qRows: number,
  kRows: number,
  name: string,
): void {
  if (l.contrast < 0 || l.contrast >= spec.contrasts) {
    throw new QkError('ERR_RANGE', `${name}.contrast is ${l.contrast}, expected 0 to ${spec.contrasts - 1}`)
  }
  checkLength(l.queryPositions, l.queryRows.length, `${name}.queryPositions`)
  checkLength(l.queryLabels, l.queryRows.length, `${name}.queryLabels`)
  checkLength(l.keyPositions, l.keyRows.length, `${name}.keyPositions`)
  checkLength(l.keyLabels, l.keyRows.length, `${name}.keyLabels`)
  checkRows(l.queryRows, qRows, `${name}.queryRows`)
  checkRows(l.keyRows, kRows, `${name}.keyRows`)
  for (const what of ['queryPositions', 'keyPositions'] as const) {
    for (let i = 1; i < l[what].length; i++) {
      if (l[what][i] <= l[what][i - 1]) {
        throw new QkError(
          'ERR_RANGE',
          `${name}.${what} does not ascend at index ${i} (${l[what][i - 1]}, ${l[what][i]})`,
        )
      }
    }
  }
}

/** Errors: ERR_TYPE, ERR_SHAPE, ERR_RANGE, ERR_ARGUMENT; all name the array and the place in it. */
export function checkFlips(r: FlipsRequest): void {
  for (const [name, Type] of [
    ['heads', Int32Array],
    ['coefficients', Float32Array],
    ['units', Int32Array],
    ['flips', Uint32Array],
  ] as const) {
    if (!(r[name] instanceof Type)) {
      throw new QkError('ERR_TYPE', `${name} must be a ${Type.name}`)
    }
  }
  if (!r.q.resident || !r.k.resident) {
    throw new QkError('ERR_ARGUMENT', 'q and k must have been uploaded')
  }
  const [heads, d] = r.q.shape.slice(2)
  const rows = r.coefficients.length
  const rank = r.removed?.rank ?? 0
  const inRange = (x: number, name: string, least: number, most: number, what = `${most}`) => {
    if (!Number.isInteger(x) || x < least || x > most) {
      throw new QkError('ERR_ARGUMENT', `${name} must be from ${least} to ${what}`)
    }
  }
  checkHeadsAgree(r)
  inRange(r.draws, 'draws', 1, 65535)
  if (rows < 1) {
    throw new QkError('ERR_ARGUMENT', 'there are no rows')
  }
  for (const name of ['q', 'k'] as const) {
    const found = r[name].shape[0] * r[name].shape[1]
    if (found !== rows) {
      throw new QkError('ERR_SHAPE', `${name} has ${found} rows, coefficients has ${rows}`)
    }
  }
  inRange(r.unitCount, 'unitCount', 1, rows, 'the number of rows')
  inRange(rank, 'rank', 0, d, 'the head dimension')
  inRange(r.components ?? 1, 'components', 1, rank + 1, 'one more than the rank')
  checkLength(r.units, rows, 'units')
  checkLength(r.flips, r.unitCount * Math.ceil(r.draws / 32), 'flips')
  for (let i = 0; i < r.heads.length; i++) {
    if (r.heads[i] < 0 || r.heads[i] >= heads) {
      throw new QkError('ERR_RANGE', `heads[${i}] is ${r.heads[i]}, expected a head from 0 to ${heads - 1}`)
    }
  }
  checkUnits(r)
  if (r.removed && rank > 0) {
    checkRemoved(r.removed, r.heads.length * d * rank)
  }
}

/** Checks that all heads have one dimension, and that the key heads divide the query heads. */
function checkHeadsAgree({ q, k }: FlipsRequest): void {
  const [heads, d] = q.shape.slice(2)
  const [kvHeads, kDim] = k.shape.slice(2)
  if (heads < 1 || d < 1 || d > 4096) {
    throw new QkError('ERR_SHAPE', 'q must have heads of a dimension from 1 to 4096')
  }
  if (kDim !== d) {
    throw new QkError('ERR_SHAPE', 'q and k differ in head dimension')
  }
  if (kvHeads < 1 || heads % kvHeads !== 0) {
    throw new QkError('ERR_SHAPE', 'the heads of k do not divide those of q')
  }
}

/**
 * Checks that coefficients are finite and units are in order: 0, then the same or the next one, up to the last.
 */
function checkUnits({ coefficients, units, unitCount }: FlipsRequest): void {
  for (let i = 0; i < coefficients.length; i++) {
    if (!Number.isFinite(coefficients[i])) {
      throw new QkError('ERR_ARGUMENT', `coefficients[${i}] is not finite`)
    }
    const before = i === 0 ? -1 : units[i - 1]
    if (units[i] === before + 1 || (units[i] === before && i > 0)) {
      continue
    }
    const expected = i === 0 ? '0' : `${before} or ${before + 1}`
    throw new QkError('ERR_RANGE', `units[${i}] is ${units[i]}, expected ${expected}`)
  }
  const last = units[coefficients.length - 1]
  if (last !== unitCount - 1) {
    throw new QkError('ERR_RANGE', `units ends at ${last}, expected ${unitCount - 1}`)
  }
}

function checkRemoved(removed: NonNullable<FlipsRequest['removed']>, length: number): void {
  for (const name of ['u', 'v'] as const) {
    const basis = removed[name]
    if (!(basis instanceof Float64Array)) {
      throw new QkError('ERR_TYPE', `${name} must be a Float64Array`)
    }
    checkLength(basis, length, name)
    if (!basis.every(Number.isFinite)) {
      throw new QkError('ERR_ARGUMENT', 'u or v is not finite')
    }
  }
}
