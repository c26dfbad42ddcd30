/** Figures that two results have for the same head and contrast, side by side. */

import type { HeadInfo, Result } from '../../store/result.js'

/** One figure in two results. */
export interface Change<T> {
  /** Of the first result. */
  a: T
  /** Of the second result. */
  b: T
}

/** Accessors of figures by name. A new measure is one more line. */
const MEASURES = {
  scoreGap: ({ scoreGap }) => scoreGap,
  q: ({ test }) => test?.q,
  attentionPositive: ({ attention }) => attention?.positive,
  attentionNegative: ({ attention }) => attention?.negative,
  explained: ({ heldOut }) => heldOut?.explained?.value,
  explainedNull: ({ heldOut }) => heldOut?.explained?.null.p95,
  moved: ({ heldOut }) => heldOut?.swap?.moved?.value,
  movedNull: ({ heldOut }) => heldOut?.swap?.moved?.null.p95,
} satisfies Record<string, (info: HeadInfo) => number | undefined>

/**
 * A figure of a head and contrast: the score gap, the q-value of the test, attention on positive and negative keys,
 * and what the subspace explains and moves on held-out units, each with the 95th percentile of its null.
 */
export type MeasureOfBoth = keyof typeof MEASURES

/** The figures that both results have. */
export function measuresOfBoth(
  a: Result,
  b: Result,
  head: string,
  contrast: string,
): Partial<Record<MeasureOfBoth, Change<number>>> {
  const [infoA, infoB] = [a, b].map(({ info }) => info.heads[head][contrast])
  const found: Partial<Record<MeasureOfBoth, Change<number>>> = {}
  for (const name of Object.keys(MEASURES) as MeasureOfBoth[]) {
    const read: (info: HeadInfo) => number | undefined = MEASURES[name]
    const pair = { a: read(infoA), b: read(infoB) }
    if (isKnown(pair.a) && isKnown(pair.b)) {
      found[name] = { a: pair.a, b: pair.b }
    }
  }
  return found
}

/** A score gap of NaN is stored as null in files. */
function isKnown(value: number | undefined): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}
