/** The factor of q·k on its way to the softmax: one number, one number per head, or values computed in every run. */

import { contiguousStrides } from '../../math/tensor.js'
import type { WireTensor } from '../inference/session.js'
import { tensorValues } from '../inference/values.js'
import { MASKED_BELOW, type ProductAxis, type ScoreFactors } from './site.js'

/** Relative difference up to which factors count as equal, by the element type in which they were computed. */
const ROUNDING: Record<string, number> = { float16: 2e-3, float32: 1e-5, float64: 1e-5 }

interface Scores {
  factors: WireTensor
  /** Result of the steps for a product of zeros. Sinks may make it wider. */
  masks: WireTensor
}

interface FactorContext {
  heads: number
  groups: number
  /** Number of columns before the keys. */
  firstKey: number
  /** The part of the factor from the graph's constants. */
  exact: number
  /** Whether the factor is an input of the model, or computed from inputs. */
  given: boolean
}

/**
 * Reads the factors from a probe, and from a second probe of another length if there is one. `axes` are those of the
 * scores at the input of the softmax.
 */
export function scoreFactors(
  runs: readonly Scores[],
  axes: readonly ProductAxis[] | undefined,
  { heads, groups, firstKey, exact, given }: FactorContext,
): ScoreFactors {
  const found = runs.map((run): ScoreFactors => {
    const everywhere = factorsAnywhere(run, heads)
    // Nearly always all entries are equal, and checking that is much faster than grouping them by axes.
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
  // A probe computes in the model's own precision, so constants are more precise.
  if (lasting && !given) {
    return { kind: 'constant', byHead: first.byHead.map((x) => (same(x, exact, limit) ? exact : x)) }
  }
  return axes ? { kind: 'rows', perQuery: false } : { kind: 'entries' }
}

/** Whether two factors are equal up to rounding. */
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

/** The scale for users; `operandScale` is the factor of queries and keys before their product. */
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
