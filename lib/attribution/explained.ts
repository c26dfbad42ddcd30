/**
 * How much of a head's scores its features explain, by the contrast of the terms. Rows are collected one by one, and
 * figures are reported with intervals over prompts and beside controls.
 */

import type { Turn } from '../backend/cooperate.js'
import { bootstrapMean, bootstrapRatio, type Estimate } from '../math/bootstrap.js'
import { exceedsNull, type NullFigures, nullFigures } from '../math/null-limit.js'
import type { ControlledSpans } from './control-spans.js'
import { namedQuery, partProduct, type Spans } from './spans.js'
import { meanOf, rowScores, type TermRow, weightedKeys } from './term-rows.js'

/** Controls: the fraction of all energy that other subspaces explain of the same rows. */
export interface ExplainedControls {
  /** Null subspaces. Null if the result has none. */
  nulls: NullFigures | null
  /** As many principal components of the keys as the features have dimensions. Null if the result has none. */
  keys: number | null
  /** The direction of the mean query alone. Null if the result has none. */
  meanQuery: number | null
  /** Random (Haar) subspaces with the features' ranks: their mean. Null if none were requested. */
  random: {
    /** How many random subspaces were drawn. */
    count: number
    /** The mean of their fractions. */
    mean: number
  } | null
}

/** Energy of scores that some features explain, beside controls. All figures are fractions. */
export interface Explained {
  /** Dimensions of the union of the subspaces. */
  rank: number
  /** Mean over rows of 1 - ||K q_rest||^2 / ||K q||^2. */
  mean: Estimate
  /** Explained fraction of all rows together: 1 less the ratio of the sums. */
  energy: Estimate
  /** Controls of `energy`. */
  controls: ExplainedControls
  /** Whether `energy` is above the null subspaces' 95th percentile. Null without null subspaces. */
  exceedsNull: boolean | null
}

/** A feature's share: the mean over rows of <part, total> / ||total||^2. */
export interface Share extends Estimate {
  /** The share of null subspaces in place of the features. Null if the result has none. */
  nulls: NullFigures | null
  /** Whether the mean is above the 95th percentile of the null subspaces; null without them. */
  exceedsNull: boolean | null
}

/** One head on the terms of one contrast. The fields from `rank` to `exceedsNull` refer to all features together. */
export interface ContrastExplained extends Explained {
  /** Number of rows with any energy. */
  rows: number
  /** Figures of the feature of that contrast alone. Null if it is not among the features. */
  own: Explained | null
  /** Share of each feature, by name. */
  share: Record<string, Share>
}

/** How much of one head's scores the features explain. */
export interface HeadExplained {
  /** By contrast of the terms. */
  contrasts: Record<string, ContrastExplained>
}

/** A centred row below this fraction of the original scores counts as zero. */
const ROUND_OFF = 8 * Number.EPSILON

const NOTHING: Estimate = { mean: Number.NaN, low: Number.NaN, high: Number.NaN }

/** Total scores of a row, centred or not, and their energy, which is 0 if it is only round-off. */
export function totalOf(row: TermRow, centered: boolean): { total: Float64Array; energy: number } {
  const raw = rowScores(row)
  const total = centered ? centre(raw) : raw
  const largest = raw.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
  const energy = energyOf(total)
  return { total, energy: energy <= total.length * (ROUND_OFF * largest) ** 2 ? 0 : energy }
}

/** 1 - ||rest||^2 / ||total||^2 */
export function explainedBy(
  spans: Spans,
  row: TermRow,
  total: Float64Array,
  energy: number,
  centered: boolean,
): number {
  const named = rowScores(row, (q) => namedQuery(spans, q))
  if (centered) {
    centre(named)
  }
  let rest = 0
  for (let i = 0; i < total.length; i++) {
    rest += (total[i] - named[i]) ** 2
  }
  return 1 - rest / energy
}

/** One head on the terms of one contrast. */
export class ContrastColumns {
  private readonly prompts: number[] = []
  private readonly energies: number[] = []
  private readonly all: Column
  private readonly own: Column | undefined
  private readonly shares: { rows: number[]; nulls: Float64Array }[]

  constructor(
    private readonly features: readonly string[],
    private readonly spans: ControlledSpans,
    own: ControlledSpans | undefined,
    private readonly centered: boolean,
  ) {
    this.all = new Column(spans)
    this.own = own && (own === spans ? this.all : new Column(own))
    this.shares = features.map(() => ({ rows: [], nulls: new Float64Array(spans.nulls.length) }))
  }

