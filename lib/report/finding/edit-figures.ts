/** Figures of an edit of one feature in one head, beside the same edit of every control. */

import type { HeadMove, InterventionVariant } from '../../intervention/edit-report.js'
import type { InterventionReport } from '../../intervention/intervene.js'
import type { Estimate } from '../../math/bootstrap.js'
import type { HeadInfo } from '../../store/result-info.js'
import { fileName } from './words.js'

/** A report of `intervene`, under its name on the page. */
export type NamedEdits = InterventionReport & { name: string }

/** One measure of an edit and of its controls. Null for controls that were not measured. */
export interface ControlledMeasure {
  value: number
  /** 95% bootstrap interval over prompts. Null if there is none. */
  low: number | null
  high: number | null
  nullMean: number | null
  nullP95: number | null
  keys: number | null
  meanQuery: number | null
  random: number | null
  whole: number | null
  /** Whether the value is above the null subspaces' 95th percentile. Null if too few were measured. */
  exceedsNull: boolean | null
}

/** Figures of one head and feature; all are fractions. */
export interface EditFigures {
  /** Index of the document. Undefined for a sweep's own figures. */
  document?: number
  name: string
  edit: InterventionReport['edit']
  side: InterventionReport['side']
  /** Contrast of the prompts whose terms were edited: the feature's own, or a named one. */
  termsOf: string
  terms: number
  prompts: number
  /** Whether the prompts differ from those that made the result. */
  isNew: boolean
  /** Heads that were edited together with this one, itself included. */
  heads: string[]
  rank: number
  nulls: number
  originBefore: number
  /** Undefined if it was not stored. */
  originAfter?: number
  /** Fraction of the origin's attention that went to the target. Null if there was nothing to move. */
  moved: ControlledMeasure | null
  /** Fraction of terms in which the most attended key changed from the origin to the target. */
  flips: ControlledMeasure | null
  /** Size of the change of the attention on the origin. Null if it was not stored. */
  origin: ControlledMeasure | null
}

/** Sources of the figures: the result's model and prompts, and a sweep's own measurements. */
interface Fitted {
  model: { path: string }
  prompts: { sha256: string }
  heads: Record<string, Record<string, HeadInfo>>
}

/**
 * The edit of this feature alone in this head. Of several documents, those that edited the head alone come first, and
 * then those on the terms of the feature's own contrast. Without such a document, the figures of a sweep on the half
 * of the prompts that was not used to fit the subspace. Undefined without either.
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

/**
 * Figures of a sweep: attention moved by exchanging a key's coordinates, on units that were not used to fit the
 * subspace.
 */
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

/** The control of a given kind that belongs to a feature. */
export function controlOf(
  own: InterventionReport,
  variant: InterventionVariant,
  kind: InterventionVariant['kind'],
): InterventionVariant | undefined {
  return own.variants.find(
    (v) => v.kind === kind && (kind === 'whole' || v.features.join('\n') === variant.features.join('\n')),
  )
}

/** A mean, with its interval if there is one. */
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
