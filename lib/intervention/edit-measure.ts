/** Measures an intervention row by row: the attention on two keys, and the model's output. */

import type { TermRun } from '../capture/terms/term-runs.js'
import { measureMove } from './measure-move.js'

/** Attention of one head on the two keys of one term. */
export interface RowMove {
  origin: { before: number; after: number }
  target: { before: number; after: number }
  /** As in `measureMove`. */
  deltaP: number
  flipped: number
  moved: number
}

const STILL: RowMove = {
  origin: { before: 1, after: 1 },
  target: { before: 0, after: 0 },
  deltaP: 0,
  flipped: 0,
  moved: 0,
}

/** Moves of every head and item, [heads][items], from patterns [items, heads, keys]. */
export function movesOf(
  items: readonly TermRun[],
  before: Float32Array,
  after: Float32Array,
  heads: number,
  keys: number,
): RowMove[][] {
  const origin = Int32Array.from(items, (item) => item.origin)
  // Without a target, only the origin is reported, and any other key serves as target.
  const target = Int32Array.from(items, (item) => item.target ?? (item.origin === 0 ? 1 : 0))
  return Array.from({ length: heads }, (_, h) => {
    const own = (pattern: Float32Array) => {
      const rows = new Float32Array(items.length * keys)
      for (let r = 0; r < items.length; r++) {
        const from = (r * heads + h) * keys
        rows.set(pattern.subarray(from, from + keys), r * keys)
      }
      return rows
    }
    // A single key always has all attention.
    if (keys === 1) {
      return items.map(() => STILL)
    }
    const move = measureMove({ before: own(before), after: own(after), origin, target })
    // If neither key is attended to, or the origin is not, nothing moved.
    const known = (x: number) => (Number.isNaN(x) ? 0 : x)
    return items.map((_item, r) => ({
      origin: { before: move.originBefore[r], after: move.originAfter[r] },
      target: { before: move.targetBefore[r], after: move.targetAfter[r] },
      deltaP: known(move.deltaP[r]),
      flipped: move.flipped[r],
      moved: known(move.moved[r]),
    }))
  })
}

/** Log-softmax of each row of logits [rows, classes]. */
export function outputsOf(logits: Float32Array, rows: number): Float32Array[] {
  const classes = logits.length / rows
  return Array.from({ length: rows }, (_, r) => {
    const row = logits.subarray(r * classes, (r + 1) * classes)
    const most = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
    let sum = 0
    for (const x of row) {
      sum += Math.exp(x - most)
    }
    const shift = most + Math.log(sum)
    return row.map((x) => x - shift)
  })
}

/** Change of the output at one row. */
export interface RowChange {
  /** Natural logarithms. */
  answer: { before: number; after: number }
  other: { before: number; after: number }
  /** Whether the likeliest class is the answer (`right`), and whether it is the other token (`turned`). */
  right: { before: number; after: number }
  turned: { before: number; after: number }
  /** KL(before || after), nats. */
  kl: number
}

export function changeOf(item: TermRun, before: Float32Array, after: Float32Array): RowChange {
  const at = (row: Float32Array, index: number | undefined) =>
    index === undefined ? Number.NaN : (row[index] ?? Number.NaN)
  const likeliest = (row: Float32Array) => row.reduce((best, x, i) => (x > row[best] ? i : best), 0)
  const both = (value: (row: Float32Array) => number) => ({ before: value(before), after: value(after) })
  let kl = 0
  for (let i = 0; i < before.length; i++) {
    // Classes with probability zero add nothing, even if the other side is minus infinity.
    const p = Math.exp(before[i])
    if (p > 0) {
      kl += p * (before[i] - after[i])
    }
  }
  return {
    answer: both((row) => at(row, item.answer)),
    other: both((row) => at(row, item.other)),
    right: both((row) => Number(likeliest(row) === item.answer)),
    turned: both((row) => Number(likeliest(row) === item.other)),
    kl: Math.max(0, kl),
  }
}
