/** Converts the subspaces of a result to named tensors, as in `L16H1.order.u`, and back. */

import { QkError } from '../errors.js'
import type { HeadInfo } from './result-info.js'
import type { StoredTensor } from './safetensors.js'
import type { ContrastSubspace } from './subspace.js'

export function* resultTensors(
  heads: ReadonlyMap<string, ReadonlyMap<string, ContrastSubspace>>,
  dtype: 'f32' | 'f64',
): Generator<[string, StoredTensor]> {
  for (const [head, contrasts] of heads) {
    for (const [contrast, subspace] of contrasts) {
      yield* subspaceTensors(`${head}.${contrast}`, subspace, dtype)
    }
  }
}

function* subspaceTensors(
  name: string,
  { u, s, v, rank, headDim: d, spectrum, cPos, cNeg, nulls, directions }: ContrastSubspace,
  dtype: 'f32' | 'f64',
): Generator<[string, StoredTensor]> {
  const tensor = (part: string, data: Float64Array, shape: number[], as = dtype): [string, StoredTensor] => [
    `${name}.${part}`,
    { data: as === 'f32' ? Float32Array.from(data) : data, shape },
  ]
  yield tensor('u', u, [d, rank])
  yield tensor('s', s, [rank])
  yield tensor('v', v, [d, rank])
  if (spectrum) {
    yield tensor('spectrum', spectrum, [spectrum.length])
  }
  if (cPos) {
    yield tensor('c_pos', cPos, [d, d])
  }
  // Controls are random draws, so a precision of 24 bits is enough.
  if (nulls) {
    yield tensor('null_u', nulls.u, [nulls.count, d, rank], 'f32')
    yield tensor('null_v', nulls.v, [nulls.count, d, rank], 'f32')
  }
  if (directions) {
    const { meanQuery, keyComponents } = directions
    yield tensor('mean_query', meanQuery, [d], 'f32')
    yield tensor('key_components', keyComponents, [d, keyComponents.length / d], 'f32')
  }
  if (cNeg) {
    yield tensor('c_neg', cNeg, [d, d])
  }
}

/**
 * Builds a subspace from the tensors of a file; `siteDim` is the head dimension of its site. Errors: ERR_FORMAT if a
 * tensor is missing, or if its shape does not match the rank and the head dimension.
 */
export function loadedSubspace(
  file: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  name: string,
  rest: HeadInfo,
  siteDim: number | undefined,
): ContrastSubspace {
  const { rank } = rest
  const d = siteDim ?? tensors.get(`${name}.u`)?.shape[0] ?? 0
  /** A tensor with this shape, where undefined matches any size. Undefined if the file has no such tensor. */
  const kept = (part: string, shape: readonly (number | undefined)[]): Float64Array | undefined => {
    const tensor = tensors.get(`${name}.${part}`)
    if (tensor) {
      checkShape(file, `${name}.${part}`, tensor.shape, shape)
    }
    return tensor && Float64Array.from(tensor.data)
  }
  const need = (part: string, shape: readonly number[]): Float64Array => {
    const values = kept(part, shape)
    if (!values) {
      throw new QkError('ERR_FORMAT', `${file} lacks the tensor ${name}.${part}`)
    }
    return values
  }
  const spectrum = kept('spectrum', [d])
  return {
    ...rest,
    u: need('u', [d, rank]),
    s: need('s', [rank]),
    v: need('v', [d, rank]),
    headDim: d,
    ...(spectrum && { spectrum }),
    ...controls(kept, d, rank, tensors.get(`${name}.null_u`)?.shape[0]),
    cPos: kept('c_pos', [d, d]),
    cNeg: kept('c_neg', [d, d]),
  }
}

/** Errors: ERR_FORMAT. */
function checkShape(
  file: string,
  name: string,
  shape: readonly number[],
  expected: readonly (number | undefined)[],
): void {
  const fits =
    shape.length === expected.length && expected.every((size, i) => size === undefined || size === shape[i])
  if (fits) {
    return
  }
  const sizes = expected.map((size) => size ?? 'any').join(', ')
  throw new QkError(
    'ERR_FORMAT',
    `${file}: the tensor ${name} has the shape [${shape.join(', ')}], expected [${sizes}]`,
    { hint: 'Its shape follows from the rank and the head dimension that the file gives: decompose again.' },
  )
}

/** Controls of a subspace, in files that have them. */
function controls(
  kept: (part: string, shape: readonly (number | undefined)[]) => Float64Array | undefined,
  d: number,
  rank: number,
  count: number | undefined,
): Pick<ContrastSubspace, 'nulls' | 'directions'> {
  const [u, v] = [kept('null_u', [count, d, rank]), kept('null_v', [count, d, rank])]
  const [meanQuery, keyComponents] = [kept('mean_query', [d]), kept('key_components', [d, undefined])]
  return {
    ...(count !== undefined && u && v && { nulls: { count, u, v } }),
    ...(meanQuery && keyComponents && { directions: { meanQuery, keyComponents } }),
  }
}
