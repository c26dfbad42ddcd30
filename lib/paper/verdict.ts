/**
 * Whether a claim held, and whether that is evidence: its figures meet their bars, and are above the 95th percentile of
 * what the same experiment gives where there is nothing to find
 * (docs/method.md, "Where subspaces are used"; contract 11).
 */

import type { NullFigures } from '../math/null-limit.js'
import { percent } from './percent.js'

export const VERDICTS = ['held', 'held, and random labels do as well', 'not held'] as const

/**
 * `held`: every bar is met, and every figure that decides is above the 95th percentile of its null. The second: every bar
 * is met, but the null reaches one of the figures too. `not held`: a bar is missed, or there is no null.
 */
export type Verdict = (typeof VERDICTS)[number]

/** A fraction that decides a claim. */
export interface DecisiveFigure {
  /** What is measured, in words. */
  name: string
  /** The figure itself, a fraction. */
  value: number
  /** What it has to meet, in words. */
  bar: string
  /** Whether it meets the bar. */
  met: boolean
  /** What the null is made of, as in `null subspaces`. */
  against: string
  /** Null where none could be measured. */
  nulls: NullFigures | null
  /**
   * As many key principal components as the subspace has dimensions, where they were measured: they need no labels, and do
   * not decide.
   */
  keys?: number | null
}

/** What must be so besides, and has no null of its own. */
export interface Condition {
  text: string
  bar: string
  met: boolean
}

/** A claim, and whether what came out is evidence for it. */
export interface PaperClaim {
  /** In a sentence. */
  claim: string
  /** Whether the claim held against its bars and nulls. */
  verdict: Verdict
  /** The figures that decide it, beside their bars and nulls, and what else belongs to them; in words. */
  why: string
  /** The figures that decide it. */
  decisive: DecisiveFigure[]
}

/** Null subspaces stand behind most figures. */
const NULL_SUBSPACES = 'null subspaces'

/** What stands beside a figure. */
export type Beside = Pick<DecisiveFigure, 'nulls' | 'keys'>

export function atLeast(
  name: string,
  value: number,
  bar: number,
  { nulls, keys }: Beside,
  against = NULL_SUBSPACES,
): DecisiveFigure {
  return figureOf(
    name,
    value,
    { bar: `at least ${percent(bar)}`, met: value >= bar },
    { nulls, keys },
    against,
  )
}

export function figureOf(
  name: string,
  value: number,
  { bar, met }: Pick<DecisiveFigure, 'bar' | 'met'>,
  { nulls, keys }: Beside,
  against = NULL_SUBSPACES,
): DecisiveFigure {
  return { name, value, bar, met, against, nulls, ...(keys !== undefined && { keys }) }
}

export function verdictOf(
  decisive: readonly DecisiveFigure[],
  conditions: readonly Condition[] = [],
): Verdict {
  const met = [...decisive, ...conditions].every((one) => one.met)
  if (!met || decisive.some(({ nulls }) => nulls === null)) {
    return 'not held'
  }
  return decisive.every(({ value, nulls }) => value > nulls!.p95)
    ? 'held'
    : 'held, and random labels do as well'
}

const COMPONENTS_DO =
  'key principal components, which need no labels, do as well: the labels beat random ones, but are not needed for this'

/** `more` ends the sentence that says why. */
export function claimOf(
  claim: string,
  decisive: DecisiveFigure[],
  conditions: readonly Condition[] = [],
  more: readonly string[] = [],
): PaperClaim {
  const verdict = verdictOf(decisive, conditions)
  const unneeded =
    verdict === 'held' && decisive.some(({ keys, value }) => typeof keys === 'number' && keys >= value)
  const why = [
    ...decisive.map(inWords),
    ...conditions.map(conditionInWords),
    ...more,
    ...(unneeded ? [COMPONENTS_DO] : []),
  ].join('; ')
  return { claim, verdict, why, decisive }
}

function inWords({ name, value, bar, met, against, nulls, keys }: DecisiveFigure): string {
  const beside = nulls
    ? `${against} ${percent(nulls.mean)}, 95th percentile ${percent(nulls.p95)}: ${comparison(value, nulls.p95)}`
    : `${against}: none, so this decides nothing`
  const components = typeof keys === 'number' ? `; as many key principal components ${percent(keys)}` : ''
  return `${name} ${percent(value)} (bar: ${bar}, ${met ? 'met' : 'missed'}; ${beside}${components})`
}

/** Figures near 100% may differ in digits that are not shown. */
function comparison(value: number, p95: number): string {
  if (value <= p95) {
    return 'not above'
  }
  return percent(value) === percent(p95) ? `above by ${(100 * (value - p95)).toPrecision(1)} points` : 'above'
}

const conditionInWords = ({ text, bar, met }: Condition): string =>
  `${text} (bar: ${bar}, ${met ? 'met' : 'missed'})`

/** The figure that beats its null least, of several that a claim is about. */
export function weakest(figures: readonly DecisiveFigure[]): DecisiveFigure {
  const margin = ({ value, nulls, met }: DecisiveFigure) =>
    nulls && met ? value - nulls.p95 : Number.NEGATIVE_INFINITY
  return figures.reduce((a, b) => (margin(b) < margin(a) ? b : a))
}
