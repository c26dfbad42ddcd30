/**
 * Moments and attention of accumulated sums as tensors. With g the place of a group of heads over all sites:
 *
 *   g<g>.moments   F64  every array of the moments, one behind another (backend/moments.ts); g<g>.scaled likewise
 *   g<g>.attention F64  the arrays of attention-sums.ts, one behind another
 *   pairs          F64  [contrasts, 2]
 *
 * Every batch ends in sums of float64, so that sums which are put back go on as if they had never been written.
 */

import { emptyMoments, momentArrays } from '../../backend/moments.js'
import { bytesOf, type PiecewiseTensor } from '../../store/safetensors.js'
import { type CheckedFile, wholeTensor } from '../../store/saving/checked-tensors.js'
import type { RowIndex } from '../kept/row-index.js'
import type { QKCovariance } from '../qk-covariance.js'
import { groupsOf, type Sums } from '../sums.js'

/** What the kept rows of all groups are of. */
export const rowIndexOf = (sums: Sums): RowIndex | undefined => groupsOf(sums)[0]?.kept?.index

/** Tensors of all moments and attention so far. */
export function momentTensors(sums: Sums): PiecewiseTensor[] {
  const index = rowIndexOf(sums)
  const tensors = groupsOf(sums).flatMap(({ covariance, scaled, attention }, g) => [
    momentTensor(`g${g}.moments`, covariance),
    ...(scaled ? [momentTensor(`g${g}.scaled`, scaled)] : []),
    ...(attention ? [wholeTensor(`g${g}.attention`, joined(Object.values(attention.state)))] : []),
  ])
  if (index) {
    tensors.push(wholeTensor('pairs', Float64Array.from(index.contrasts.flatMap(({ pairs }) => pairs))))
  }
  return tensors
}

function momentTensor(name: string, covariance: QKCovariance): PiecewiseTensor {
  async function* pieces() {
    yield* momentArrays(await covariance.moments()).map(bytesOf)
  }
  return { name, dtype: 'F64', shape: [momentCount(covariance)], pieces }
}

function momentCount({ contrasts, spec: { heads, headDim: d } }: QKCovariance): number {
  return contrasts.length * (4 + 2 * heads * (2 * d + d * d))
}

/** Adds the moments and the attention of a file to sums of the same plan. Errors: ERR_FORMAT, ERR_FILE. */
export async function addSavedMoments(sums: Sums, from: CheckedFile): Promise<void> {
  const numbers = async (name: string) => new Float64Array(await from.read(name, 'F64'))
  for (const [g, { covariance, scaled, attention }] of groupsOf(sums).entries()) {
    await addMoments(covariance, await numbers(`g${g}.moments`))
    if (scaled) {
      await addMoments(scaled, await numbers(`g${g}.scaled`))
    }
    if (attention) {
      const saved = await numbers(`g${g}.attention`)
      const { total, terms } = attention.state
      attention.merge({
        total: saved.subarray(0, total.length),
        perKey: saved.subarray(total.length, 2 * total.length),
        terms: saved.subarray(2 * total.length, 2 * total.length + terms.length),
      })
    }
  }
  const index = rowIndexOf(sums)
  if (index) {
    const pairs = await numbers('pairs')
    for (const [c, contrast] of index.contrasts.entries()) {
      contrast.pairs[0] += pairs[2 * c]
      contrast.pairs[1] += pairs[2 * c + 1]
    }
  }
}

async function addMoments(covariance: QKCovariance, saved: Float64Array): Promise<void> {
  const { heads, headDim } = covariance.spec
  const moments = emptyMoments(covariance.contrasts.length, heads, headDim)
  let at = 0
  for (const array of momentArrays(moments)) {
    array.set(saved.subarray(at, at + array.length))
    at += array.length
  }
  await covariance.merge(moments)
}

/** Arrays one behind another. */
export function joined(arrays: readonly Float64Array[]): Float64Array {
  const out = new Float64Array(arrays.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const array of arrays) {
    out.set(array, at)
    at += array.length
  }
  return out
}
