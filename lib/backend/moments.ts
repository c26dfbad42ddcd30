/** Memory for moments, and arithmetic on them that all backends share. */

import { QkError } from '../errors.js'
import { counted } from '../validate.js'
import { CPU_MEMORY } from './addon-types.js'
import type { BackendName, CovarianceMoments, CovarianceSpec, SideMoments } from './backend.js'

/** Zeroed moments for `heads` heads. Errors: ERR_OUT_OF_MEMORY. */
export function emptyMoments(contrasts: number, heads: number, d: number): CovarianceMoments {
  try {
    return allocated(contrasts, heads, d)
  } catch (cause) {
    throw new QkError(
      'ERR_OUT_OF_MEMORY',
      `the sums of ${counted(heads, 'head')} and ${counted(contrasts, 'contrast')} at d = ${d} cannot be allocated: ${(cause as Error).message}`,
      { hint: 'Take fewer heads or contrasts at a time.', cause },
    )
  }
}

function allocated(contrasts: number, heads: number, d: number): CovarianceMoments {
  const side = (): SideMoments => ({
    weight: new Float64Array(contrasts),
    q: new Float64Array(contrasts * heads * d),
    k: new Float64Array(contrasts * heads * d),
    qk: new Float64Array(contrasts * heads * d * d),
  })
  return {
    terms: new Float64Array(contrasts),
    skipped: new Float64Array(contrasts),
    positive: side(),
    negative: side(),
  }
}

/** Bytes of the master sums of all heads and contrasts. */
export function momentBytes(spec: Pick<CovarianceSpec, 'contrasts' | 'heads' | 'headDim'>): number {
  const { contrasts, heads, headDim: d } = spec
  return 16 * contrasts * heads * (d * d + 2 * d)
}

/** Bytes of the master sums and of the workspace in which a batch is summed first. */
export function workingBytes(spec: CovarianceSpec, backend: BackendName): number {
  const bytes = momentBytes(spec)
  if (backend !== 'cpu') {
    return 2 * bytes
  }
  const split = Math.min(bytes * Math.ceil(CPU_MEMORY.mostTasks / spec.heads), CPU_MEMORY.mostSplit)
  return bytes + Math.max(Math.min(bytes, CPU_MEMORY.mostStaged), split)
}

/** Every array of the moments, in a fixed order. */
export function momentArrays(moments: CovarianceMoments): Float64Array[] {
  const { terms, skipped, positive: p, negative: n } = moments
  return [terms, skipped, p.weight, p.q, p.k, p.qk, n.weight, n.q, n.k, n.qk]
}

/** to += from, entry by entry. */
export function addMoments(to: CovarianceMoments, from: CovarianceMoments): void {
  const targets = momentArrays(to)
  momentArrays(from).forEach((source, a) => {
    const target = targets[a]
    for (let i = 0; i < target.length; i++) {
      target[i] += source[i]
    }
  })
}
