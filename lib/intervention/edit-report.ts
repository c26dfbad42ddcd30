/** The figures of an intervention: collected term by term, reported as means with intervals over prompts. */

import type { TermRun } from '../capture/terms/term-runs.js'
import { bootstrapMean, bootstrapRatio, type Estimate } from '../math/bootstrap.js'
import { changeOf, movesOf, type RowChange, type RowMove } from './edit-measure.js'
import type { Variant, VariantKind } from './edit-variants.js'

/** Means over terms with bootstrap intervals over prompts, before and after. */
export interface BeforeAfter {
  before: Estimate
  after: Estimate
}

/** What an edit did to the attention of one head on the terms' queries. */
export interface HeadMove {
  /** Attention on the origin and, where there is one, on the target. */
  origin: BeforeAfter
  target?: BeforeAfter
  /** Fraction of the origin's attention that went to the target: of all terms together. */
  moved?: Estimate
  /** Change of p = a_target / (a_target + a_origin). */
  deltaP?: Estimate
  /** Fraction of terms where the most attended key was the origin and became the target. */
  flipRate?: Estimate
}

/** What an edit did to the model's output at the terms' queries. */
export interface OutputChange {
  /** Natural logarithms of the probabilities of the answer and of the token at the target. */
  answerLogProb?: BeforeAfter
  targetLogProb?: BeforeAfter
  /** Fraction of terms where the answer, or the token at the target, is the likeliest. */
  accuracy?: BeforeAfter
  targetRate?: BeforeAfter
  /** KL divergence of the output after from that before, nats. */
  kl: Estimate
}

export interface InterventionVariant {
  name: string
  kind: VariantKind
  features: string[]
  /** Rank of what was edited, by head. */
  ranks: Record<string, number>
  /** Random subspaces over which each term's figures are means. */
  draws: number
  /** The features span whole heads, so that this control is no control; it is not measured. */
  vacuous: boolean
  heads: Record<string, HeadMove>
  output?: OutputChange
}

/** The patterns and outputs of one run of a batch. */
interface Measured {
  patterns: readonly Float32Array[]
  output?: readonly Float32Array[]
}

/** The figures of one variant, term by term; those of random subspaces are means over the draws. */
export class EditTable {
  readonly prompts: number[] = []
  /** [heads][terms] */
  readonly moves: RowMove[][]
  readonly changes: RowChange[] = []
  targets = true

  /** `heads`: how many each site has. */
  constructor(private readonly heads: readonly number[]) {
    this.moves = heads.flatMap((count) => Array.from({ length: count }, () => []))
  }

  add(items: readonly TermRun[], before: Measured, after: readonly Measured[]): void {
    let first = 0
    this.heads.forEach((count, site) => {
      const pattern = before.patterns[site]
      const keys = pattern.length / (items.length * count)
      const draws = after.map(({ patterns }) => movesOf(items, pattern, patterns[site], count, keys))
      for (let h = 0; h < count; h++) {
        items.forEach((_, r) => {
          this.moves[first + h].push(meanOf(draws.map((draw) => draw[h][r])))
        })
      }
      first += count
    })
    items.forEach((item, r) => {
      this.prompts.push(item.prompt)
      if (item.target === undefined) this.targets = false
      const { output } = before
      if (output) this.changes.push(meanOf(after.map((m) => changeOf(item, output[r], m.output![r]))))
    })
  }
}

/** The mean of records of numbers, or of records of such, field by field. */
function meanOf<T extends object>(records: readonly T[]): T {
  return Object.fromEntries(
    Object.entries(records[0]).map(([key, value]) => {
      const own = records.map((record) => record[key as keyof T] as number)
      return [
        key,
        typeof value === 'number'
          ? own.reduce((a, b) => a + b, 0) / own.length
          : meanOf(own as unknown as object[]),
      ]
    }),
  ) as T
}

export function reportVariant(
  variant: Variant,
  table: EditTable,
  names: readonly string[],
  seed: number,
): InterventionVariant {
  const { name, kind, features, vacuous, projections } = variant
  const over = { groups: table.prompts, seed }
  const interval = (values: readonly number[]) => bootstrapMean(values, over)
  const beforeAfter = (rows: readonly { before: number; after: number }[]): BeforeAfter => ({
    before: interval(rows.map((r) => r.before)),
    after: interval(rows.map((r) => r.after)),
  })
  const head = (moves: readonly RowMove[]): HeadMove => {
    const origin = beforeAfter(moves.map((m) => m.origin))
    if (!table.targets) return { origin }
    const weights = moves.map((m) => m.origin.before)
    const moved = weights.some((w) => w > 0)
      ? bootstrapRatio(
          moves.map((m) => m.moved * m.origin.before),
          weights,
          over,
        )
      : { ratio: 0, low: 0, high: 0 }
    return {
      origin,
      target: beforeAfter(moves.map((m) => m.target)),
      moved: { mean: moved.ratio, low: moved.low, high: moved.high },
      deltaP: interval(moves.map((m) => m.deltaP)),
      flipRate: interval(moves.map((m) => m.flipped)),
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
    }
  }
  const measured = table.prompts.length > 0
  return {
    name,
    kind,
    features,
    ranks: Object.fromEntries(names.map((n, h) => [n, variant.ranks[h]])),
    draws: projections.length,
    vacuous,
    heads: measured ? Object.fromEntries(names.map((n, h) => [n, head(table.moves[h])])) : {},
    output: measured && table.changes.length > 0 ? output() : undefined,
  }
}
