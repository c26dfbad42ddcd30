/** What q·k is multiplied by on its way to the softmax: one number, one a head, or what is computed run by run. */

import { contiguousStrides } from '../../math/tensor.js'
import type { WireTensor } from '../inference/session.js'
import { tensorValues } from '../inference/values.js'
import { MASKED_BELOW, type ProductAxis, type ScoreFactors } from './site.js'

/** Relative difference of factors that are the same number, by the element type that they were computed in. */
const ROUNDING: Record<string, number> = { float16: 2e-3, float32: 1e-5, float64: 1e-5 }

interface Scores {
  factors: WireTensor
  /** What the steps make of zeros; sinks may make it wider. */
  masks: WireTensor
}

interface FactorContext {
  heads: number
  groups: number
  /** How many columns stand before the keys. */
  firstKey: number
  /** What the graph's constants tell of the factor. */
  exact: number
  /** Whether the model reads the factor, or computes it from what it reads. */
  given: boolean
}

/**
 * Reads the factors off a probe, and off a second one of another length where there is one. `axes` are those of the
 * scores where the softmax reads them.
 */
export function scoreFactors(
  runs: readonly Scores[],
  axes: readonly ProductAxis[] | undefined,
  { heads, groups, firstKey, exact, given }: FactorContext,
): ScoreFactors {
  const found = runs.map((run): ScoreFactors => {
    const everywhere = factorsAnywhere(run, heads)
    // Nearly always all entries are one number; seeing that is much faster than sorting them by their axes.
    if (everywhere.kind === 'constant' || !axes) {
      return everywhere
    }
    return factorsByAxes(run, axes, { heads, groups, firstKey })
  })
  const limit = roundingOf(runs[0].factors)
  const [first] = found
  if (first.kind !== 'constant') {
    return first
  }
  const lasting = found.every(
    (other) => other.kind === 'constant' && other.byHead.every((x, h) => same(x, first.byHead[h], limit)),
  )
  // A probe computes in the model's own precision; constants are known better than that.
  if (lasting && !given) {
    return { kind: 'constant', byHead: first.byHead.map((x) => (same(x, exact, limit) ? exact : x)) }
  }
  return axes ? { kind: 'rows', perQuery: false } : { kind: 'entries' }
}

/** Whether two factors are the same number but for rounding. */
function same(a: number, b: number, limit: number): boolean {
  return Math.abs(a - b) <= limit * Math.max(Math.abs(a), Math.abs(b))
}

const roundingOf = ({ type }: WireTensor) => ROUNDING[type] ?? ROUNDING.float32

function factorsAnywhere({ factors }: Scores, heads: number): ScoreFactors {
  const values = tensorValues(factors)
  const limit = roundingOf(factors)
  for (let i = 1; i < values.length; i++) {
    if (!same(values[i], values[0], limit)) {
      return { kind: 'entries' }
    }
  }
  return { kind: 'constant', byHead: new Array(heads).fill(values[0]) }
}

function factorsByAxes(
  { factors, masks }: Scores,
  axes: readonly ProductAxis[],
  { heads, groups, firstKey }: { heads: number; groups: number; firstKey: number },
): ScoreFactors {
  const limit = roundingOf(factors)
  const values = tensorValues(factors)
  const masked = tensorValues(masks)
  const { dims } = factors
  const [own, other] = [contiguousStrides(dims), contiguousStrides(masks.dims)]
  const keys = axes.indexOf('keyPos')
  const queries = axes.indexOf('queryPos')
  const index = new Array<number>(dims.length).fill(0)
  const byHead = new Map<number, number>()
  const byRow = new Map<number, number>()
  const bySequence = new Map<number, number>()
  let [perHead, perRow, perSequence] = [true, true, true]
  for (let at = 0; at < values.length; at++) {
    dims.forEach((size, axis) => {
      index[axis] = Math.floor(at / own[axis]) % size
    })
    const place = index.reduce((sum, i, axis) => sum + (i + (axis === keys ? firstKey : 0)) * other[axis], 0)
    if (masked[place] <= MASKED_BELOW) {
      continue
    }
    const row = at - index[keys] * own[keys]
    const sequence = row - (queries < 0 ? 0 : index[queries] * own[queries])
    const head = headAt(index, axes, heads, groups)
    if (!byHead.has(head)) {
      byHead.set(head, values[at])
    }
    if (!byRow.has(row)) {
      byRow.set(row, values[at])
    }
    if (!bySequence.has(sequence)) {
      bySequence.set(sequence, values[at])
    }
    perHead &&= same(values[at], byHead.get(head)!, limit)
    perRow &&= same(values[at], byRow.get(row)!, limit)
    perSequence &&= same(values[at], bySequence.get(sequence)!, limit)
  }
  if (perHead) {
    return { kind: 'constant', byHead: Array.from({ length: heads }, (_, h) => byHead.get(h) ?? Number.NaN) }
  }
  return perRow ? { kind: 'rows', perQuery: !perSequence } : { kind: 'entries' }
}

function headAt(
  index: readonly number[],
  axes: readonly ProductAxis[],
  heads: number,
  groups: number,
): number {
  const at = (axis: ProductAxis) => index[axes.indexOf(axis)] ?? 0
  if (axes.includes('fold')) {
    return at('fold') % heads
  }
  return at('head') * (axes.includes('group') ? groups : 1) + at('group')
}

/** As users see it; `operandScale` is what queries and keys are multiplied by before their product. */
export function shownScale(
  factors: ScoreFactors,
  operandScale: number,
): number | 'per head' | 'per query' | 'computed' {
  if (factors.kind === 'entries') {
    return 'computed'
  }
  if (factors.kind === 'rows') {
    return factors.perQuery ? 'per query' : 'computed'
  }
  const [first] = factors.byHead
  return factors.byHead.every((x) => same(x, first, ROUNDING.float32)) ? operandScale * first : 'per head'
}
