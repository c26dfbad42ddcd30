/** The tensors of a result by their names, as in `L16H1.order.u`, out of its subspaces and into them. */

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
  if (spectrum) yield tensor('spectrum', spectrum, [spectrum.length])
  if (cPos) yield tensor('c_pos', cPos, [d, d])
  // Controls are random draws: 24 bits of them are enough.
  if (nulls) {
    yield tensor('null_u', nulls.u, [nulls.count, d, rank], 'f32')
    yield tensor('null_v', nulls.v, [nulls.count, d, rank], 'f32')
  }
  if (directions) {
    const { meanQuery, keyComponents } = directions
    yield tensor('mean_query', meanQuery, [d], 'f32')
    yield tensor('key_components', keyComponents, [d, keyComponents.length / d], 'f32')
  }
  if (cNeg) yield tensor('c_neg', cNeg, [d, d])
}

/** A subspace from the tensors of a file. Errors: ERR_FORMAT where one is missing. */
export function loadedSubspace(
  file: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  name: string,
  rest: HeadInfo,
): ContrastSubspace {
  const read = (part: string): StoredTensor | undefined => tensors.get(`${name}.${part}`)
  const need = (part: string): StoredTensor => {
    const tensor = read(part)
    if (!tensor) throw new QkError('ERR_FORMAT', `${file} lacks the tensor ${name}.${part}`)
    return tensor
  }
  const u = need('u')
  const kept = (part: string) => {
    const tensor = read(part)
    return tensor && Float64Array.from(tensor.data)
  }
  return {
    ...rest,
    u: Float64Array.from(u.data),
    s: Float64Array.from(need('s').data),
    v: Float64Array.from(need('v').data),
    headDim: u.shape[0],
    ...(read('spectrum') && { spectrum: kept('spectrum') }),
    ...controls(kept, read('null_u')?.shape[0]),
    cPos: kept('c_pos'),
    cNeg: kept('c_neg'),
  }
}

/** Controls of a subspace, in files that have them. */
function controls(
  kept: (part: string) => Float64Array | undefined,
  count: number | undefined,
): Pick<ContrastSubspace, 'nulls' | 'directions'> {
  const [u, v] = [kept('null_u'), kept('null_v')]
  const [meanQuery, keyComponents] = [kept('mean_query'), kept('key_components')]
  return {
    ...(count !== undefined && u && v && { nulls: { count, u, v } }),
    ...(meanQuery && keyComponents && { directions: { meanQuery, keyComponents } }),
  }
}
