/**
 * What a piece of work costs on the processor and on a GPU, by the rates of `rates.ts`: whether 'auto' takes the GPU.
 * Pure functions of the work and of the machine, so that the same work on the same machine goes to the same backend,
 * whatever ran before it.
 */

import type { Dtype } from '../../math/tensor.js'
import { momentBytes } from '../moments.js'
import { MEASURED, type Rates } from './rates.js'

/** Terms to be accumulated, or label-matched queries. */
export interface TermsWork {
  kind: 'terms'
  heads: number
  kvHeads: number
  headDim: number
  /** Default 1. */
  contrasts?: number
  terms: number
  /** Keys of all terms on both sides; default two a term. */
  keys?: number
  /** Calls of `add`; default 1. */
  batches?: number
  dtype?: Dtype
}

export interface SvdWork {
  kind: 'svd'
  n: number
  rows: number
  cols: number
  /** Whether all singular values are wanted. */
  full: boolean
}

/** Null draws of a test of rank. */
export interface FlipsWork {
  kind: 'flips'
  heads: number
  kvHeads: number
  headDim: number
  rows: number
  draws: number
}

/** What an operation will do, as far as it is known before it starts. */
export type Work = TermsWork | SvdWork | FlipsWork

/** Where it would be done. */
export interface Hardware {
  /** Cores of the processor. */
  cores: number
  /** What starting a GPU counts for; default: that of the rates. */
  gpuStart?: number
}

/** Seconds of the work on the processor. */
export function cpuSeconds(work: readonly Work[], { cores }: Hardware, { cpu }: Rates = MEASURED): number {
  return sum(work, (one) => {
    switch (one.kind) {
      case 'terms': {
        const { terms, heads, kvHeads, headDim, keys = 2 * terms } = one
        const more = Math.max(0, keys - 2 * terms) * kvHeads * headDim * bytesOf(one)
        return (terms * heads * termSeconds(cpu.term, headDim)) / cores + more / cpu.keyBytes
      }
      case 'svd':
        return (one.n * matrixSeconds(cpu.svd, one)) / cores
      case 'flips':
        return flipOperations(one) / (cpu.flips * cores)
    }
  })
}

/** Seconds of the work on the GPU, its start and its transfers included. */
export function gpuSeconds(work: readonly Work[], { gpuStart }: Hardware, { gpu }: Rates = MEASURED): number {
  const each = sum(work, (one) => {
    switch (one.kind) {
      case 'terms': {
        const { terms, heads, kvHeads, headDim, keys = 2 * terms, batches = 1, dtype = 'f32' } = one
        const side = Math.max(headDim, gpu.leastHeadDim) / 128
        const bytes = (terms * heads + keys * kvHeads) * headDim * bytesOf(one)
        const products = terms * heads * gpu.term[dtype] * side ** 2
        return batches * gpu.add + keys * gpu.key + bytes / gpu.hostBytes[dtype] + products
      }
      case 'svd':
        return gpu.add + one.n * matrixSeconds(gpu.svd, one)
      case 'flips': {
        const bytes = one.rows * (one.heads + one.kvHeads) * one.headDim * 4
        return gpu.add + bytes / gpu.hostBytes.f32 + flipOperations(one) / gpu.flips
      }
    }
  })
  return (gpuStart ?? gpu.start) + each
}

/** Draws that exchange the labels of so many queries: each is summed anew, and its largest singular value is taken. */
export function labelDraws(
  sizes: Pick<TermsWork, 'heads' | 'kvHeads' | 'headDim'>,
  queries: number,
  draws: number,
): Work[] {
  const { heads, headDim } = sizes
  return [
    { kind: 'terms', ...sizes, terms: queries * draws, batches: draws },
    { kind: 'svd', n: heads * draws, rows: headDim, cols: headDim, full: false },
  ]
}

/** Whether a GPU does the work faster, by the margin of the rates. */
export function gpuPays(work: readonly Work[], hardware: Hardware, rates: Rates = MEASURED): boolean {
  return gpuSeconds(work, hardware, rates) * rates.margin < cpuSeconds(work, hardware, rates)
}

/** Bytes of the device's memory that the work needs at least: what is kept there, not what passes through. */
export function deviceBytes(work: readonly Work[]): number {
  return sum(work, (one) => {
    switch (one.kind) {
      case 'terms':
        // The sums, and those of a batch beside them.
        return 2 * momentBytes({ contrasts: 1, ...one })
      case 'svd':
        return 0
      case 'flips':
        return 4 * one.rows * (one.heads + one.kvHeads) * one.headDim
    }
  })
}

/** The least size from which on a GPU pays, to two digits; undefined where it never does. */
export function edge(of: (size: number) => Work[], hardware: Hardware, rates?: Rates): number | undefined {
  let [below, above] = [0, 1]
  while (!gpuPays(of(above), hardware, rates)) {
    below = above
    above *= 2
    if (above > 2 ** 40) {
      return undefined
    }
  }
  while (above - below > 1) {
    const middle = Math.floor((below + above) / 2)
    if (gpuPays(of(middle), hardware, rates)) {
      above = middle
    } else {
      below = middle
    }
  }
  return Number(above.toPrecision(2))
}

const bytesOf = ({ dtype = 'f32' }: TermsWork) => (dtype === 'f32' ? 4 : 2)

const flipOperations = ({ heads, headDim, rows, draws }: FlipsWork) => 2 * heads * rows * draws * headDim ** 2

/** By rows x cols x the smaller of them in full, by rows x cols to a low rank. */
function matrixSeconds(rates: { full: number; truncated: number }, { rows, cols, full }: SvdWork): number {
  const area = (rows * cols) / 128 ** 2
  return full ? (rates.full * area * Math.min(rows, cols)) / 128 : rates.truncated * area
}

/** Straight lines between the measured points on logarithmic axes; beyond them, by the square of the dimension. */
function termSeconds(points: Rates['cpu']['term'], headDim: number): number {
  const [first, last] = [points[0], points[points.length - 1]]
  if (headDim <= first[0]) {
    return first[1] * (headDim / first[0])
  }
  if (headDim >= last[0]) {
    return last[1] * (headDim / last[0]) ** 2
  }
  const i = points.findIndex(([d]) => d > headDim)
  const [[d0, s0], [d1, s1]] = [points[i - 1], points[i]]
  return s0 * (s1 / s0) ** (Math.log(headDim / d0) / Math.log(d1 / d0))
}

function sum(work: readonly Work[], seconds: (one: Work) => number): number {
  return work.reduce((total, one) => total + seconds(one), 0)
}
