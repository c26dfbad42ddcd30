/** What an edit of one feature in one head did, beside the same edit in every control. */

import type { HeadMove, InterventionVariant } from '../../intervention/edit-report.js'
import type { InterventionReport } from '../../intervention/intervene.js'
import type { Estimate } from '../../math/bootstrap.js'
import type { HeadInfo } from '../../store/result-info.js'
import { fileName } from './words.js'

/** What `intervene` reports, under the name that the page shows. */
export type NamedEdits = InterventionReport & { name: string }

/** One measure of an edit and of its controls; null of what was not measured. */
export interface ControlledMeasure {
  value: number
  /** 95% bootstrap interval over prompts, where there is one. */
  low: number | null
  high: number | null
  nullMean: number | null
  nullP95: number | null
  keys: number | null
  meanQuery: number | null
  random: number | null
  whole: number | null
  /** Whether the value is above the null subspaces' 95th percentile; null where too few were measured. */
  exceedsNull: boolean | null
}

/** Fractions all; of one head and feature. */
export interface EditFigures {
  /** Index of the document; undefined of a sweep's own figures. */
  document?: number
  name: string
  edit: InterventionReport['edit']
  side: InterventionReport['side']
  /** Contrast of the prompts whose terms were edited: the feature's own, or one that was named. */
  termsOf: string
  terms: number
  prompts: number
  /** Whether the prompts are others than those that made the result. */
  isNew: boolean
  /** Heads that were edited together with this one, itself included. */
  heads: string[]
  rank: number
  nulls: number
  originBefore: number
  /** Undefined where it was not kept. */
  originAfter?: number
  /** Fraction of the origin's attention that went to the target; null where there was nothing to move. */
  moved: ControlledMeasure | null
  /** Fraction of terms whose most attended key was the origin and became the target. */
  flips: ControlledMeasure | null
  /** Size of the change of the attention on the origin; null where it was not kept. */
  origin: ControlledMeasure | null
}

/** What the figures are read from: the result's model and prompts, and what a sweep measured of its own. */
interface Fitted {
  model: { path: string }
  prompts: { sha256: string }
  heads: Record<string, Record<string, HeadInfo>>
}

/**
 * The edit of this feature alone in this head: of several documents one that edited the head alone comes before one that
 * edited it with others, and one on the terms of the feature's own contrast before the rest. Where none did, what a sweep
 * measured on the half of the prompts that did not fit the subspace; undefined where there is neither.
 */
export function editFigures(
  documents: readonly NamedEdits[],
  result: Fitted,
  head: string,
  contrast: string,
): EditFigures | undefined {
  const candidates = documents.flatMap((own, document) => {
    const variant = own.variants.find(
      (v) => v.kind === 'features' && v.features.join('\n') === contrast && v.heads[head] && !v.vacuous,
    )
    const sameModel = fileName(own.model) === fileName(result.model.path)
    return variant && sameModel ? [{ own, document, variant }] : []
  })
  const rank = ({ own, variant }: (typeof candidates)[number]) =>
    (own.heads.length === 1 ? 2 : 0) + (variant.contrasts.join('\n') === contrast ? 1 : 0)
  const [best] = [...candidates].sort((a, b) => rank(b) - rank(a))
  if (!best) {
    return heldOutFigures(result.heads[head][contrast], head, contrast)
  }
  const { own, document, variant } = best
  const move = variant.heads[head]
  const measure = measureOf(own, variant, head)
  return {
    document,
    name: own.name,
    edit: own.edit,
    side: own.side,
    termsOf: variant.contrasts.length === 1 ? variant.contrasts[0] : contrast,
    terms: variant.terms,
    prompts: own.prompts.prompts,
    isNew: own.prompts.sha256 !== result.prompts.sha256,
    heads: own.heads,
    rank: variant.ranks[head],
    nulls: controlOf(own, variant, 'null')?.draws ?? 0,
    originBefore: move.origin.before.mean,
    originAfter: move.origin.after.mean,
    moved: measure('moved', (m) => m.moved),
    flips: measure('flipRate', (m) => m.flipRate),
    origin: measure('origin', ({ origin: { before, after } }) => ({
      mean: Math.abs(after.mean - before.mean),
      low: null,
      high: null,
    })),
  }
}

/** Of a sweep: what exchanging a key's coordinates moved on units that did not fit the subspace. */
function heldOutFigures(
  { heldOut, rank }: HeadInfo,
  head: string,
  contrast: string,
): EditFigures | undefined {
  const swap = heldOut?.swap
  if (!swap) {
    return undefined
  }
  const moved = swap.moved && {
    value: swap.moved.value,
    low: null,
    high: null,
    nullMean: swap.moved.null.mean,
    nullP95: swap.moved.null.p95,
    keys: swap.moved.keyComponents,
    meanQuery: swap.moved.meanQuery,
    random: swap.moved.random,
    whole: swap.moved.whole,
    exceedsNull: swap.moved.exceedsNull,
  }
  return {
    name: 'held-out units',
    edit: 'swap',
    side: 'key',
    termsOf: contrast,
    terms: heldOut.terms,
    prompts: heldOut.units,
    isNew: true,
    heads: [head],
    rank,
    nulls: swap.moved?.null.draws ?? 0,
    originBefore: swap.origin,
    moved,
    flips: null,
    origin: null,
  }
}

/** The control of a kind that stands beside a feature. */
export function controlOf(
  own: InterventionReport,
  variant: InterventionVariant,
  kind: InterventionVariant['kind'],
): InterventionVariant | undefined {
  return own.variants.find(
    (v) => v.kind === kind && (kind === 'whole' || v.features.join('\n') === variant.features.join('\n')),
  )
}

/** A mean, with its interval where there is one. */
type Measured = { [K in keyof Estimate]: K extends 'mean' ? number : number | null }

/** Reads one measure of a feature and of its controls in one head. */
export function measureOf(own: InterventionReport, variant: InterventionVariant, head: string) {
  return (
    name: 'moved' | 'flipRate' | 'origin',
    pick: (move: HeadMove) => Measured | null | undefined,
  ): ControlledMeasure | null => {
    const of = (v: InterventionVariant | undefined) => {
      const move = v?.heads[head]
      return (move && pick(move)?.mean) ?? null
    }
    const value = pick(variant.heads[head])
    if (!value) {
      return null
    }
    const nulls = controlOf(own, variant, 'null')
    return {
      value: value.mean,
      low: value.low,
      high: value.high,
      nullMean: of(nulls),
      nullP95: nulls?.heads[head]?.p95?.[name] ?? null,
      keys: of(controlOf(own, variant, 'keys')),
      meanQuery: of(controlOf(own, variant, 'mean query')),
      random: of(controlOf(own, variant, 'random')),
      whole: of(controlOf(own, variant, 'whole')),
      exceedsNull: variant.heads[head].exceedsNull?.[name] ?? null,
    }
  }
}
