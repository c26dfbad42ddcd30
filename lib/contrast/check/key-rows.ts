/** Key rows that several terms of a prompt use, and keys that are on both sides of one term. */

import type { PlacedTerm } from './place-prompt.js'

export interface KeyRowCounts {
  /** Number of distinct key rows: positions of a run of a prompt. */
  rows: number
  /** Number of rows that more than one term uses. */
  shared: number
  /** Number of these rows that are a positive key of one term and a negative key of another. */
  bothSides: number
  /** Number of terms in which one row is both a positive and a negative key. */
  contradictory: number
  positiveKeys: number
  negativeKeys: number
}

export function noKeyRows(): KeyRowCounts {
  return { rows: 0, shared: 0, bothSides: 0, contradictory: 0, positiveKeys: 0, negativeKeys: 0 }
}

/** Adds the terms of one prompt. Rows of a counterfactual's run count as separate rows. */
export function countKeyRows(
  counts: KeyRowCounts,
  terms: readonly PlacedTerm[],
  counterfactual: boolean,
): void {
  const first = new Map<number, { positive: Set<number>; negative: Set<number> }>()
  const second: typeof first = counterfactual ? new Map() : first
  const note = (rows: typeof first, at: number, side: 'positive' | 'negative', term: number) => {
    const uses = rows.get(at) ?? { positive: new Set(), negative: new Set() }
    uses[side].add(term)
    rows.set(at, uses)
  }
  terms.forEach(({ positive, negative }, t) => {
    counts.positiveKeys += positive.length
    counts.negativeKeys += negative.length
    for (const { at } of positive) {
      note(first, at, 'positive', t)
    }
    for (const { at } of negative) {
      note(second, at, 'negative', t)
    }
    const wanted = new Set(positive.map(({ at }) => at))
    counts.contradictory += Number(!counterfactual && negative.some(({ at }) => wanted.has(at)))
  })
  for (const { positive, negative } of [...first.values(), ...(counterfactual ? second.values() : [])]) {
    counts.rows += 1
    const users = new Set([...positive, ...negative])
    if (users.size > 1) {
      counts.shared += 1
      counts.bothSides += Number(positive.size > 0 && negative.size > 0)
    }
  }
}
