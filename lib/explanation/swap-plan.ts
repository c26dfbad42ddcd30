/** Which features are exchanged in which heads, and between which two keys. */

import type { HeadRow } from './attention.js'
import type { ExplainedTerm } from './report.js'

/** Heads of a prompt in which features are exchanged, unless heads are named. */
const MOST_HEADS = 6

/**
 * Of the heads with features, those of most attention: on the positive keys of the prompt's terms at the query or, where
 * it has none there, on a single key. At most six, unless heads are named.
 */
export function swappedHeads<T extends { row: HeadRow }>(
  heads: readonly T[],
  terms: readonly ExplainedTerm[],
  named: boolean,
): T[] {
  if (named) {
    return [...heads]
  }
  const positive = [...new Set(terms.flatMap((term) => term.positive))]
  const weight = ({ row: { attention } }: T) =>
    positive.length > 0
      ? positive.reduce((sum, key) => sum + (attention[key] ?? 0), 0)
      : attention.reduce((most, x) => Math.max(most, x), 0)
  return [...heads].sort((a, b) => weight(b) - weight(a)).slice(0, MOST_HEADS)
}

/** Two keys whose coordinates are exchanged. */
export interface KeyPair {
  origin: number
  target: number
}

/**
 * The first positive and the first negative key of the contrast's first term at the query. Without such a term, or where
 * its negative keys lie in another run, the two keys of most attention, the query itself only where there are no others.
 * Undefined where these are not two keys that the head sees.
 */
export function pairOf(
  { attention, visible }: HeadRow,
  query: number,
  terms: readonly ExplainedTerm[],
  contrast: string,
): KeyPair | undefined {
  const term = terms.find((own) => own.contrast === contrast && own.negative.length > 0)
  const [origin, target] = term
    ? [term.positive[0], term.negative[0]]
    : [...visible.keys()]
        .filter((key) => visible[key])
        .sort((a, b) => Number(a === query) - Number(b === query) || attention[b] - attention[a])
  const seen = visible[origin] && visible[target]
  return seen && origin !== target ? { origin, target } : undefined
}

/** The terms whose query is the one that is explained. */
export function termsAt(query: number, terms: readonly ExplainedTerm[]): ExplainedTerm[] {
  return terms.filter((term) => term.query === query)
}
