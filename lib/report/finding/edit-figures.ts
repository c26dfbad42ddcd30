/** What an edit of one feature in one head did, beside the same edit in every control. */

import type { HeadMove, InterventionVariant } from '../../intervention/edit-report.js'
import type { InterventionReport } from '../../intervention/intervene.js'
import type { Estimate } from '../../math/bootstrap.js'
import { fileName } from './words.js'

/** What `intervene` reports, under the name that the page shows. */
export type NamedEdits = InterventionReport & { name: string }

/** One measure of an edit and of its controls; null of what was not measured. */
export interface ControlledMeasure {
  value: number
  low: number
  high: number
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
  /** Index of the document. */
  document: number
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
  originAfter: number
  /** Fraction of the origin's attention that went to the target; null where there was nothing to move. */
  moved: ControlledMeasure | null
  /** Fraction of terms whose most attended key was the origin and became the target. */
  flips: ControlledMeasure | null
  /** Size of the change of the attention on the origin. */
  origin: ControlledMeasure
}

/** What the figures are read from: the result's model and prompts. */
interface Fitted {
  model: { path: string }
  prompts: { sha256: string }
}

/**
 * The edit of this feature alone in this head: of several documents one that edited the head alone comes before one that
 * edited it with others, and one on the terms of the feature's own contrast before the rest. Undefined where none did.
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
    return undefined
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
      low: Number.NaN,
      high: Number.NaN,
    }))!,
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

/** Reads one measure of a feature and of its controls in one head. */
export function measureOf(own: InterventionReport, variant: InterventionVariant, head: string) {
  return (
    name: 'moved' | 'flipRate' | 'origin',
    pick: (move: HeadMove) => Estimate | null | undefined,
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
