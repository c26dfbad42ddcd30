/** Tensors of queries or keys as given by callers. */

import type { RowTensor } from '../backend/backend.js'
import { QkError } from '../errors.js'
import { contiguousStrides, type Dtype, elementCount } from '../math/tensor.js'
import { shownValue } from '../validate.js'

/** A strided view [batch, pos, heads, d]; row = batch index * pos + position. */
export interface TensorInput {
  /** Float32Array for f32, Uint16Array of bits for f16 and bf16; a view with an offset is fine. */
  data: Float32Array | Uint16Array
  /** Default 'f32'. */
  dtype?: Dtype
  /** [batch, pos, heads, d]. */
  shape: readonly number[]
  /** In elements; default contiguous. */
  strides?: readonly number[]
}

/** Checks a tensor. Errors: ERR_TYPE, ERR_ARGUMENT, ERR_SHAPE. */
export function rowTensor(input: TensorInput, name: string): RowTensor {
  if (!input || typeof input !== 'object') {
    throw new QkError('ERR_TYPE', `${name} must be { data, dtype, shape }`)
  }
  const { data, dtype = 'f32', shape } = input
  if (dtype !== 'f32' && dtype !== 'f16' && dtype !== 'bf16') {
    throw new QkError(
      'ERR_ARGUMENT',
      `${name}.dtype is '${shownValue(dtype)}', expected 'f32', 'f16' or 'bf16'`,
    )
  }
  const type = dtype === 'f32' ? Float32Array : Uint16Array
  if (!(data instanceof type)) {
    throw new QkError('ERR_TYPE', `${name}.data must be a ${type.name} for dtype ${dtype}`)
  }
  if (!Array.isArray(shape) || shape.length !== 4) {
    throw new QkError('ERR_SHAPE', `${name}.shape must be [batch, pos, heads, d]`)
  }
  elementCount(shape, `${name}.shape`)
  const strides = input.strides ?? contiguousStrides(shape)
  if (!Array.isArray(strides) || strides.length !== 4) {
    throw new QkError('ERR_SHAPE', `${name}.strides must have 4 entries`)
  }
  strides.forEach((stride, i) => {
    if (!Number.isSafeInteger(stride) || stride < 0) {
      throw new QkError(
        'ERR_SHAPE',
        `${name}.strides[${i}] is ${shownValue(stride)}, expected a non-negative integer`,
      )
    }
  })
  if (data.length === 0 && data.buffer.byteLength === 0 && !shape.includes(0)) {
    throw new QkError('ERR_SHAPE', `${name}.data is empty; its buffer may have been detached (transferred)`)
  }
  return { data, dtype, shape: shape as never, strides: strides as never }
}
