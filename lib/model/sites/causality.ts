/**
 * Whether a head sees only keys up to its query, determined from the masks of a probe, or from the shape of a decoding
 * step.
 */

import { contiguousStrides } from '../../math/tensor.js'
import type { SiteCandidate } from '../candidate.js'
import type { WireTensor } from '../inference/session.js'
import { tensorValues } from '../inference/values.js'
import type { Graph } from '../onnx/graph.js'
import type { Shapes } from './axes.js'
import { MASKED_BELOW, type ProductAxis } from './site.js'

/**
 * Whether all keys after a query are masked and its own is not, for every query of the first sequence (which has no
 * padding). Keys of a cache come before those of the run; a sliding window also masks early keys.
 */
export function looksCausal(
  { dims, ...masks }: WireTensor,
  axes: readonly ProductAxis[] | undefined,
  { keys, first }: { keys: number; first: number },
): boolean {
  if (!axes) {
    return false
  }
  const strides = contiguousStrides(dims)
  const axisOf = (axis: ProductAxis) => {
    const at = axes.indexOf(axis)
    return { size: dims[at], stride: strides[at] }
  }
  const [query, key] = [axisOf('queryPos'), axisOf('keyPos')]
  // Sinks are not keys, and there is no past.
  const past = keys - query.size
  if (past < 0 || query.size < 2) {
    return false
  }
  const data = tensorValues({ dims, ...masks })
  const masked = (i: number, j: number) => data[i * query.stride + (first + j) * key.stride] <= MASKED_BELOW
  for (let i = 0; i < query.size; i++) {
    if (masked(i, i + past)) {
      return false
    }
    for (let j = i + past + 1; j < keys; j++) {
      if (!masked(i, j)) {
        return false
      }
    }
  }
  return true
}

/** Whether there is a single query beside a cache: a decoding step, whose mask shows nothing. */
export function isStep(graph: Graph, { product }: SiteCandidate, shapes: Shapes): boolean {
  const cached = graph.inputs.some(({ name }) => /past|cache/i.test(name))
  const [queries] = (shapes(product.output[0]) ?? []).slice(-2)
  return cached && queries === 1
}
