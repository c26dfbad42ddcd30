/** Typed-array views: dtypes, 16-bit floats, shapes and strides. */

import { QkError } from '../errors.js'
import { shownValue } from '../validate.js'

/** Element type of captured rows. 16-bit values are kept as their bits. */
export type Dtype = 'f32' | 'f16' | 'bf16'

export type FloatArray = Float32Array | Float64Array

/** Number of elements of a shape. Throws a QkError unless all sizes are safe, non-negative integers. */
export function elementCount(shape: readonly number[], name = 'shape'): number {
  let count = 1
  for (let i = 0; i < shape.length; i++) {
    const n = shape[i]
    if (!Number.isSafeInteger(n) || n < 0) {
      throw new QkError('ERR_SHAPE', `${name}[${i}] is ${shownValue(n)}, expected a non-negative integer`)
    }
    count *= n
  }
  if (!Number.isSafeInteger(count)) {
    throw new QkError('ERR_SHAPE', `${name} [${shape.join(', ')}] has more than 2^53 elements`)
  }
  return count
}

/** Row-major strides, in elements. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length)
  let step = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step
    step *= Math.max(1, shape[i])
  }
  return strides
}

/** Number of elements that a strided view spans, counted from its first one. 0 if it is empty. */
export function spannedElements(shape: readonly number[], strides: readonly number[]): number {
  let last = 0
  for (let i = 0; i < shape.length; i++) {
    if (shape[i] === 0) {
      return 0
    }
    last += (shape[i] - 1) * strides[i]
  }
  return last + 1
}

/** Whether a typed array's memory may be shared with other threads. */
export function isShared(array: ArrayBufferView): boolean {
  return typeof SharedArrayBuffer !== 'undefined' && array.buffer instanceof SharedArrayBuffer
}

const scratch = new DataView(new ArrayBuffer(4))

/** Bits of a half-precision float to its value; exact. */
export function f16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) {
    return sign * fraction * 2 ** -24
  }
  if (exponent === 31) {
    return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  }
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** Bits of a bfloat16 to its value; exact. */
export function bf16ToNumber(bits: number): number {
  scratch.setUint32(0, (bits & 0xffff) << 16)
  return scratch.getFloat32(0)
}

/** Value to the bits of the nearest half-precision float, ties to even. */
export function numberToF16(value: number): number {
  if (Number.isNaN(value)) {
    return 0x7e00
  }
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  if (magnitude >= 65520) {
    return sign | 0x7c00
  }
  const step = magnitude < 2 ** -14 ? 2 ** -24 : 2 ** (Math.floor(Math.log2(magnitude)) - 10)
  // log2 may round up at the last value below a power of two; either step gives the same rounding there.
  const units = roundTiesToEven(magnitude / step)
  if (magnitude < 2 ** -14) {
    return sign | units
  }
  const exponent = Math.log2(step) + 10
  return sign | (((exponent + 15) << 10) + (units - 1024))
}

/** Value to the bits of the nearest bfloat16, ties to even (through the nearest f32). */
export function numberToBf16(value: number): number {
  scratch.setFloat32(0, value)
  const bits = scratch.getUint32(0)
  if (Number.isNaN(value)) {
    return 0x7fc0
  }
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16
}

function roundTiesToEven(x: number): number {
  const floor = Math.floor(x)
  const rest = x - floor
  if (rest !== 0.5) {
    return Math.round(x)
  }
  return floor % 2 === 0 ? floor : floor + 1
}

/** Values as an array of the dtype (f16 and bf16 as their bits in a Uint16Array). */
export function encode(values: ArrayLike<number>, dtype: Dtype): Float32Array | Uint16Array {
  if (dtype === 'f32') {
    return Float32Array.from(values)
  }
  const convert = dtype === 'f16' ? numberToF16 : numberToBf16
  const bits = new Uint16Array(values.length)
  for (let i = 0; i < values.length; i++) {
    bits[i] = convert(values[i])
  }
  return bits
}

/** The values behind an array of the dtype, exact. */
export function decode(data: Float32Array | Uint16Array, dtype: Dtype): Float32Array {
  if (dtype === 'f32') {
    return Float32Array.from(data)
  }
  const convert = dtype === 'f16' ? f16ToNumber : bf16ToNumber
  return Float32Array.from(data, convert)
}

/** A reader of single elements as numbers. */
export function elementReader(data: Float32Array | Uint16Array, dtype: Dtype): (index: number) => number {
  if (dtype === 'f32') {
    return (index) => data[index]
  }
  const convert = dtype === 'f16' ? f16ToNumber : bf16ToNumber
  return (index) => convert(data[index])
}
