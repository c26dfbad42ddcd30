/** Converts onnxruntime's tensors to numbers. */

import { QkError } from '../../errors.js'
import { f16ToNumber } from '../../math/tensor.js'
import type { WireTensor } from './session.js'

/** All elements as float64, whatever the element type. */
export function tensorValues(tensor: WireTensor): Float64Array {
  const { data, type } = tensor
  if (data instanceof BigInt64Array) {
    return Float64Array.from(data, Number)
  }
  if (data instanceof Uint16Array && type === 'float16') {
    return Float64Array.from(data, f16ToNumber)
  }
  if (ArrayBuffer.isView(data) && !(data instanceof DataView)) {
    // The constructor copies many times faster than `from` iterates.
    return new Float64Array(data as unknown as ArrayLike<number>)
  }
  throw new QkError('ERR_INTERNAL', `a tensor of type ${type} has no numbers`)
}
