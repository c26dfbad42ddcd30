/** Plans which features are exchanged in which heads, and between which two keys. */

import type { HeadRow } from './attention.js'
import type { ExplainedTerm } from './report.js'

/** Most heads of a prompt in which features are exchanged, unless heads are named. */
const MOST_HEADS = 6

/**
 * The heads with features that have most attention on the positive keys of the prompt's terms at the query. Without
 * such terms, those with most attention on a single key. At most six, unless heads are named.
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
 * The first positive and the first negative key of the contrast's first term at the query. Without such a term, or if
 * its negative keys lie in another run, the two keys with most attention; the query itself is used only if there are
 * no others. Undefined unless these are two keys that the head sees.
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

/** The terms at the explained query. */
export function termsAt(query: number, terms: readonly ExplainedTerm[]): ExplainedTerm[] {
  return terms.filter((term) => term.query === query)
}
