/** Adds the captured rows of a batch to the accumulations of its heads. */

import type { LabelSequence } from '../backend/backend.js'
import type { CapturedBatch } from '../capture/run.js'
import { QkError } from '../errors.js'
import type { WireTensor } from '../model/inference/session.js'
import { tensorValues } from '../model/inference/values.js'
import { rowTensor, type TensorInput } from './row-tensor.js'
import type { Slice } from './site-plan.js'

/**
 * Adds a batch to every accumulation.
 * Errors: ERR_NON_FINITE with prompt, position and head; those of `QKCovariance.add`.
 */
export async function addBatch(
  slices: readonly Slice[],
  batch: CapturedBatch,
  signal: AbortSignal | undefined,
): Promise<void> {
  await Promise.all(
    slices.map(async (slice) => {
      const { q, k, factors, attention } = batch.sites[slice.output]
      const labels = batch.labels.map(
        (l): LabelSequence => (slice.cross && l.keyScope === 'others' ? { ...l, keyScope: 'all' } : l),
      )
      const input = {
        q: headSlice(q, slice.firstHead, slice.heads),
        k: headSlice(k, slice.firstKey, slice.kvHeads),
        terms: batch.terms,
        labels: labels.length > 0 ? labels : undefined,
        signal,
      }
      try {
        const { covariance, scaled, kept, attention: sums } = slice.group
        if (sums && attention && batch.attention) {
          sums.add(batch.attention, attention, slice.firstHead)
        }
        await covariance.add(input)
        if (scaled) {
          await scaled.add({ ...input, q: scaledQueries(q, factors!, slice.firstHead, slice.heads) })
        }
        await kept?.add({
          index: batch.index,
          q: rowTensor(input.q, 'q'),
          k: rowTensor(input.k, 'k'),
          terms: batch.terms,
          termUnits: batch.termUnits,
          labels: batch.labels,
          labelUnits: batch.labelUnits,
        })
      } catch (error) {
        throw locateNonFinite(error, slice, batch, q, k)
      }
    }),
  )
}

/** Heads [first, first + count) of captured rows [n, heads, d], as [1, n, count, d]. */
function headSlice({ data, dims, type }: WireTensor, first: number, count: number): TensorInput {
  const [rows, heads] = dims
  const d = dims.slice(2).reduce((a, b) => a * b, 1)
  const view = data as Float32Array | Uint16Array
  return {
    data: first === 0 ? view : view.subarray(first * d),
    dtype: type === 'float16' ? 'f16' : 'f32',
    shape: [1, rows, count, d],
    strides: [rows * heads * d, heads * d, d, 1],
  }
}

/** Queries [n, heads, d] of some heads, each multiplied by the factor of its scores, as [1, n, count, d]. */
function scaledQueries(q: WireTensor, factors: WireTensor, first: number, count: number): TensorInput {
  const [rows, heads] = q.dims
  const d = q.dims.slice(2).reduce((a, b) => a * b, 1)
  const [values, by] = [tensorValues(q), tensorValues(factors)]
  const data = new Float32Array(rows * count * d)
  for (let row = 0; row < rows; row++) {
    for (let h = 0; h < count; h++) {
      const from = row * heads + first + h
      for (let i = 0; i < d; i++) {
        data[(row * count + h) * d + i] = by[from] * values[from * d + i]
      }
    }
  }
  return { data, shape: [1, rows, count, d] }
}

/** Reports the prompt, position and head of a value that is not finite. */
function locateNonFinite(
  error: unknown,
  slice: Slice,
  batch: CapturedBatch,
  q: WireTensor,
  k: WireTensor,
): unknown {
  if (!(error instanceof QkError) || error.code !== 'ERR_NON_FINITE') {
    return error
  }
  const { site } = slice
  for (const [side, tensor] of [
    ['queries', q],
    ['keys', k],
  ] as const) {
    const found = firstNonFinite(tensor)
    if (!found) {
      continue
    }
    const { row, head } = found
    const { where, position } = batch.inferences.flatMap((inference) => inference[side])[row]
    const name = side === 'queries' ? `head ${slice.names[head] ?? head}` : `key head ${head}`
    return new QkError(
      'ERR_NON_FINITE',
      `${where}: the ${side} of layer ${site.layer}, ${name}, at position ${position} are not finite`,
      { cause: error, hint: 'Leave the prompt out.' },
    )
  }
  return error
}

/** Index of the first value in rows [n, heads, d] that is not finite. */
function firstNonFinite({ data, dims, type }: WireTensor): { row: number; head: number } | undefined {
  const [rows, heads] = dims
  const d = dims.slice(2).reduce((a, b) => a * b, 1)
  const values = data as Float32Array | Uint16Array
  for (let at = 0; at < rows * heads * d; at++) {
    const finite = type === 'float16' ? (values[at] & 0x7c00) !== 0x7c00 : Number.isFinite(values[at])
    if (!finite) {
      return { row: Math.floor(at / (heads * d)), head: Math.floor(at / d) % heads }
    }
  }
  return undefined
}
