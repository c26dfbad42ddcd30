/** Small float64 tensors with numpy's broadcasting, for recomputing scores. */

import { contiguousStrides } from '../../tensor.js'

export interface NdArray {
  data: Float64Array
  shape: readonly number[]
}

/** numpy's transposition; axes in reverse when `given` is absent. */
export function transpose(x: NdArray, given: number[] | undefined): NdArray {
  const perm = given ?? x.shape.map((_, i) => x.shape.length - 1 - i)
  const shape = perm.map((p) => x.shape[p])
  const strides = contiguousStrides(x.shape)
  const data = new Float64Array(x.data.length)
  forEachIndex(shape, (index, at) => {
    data[at] = x.data[perm.reduce((sum, p, i) => sum + strides[p] * index[i], 0)]
  })
  return { data, shape }
}

/** numpy's broadcasting of two tensors. */
export function broadcast(f: (a: number, b: number) => number, a: NdArray, b: NdArray): NdArray {
  const rank = Math.max(a.shape.length, b.shape.length)
  const size = (v: NdArray, i: number) => v.shape[i - rank + v.shape.length] ?? 1
  const shape = Array.from({ length: rank }, (_, i) => (size(a, i) === 1 ? size(b, i) : size(a, i)))
  const data = new Float64Array(shape.reduce((p, r) => p * r, 1))
  const stridesOf = (v: NdArray) => {
    const own = contiguousStrides(v.shape)
    return shape.map((_, i) => (size(v, i) === 1 ? 0 : own[i - rank + v.shape.length]))
  }
  const [sa, sb] = [stridesOf(a), stridesOf(b)]
  forEachIndex(shape, (index, at) => {
    let ia = 0
    let ib = 0
    for (let i = 0; i < rank; i++) {
      ia += sa[i] * index[i]
      ib += sb[i] * index[i]
    }
    data[at] = f(a.data[ia], b.data[ib])
  })
  return { data, shape }
}

function forEachIndex(shape: readonly number[], visit: (index: number[], at: number) => void): void {
  const size = shape.reduce((a, b) => a * b, 1)
  const index = shape.map(() => 0)
  for (let at = 0; at < size; at++) {
    visit(index, at)
    for (let n = shape.length - 1; n >= 0 && ++index[n] === shape[n]; n--) index[n] = 0
  }
}
