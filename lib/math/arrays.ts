/** Checks arrays given by callers: every length, type and number, before arithmetic starts. */

import { QkError } from '../errors.js'
import { checkReadable, kindOf, refuseUnknownKeys, shownValue } from '../validate.js'
import { elementCount, type FloatArray } from './tensor.js'

/** A dense row-major array; a view with an offset is fine. */
export interface ArrayInput {
  /** The values, row-major. */
  data: Float32Array | Float64Array
  /** Sizes of the axes, outermost first. */
  shape: readonly number[]
}

const ARRAY_KEYS = { data: true, shape: true } satisfies Record<keyof ArrayInput, true>

/** The axes of an array in order, with their size where it is already known. */
type Axes = Record<string, number | undefined>

/**
 * An array of finite numbers with the axes asked for.
 * Errors: ERR_TYPE, ERR_ARGUMENT (unknown keys), ERR_SHAPE, ERR_NON_FINITE.
 */
export function readArray(input: ArrayInput, name: string, axes: Axes): ArrayInput {
  const expected = Object.entries(axes).map(([axis, size]) =>
    size === undefined ? axis : `${axis} = ${size}`,
  )
  if (!input || typeof input !== 'object' || ArrayBuffer.isView(input) || Array.isArray(input)) {
    throw new QkError('ERR_TYPE', `${name} must be { data, shape: [${expected.join(', ')}] }`)
  }
  refuseUnknownKeys(input, ARRAY_KEYS, name)
  const { data, shape } = input
  if (!(data instanceof Float32Array || data instanceof Float64Array)) {
    throw new QkError('ERR_TYPE', `${name}.data must be a Float32Array or a Float64Array`, {
      hint: 'convert it, for example with Float64Array.from(values)',
    })
  }
  checkReadable(data, `${name}.data`)
  const sizes = Object.values(axes)
  if (!Array.isArray(shape) || shape.length !== sizes.length) {
    throw new QkError(
      'ERR_SHAPE',
      `${name}.shape must be [${expected.join(', ')}], got ${Array.isArray(shape) ? `[${shape.map(shownValue)}]` : kindOf(shape)}`,
    )
  }
  const count = elementCount(shape, `${name}.shape`)
  if (sizes.some((size, axis) => size !== undefined && size !== shape[axis])) {
    throw new QkError(
      'ERR_SHAPE',
      `${name}.shape is [${shape.join(', ')}], expected [${expected.join(', ')}]`,
    )
  }
  if (data.length !== count) {
    throw new QkError(
      'ERR_SHAPE',
      `${name}.data has ${data.length} elements, its shape [${shape.join(', ')}] needs ${count}`,
    )
  }
  refuseNonFinite(data, shape, name)
  return input
}

/** Queries [n, d] and keys [n, keys, d], and their sizes. Errors: as readArray. */
export function readQueriesAndKeys(
  qInput: ArrayInput,
  kInput: ArrayInput,
): { q: FloatArray; k: FloatArray; n: number; keys: number; d: number } {
  const q = readArray(qInput, 'q', { n: undefined, d: undefined })
  const [n, d] = q.shape
  if (d === 0) {
    throw new QkError('ERR_SHAPE', 'q.shape has d = 0, expected a head dimension of at least 1')
  }
  const k = readArray(kInput, 'k', { n, keys: undefined, d })
  return { q: q.data, k: k.data, n, keys: k.shape[1], d }
}

/** Which keys are visible, [n, keys], 1 = visible; undefined when all are. Errors: ERR_TYPE, ERR_SHAPE, ERR_RANGE. */
export function readMask(mask: Uint8Array | undefined, n: number, keys: number): Uint8Array | undefined {
  if (mask === undefined) {
    return undefined
  }
  if (!(mask instanceof Uint8Array)) {
    throw new QkError('ERR_TYPE', 'mask must be a Uint8Array, 1 where the key is visible')
  }
  checkReadable(mask, 'mask')
  if (mask.length !== n * keys) {
    throw new QkError('ERR_SHAPE', `mask has ${mask.length} elements, expected n * keys = ${n * keys}`)
  }
  const wrong = mask.findIndex((visible) => visible > 1)
  if (wrong >= 0) {
    throw new QkError('ERR_RANGE', `mask[${wrong}] is ${mask[wrong]}, expected 0 (masked) or 1 (visible)`)
  }
  return mask
}

/** One key index a row, 0 to keys - 1. Errors: ERR_TYPE, ERR_SHAPE, ERR_RANGE. */
export function readPositions(
  positions: Int32Array | readonly number[],
  name: string,
  n: number,
  keys: number,
): Int32Array {
  if (!(positions instanceof Int32Array || Array.isArray(positions))) {
    throw new QkError('ERR_TYPE', `${name} must be an Int32Array with the index of a key for each row`)
  }
  if (positions instanceof Int32Array) {
    checkReadable(positions, name)
  }
  if (positions.length !== n) {
    throw new QkError('ERR_SHAPE', `${name} has ${positions.length} elements, expected one a row: ${n}`)
  }
  positions.forEach((key, row) => {
    if (!(Number.isInteger(key) && key >= 0 && key < keys)) {
      throw new QkError(
        'ERR_RANGE',
        `${name}[${row}] is ${shownValue(key)}, expected the index of a key, 0 to ${keys - 1}`,
      )
    }
  })
  return Int32Array.from(positions)
}

function refuseNonFinite(data: FloatArray, shape: readonly number[], name: string): void {
  for (let i = 0; i < data.length; i++) {
    if (Number.isFinite(data[i])) {
      continue
    }
    const place: number[] = []
    for (let axis = shape.length - 1, left = i; axis >= 0; axis--) {
      place.unshift(left % shape[axis])
      left = Math.floor(left / shape[axis])
    }
    throw new QkError('ERR_NON_FINITE', `${name} at [${place.join(', ')}] is ${data[i]}`, {
      hint: 'remove the rows that are not finite, or find what made them so',
    })
  }
}