  add(prompt: number, row: TermRow): void {
    const { total, energy } = totalOf(row, this.centered)
    // A row without any energy has nothing to explain.
    if (energy === 0) {
      return
    }
    this.prompts.push(prompt)
    this.energies.push(energy)
    const explained = (spans: Spans) => explainedBy(spans, row, total, energy, this.centered)
    this.all.add(explained, energy)
    if (this.own !== this.all) {
      this.own?.add(explained, energy)
    }
    const along = weightedKeys(row, total)
    const share = (spans: Spans, f: number) =>
      row.reduce((sum, { q }, s) => sum + partProduct(spans, f, q, along[s]), 0) / energy
    this.shares.forEach(({ rows, nulls }, f) => {
      rows.push(share(this.spans.real, f))
      this.spans.nulls.forEach((spans, draw) => {
        nulls[draw] += share(spans, f)
      })
    })
  }

  /** The report. Intervals take a while, so `turn` lets the event loop run in between. */
  async report(seed: number, turn: Turn): Promise<ContrastExplained> {
    const rows = this.prompts.length
    const over = { groups: this.prompts, seed }
    const explained = this.all.report(this.energies, over)
    await turn()
    const share = (f: number): Share => {
      const { rows: values, nulls } = this.shares[f]
      const estimate = rows === 0 ? NOTHING : bootstrapMean(values, over)
      const figures = nullFigures(nulls.map((sum) => sum / rows))
      return { ...estimate, nulls: figures, exceedsNull: exceeds(estimate.mean, figures) }
    }
    const own = this.own === this.all ? explained : (this.own?.report(this.energies, over) ?? null)
    const shares: Record<string, Share> = {}
    for (const [f, name] of this.features.entries()) {
      await turn()
      shares[name] = share(f)
    }
    await turn()
    return { rows, ...explained, own, share: shares }
  }
}

/** Explained energy of some features and their controls, row by row. For controls, only the sums are kept. */
class Column {
  private readonly explained: number[] = []
  private readonly nulls: Float64Array
  private readonly randoms: Float64Array
  private keys = 0
  private meanQuery = 0

  constructor(private readonly spans: ControlledSpans) {
    this.nulls = new Float64Array(spans.nulls.length)
    this.randoms = new Float64Array(spans.randoms.length)
  }

  add(explained: (spans: Spans) => number, energy: number): void {
    const { real, nulls, randoms, keys, meanQuery } = this.spans
    this.explained.push(explained(real))
    nulls.forEach((spans, draw) => {
      this.nulls[draw] += energy * explained(spans)
    })
    randoms.forEach((spans, draw) => {
      this.randoms[draw] += energy * explained(spans)
    })
    if (keys) {
      this.keys += energy * explained(keys)
    }
    if (meanQuery) {
      this.meanQuery += energy * explained(meanQuery)
    }
  }

  report(energies: readonly number[], over: { groups: readonly number[]; seed: number }): Explained {
    const { rank, keys, meanQuery } = this.spans
    const all = energies.reduce((sum, x) => sum + x, 0)
    const nulls = nullFigures(this.nulls.map((sum) => sum / all))
    const drawn = this.randoms.map((sum) => sum / all)
    const controls = {
      nulls,
      keys: keys ? this.keys / all : null,
      meanQuery: meanQuery ? this.meanQuery / all : null,
      random: drawn.length > 0 ? { count: drawn.length, mean: meanOf(drawn) } : null,
    }
    if (energies.length === 0) {
      return { rank, mean: NOTHING, energy: NOTHING, controls, exceedsNull: null }
    }
    const left = bootstrapRatio(
      this.explained.map((x, row) => (1 - x) * energies[row]),
      energies,
      over,
    )
    const energy = { mean: 1 - left.ratio, low: 1 - left.high, high: 1 - left.low }
    return {
      rank,
      mean: bootstrapMean(this.explained, over),
      energy,
      controls,
      exceedsNull: exceeds(energy.mean, nulls),
    }
  }
}

function exceeds(value: number, nulls: NullFigures | null): boolean | null {
  return nulls === null ? null : exceedsNull(value, nulls.p95, nulls.count)
}

/** Less their mean, in place. */
function centre(scores: Float64Array): Float64Array {
  const mean = meanOf(scores)
  for (let i = 0; i < scores.length; i++) {
    scores[i] -= mean
  }
  return scores
}

function energyOf(scores: Float64Array): number {
  return scores.reduce((sum, x) => sum + x * x, 0)
}
