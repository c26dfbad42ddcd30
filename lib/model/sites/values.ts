/** Numbers out of onnxruntime's tensors. */

import { QkError } from '../../errors.js'
import type { WireTensor } from '../inference/session.js'

/** All elements as float64, whatever the element type. */
export function tensorValues(tensor: WireTensor): Float64Array {
  const { data, type } = tensor
  if (data instanceof BigInt64Array) return Float64Array.from(data, Number)
  if (data instanceof Uint16Array && type === 'float16') return Float64Array.from(data, fromHalf)
  if (ArrayBuffer.isView(data) && !(data instanceof DataView)) {
    return Float64Array.from(data as unknown as Iterable<number>)
  }
  throw new QkError('ERR_INTERNAL', `a tensor of type ${type} has no numbers`)
}

function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024))
}
