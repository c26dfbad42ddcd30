/** The figures of an intervention, reported as means with intervals over prompts, beside those of null subspaces. */

import type { Turn } from '../backend/cooperate.js'
import { bootstrapMean, bootstrapRatio, type Estimate } from '../math/bootstrap.js'
import type { RowChange, RowMove } from './edit-measure.js'
import { type EditTable, exceedingNulls, type MoveEffects, type OutputEffects, p95Of } from './edit-table.js'
import type { Variant, VariantKind } from './edit-variants.js'

/** Means over terms with bootstrap intervals over prompts, before and after. */
export interface BeforeAfter {
  /** Without the edit. */
  before: Estimate
  /** With the edit. */
  after: Estimate
}

/** 95th percentiles, over draws, of the sizes of mean effects. Null for unknown ones. */
export type Percentiles<T> = { [K in keyof T]: number | null }

/** Whether a feature's effects are above those of its null subspaces. Null for unknown ones. */
export type Exceeds<T> = { [K in keyof T]: boolean | null }

/** Effect of an edit on the attention of one head at the terms' queries. */
export interface HeadMove {
  /** Attention on the origin. */
  origin: BeforeAfter
  /** Attention on the target. Absent if the terms have none. */
  target?: BeforeAfter
  /**
   * Fraction of the origin's attention that went to the target, over all terms together. Null if the origin has less
   * than 0.05 of the attention on average, so that there is nothing to move.
   */
  moved?: Estimate | null
  /** Change of p = a_target / (a_target + a_origin). */
  deltaP?: Estimate
  /** Fraction of terms in which the most attended key changed from the origin to the target. */
  flipRate?: Estimate
  /** 95th percentiles of null and random subspaces. */
  p95?: Percentiles<MoveEffects>
  /** Comparison of a feature with its null subspaces. Null without null subspaces. */
  exceedsNull?: Exceeds<MoveEffects> | null
}

/** Effect of an edit on the model's output at the terms' queries. */
export interface OutputChange {
  /** Natural logarithm of the probability of the answer. */
  answerLogProb?: BeforeAfter
  /** Natural logarithm of the probability of the token at the target. */
  targetLogProb?: BeforeAfter
  /** Fraction of terms in which the answer is the likeliest token. */
  accuracy?: BeforeAfter
  /** Fraction of terms in which the token at the target is the likeliest. */
  targetRate?: BeforeAfter
  /** KL divergence KL(before || after) of the output, nats. */
  kl: Estimate
  /**
   * 95th percentiles of null and random subspaces. Those of log-probabilities and rates are sizes of their changes.
   */
  p95?: Percentiles<OutputEffects>
  /** Comparison of a feature with its null subspaces. Null without null subspaces. */
  exceedsNull?: Exceeds<OutputEffects> | null
}

/** One edit of every term: of a feature, or of a control. */
export interface InterventionVariant {
  /** Name of the edit in tables. */
  name: string
  /** Kind of the edit: a feature, or one of the controls. */
  kind: VariantKind
  /** Contrasts whose subspaces were edited together, or to which the control belongs. Empty for whole heads. */
  features: string[]
  /** Contrasts whose terms were edited. */
  contrasts: string[]
  /** Number of edited terms. 0 if the prompts have none of the contrasts. */
  terms: number
  /** Rank of the edited subspace, by head. */
  ranks: Record<string, number>
  /** Number of subspaces over which each term's figures are averaged. */
  draws: number
  /** Whether the features span whole heads. The control would be identical, so it is not measured. */
  vacuous: boolean
  /** Effects on attention, by the name of the head, as in `L0H1`. */
  heads: Record<string, HeadMove>
  /** Effects on the model's output. Absent if the model has no suitable output. */
  output?: OutputChange
}

/**
 * `nulls` is the table of the feature's null subspaces. Intervals take a while, so `turn` lets the event loop run
 * between heads.
 */
export async function reportVariant(
  variant: Variant,
  table: EditTable,
  nulls: EditTable | undefined,
  names: readonly string[],
  { seed, turn }: { seed: number; turn: Turn },
): Promise<InterventionVariant> {
  const { name, kind, features, contrasts, vacuous, draws } = variant
  const over = { groups: table.prompts, seed }
  const interval = (values: readonly number[]) => bootstrapMean(values, over)
  const beforeAfter = (rows: readonly { before: number; after: number }[]): BeforeAfter => ({
    before: interval(rows.map((r) => r.before)),
    after: interval(rows.map((r) => r.after)),
  })
  /** Percentiles of controls that are drawn, and how features compare with those of their nulls. */
  const beside = <T extends object>(effects: (of: EditTable) => T[]) => ({
    ...((kind === 'null' || kind === 'random') && { p95: p95Of(effects(table)) }),
    ...(kind === 'features' && {
      exceedsNull: nulls ? exceedingNulls(effects(table)[0], effects(nulls)) : null,
    }),
  })
  const head = (moves: readonly RowMove[], h: number): HeadMove => {
    const origin = beforeAfter(moves.map((m) => m.origin))
    const compared = beside((of) => of.moveEffects(h))
    if (!table.targets) {
      return { origin, ...compared }
    }
    return {
      origin,
      target: beforeAfter(moves.map((m) => m.target)),
      moved: table.hasAttention(h) ? movedOf(moves, over) : null,
      deltaP: interval(moves.map((m) => m.deltaP)),
      flipRate: interval(moves.map((m) => m.flipped)),
      ...compared,
    }
  }
  const output = (): OutputChange => {
    const has = (pick: (c: RowChange) => { before: number }) =>
      table.changes.every((c) => !Number.isNaN(pick(c).before))
    const of = (known: boolean, pick: (c: RowChange) => { before: number; after: number }) =>
      known ? beforeAfter(table.changes.map(pick)) : undefined
    const answered = has((c) => c.answer)
    const other = has((c) => c.other)
    return {
      answerLogProb: of(answered, (c) => c.answer),
      targetLogProb: of(other, (c) => c.other),
      accuracy: of(answered, (c) => c.right),
      targetRate: of(other, (c) => c.turned),
      kl: interval(table.changes.map((c) => c.kl)),
      ...beside((from) => from.outputEffects()),
    }
  }
  const measured = table.prompts.length > 0
  const heads: Record<string, HeadMove> = {}
  for (const [h, name] of names.entries()) {
    await turn()
    if (measured) {
      heads[name] = head(table.moves[h], h)
    }
  }
  await turn()
  return {
    name,
    kind,
    features,
    contrasts,
    terms: table.prompts.length,
    ranks: Object.fromEntries(names.map((n, h) => [n, variant.ranks[h]])),
    draws: draws.length,
    vacuous,
    heads,
    output: measured && table.changes.length > 0 ? output() : undefined,
  }
}

/** Moved fraction over all terms together, weighted by the attention that the origin had. */
function movedOf(moves: readonly RowMove[], over: { groups: number[]; seed: number }): Estimate {
  const { ratio, low, high } = bootstrapRatio(
    moves.map((m) => m.moved * m.origin.before),
    moves.map((m) => m.origin.before),
    over,
  )
  return { mean: ratio, low, high }
}
