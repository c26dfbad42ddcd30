/**
 * Label sequences: the null matrices are sum_u D_u(y_π(u)) - D̄, every sequence with the labels of another one of its
 * shape; D̄ is the sum of each sequence's mean over the others' labels (design: "Rank", item 3). Signs would be wrong
 * here: labels that stick, alternate or drift with the position make contributions one-sided.
 */

import type { Estimator, LabelSequence } from '../../../backend/backend.js'
import { cooperator } from '../../../backend/cooperate.js'
import type { BackendChoice } from '../../../backend/select.js'
import type { PlainRows } from '../../../covariance/kept/term-rows.js'
import { STREAMS, type UnitKey } from '../../../math/unit-hash.js'
import { CovarianceSource, lessMean } from './covariance-source.js'
import { labelForm, type SideWeights } from './label-form.js'
import { donorsOf, exchangeGroups, type LabelUnit, meanDonors, withLabelsOf } from './label-sequences.js'
import type { Hypothesis, NullData, NullSource } from './null-source.js'

export class LabelData implements NullData {
  readonly heads: number
  readonly headDim: number
  readonly units: readonly UnitKey[]
  readonly assumesSymmetry = false

  /** `sequences` in ascending order of their keys; `load` gives their rows, which are not held between two sources. */
  constructor(
    private readonly backend: BackendChoice,
    sizes: Pick<PlainRows, 'heads' | 'headDim'>,
    private readonly load: () => Promise<PlainRows>,
    private readonly sequences: readonly LabelUnit[],
    private readonly seed: number,
  ) {
    this.heads = sizes.heads
    this.headDim = sizes.headDim
    this.units = exchangeable(sequences).map(({ key }) => key)
  }

  async source(hypothesis: Hypothesis, keep: (unit: UnitKey) => boolean = () => true): Promise<NullSource> {
    const units = exchangeable(this.sequences.filter(({ whole }) => keep(whole)))
    return new LabelSource(this.backend, centred(await this.load(), units, hypothesis), units, this.seed)
  }
}

/** Units that have a partner: the others contribute their mean, which is nothing. */
function exchangeable(units: readonly LabelUnit[]): LabelUnit[] {
  const alone = new Set(exchangeGroups(units).flatMap((group) => (group.length === 1 ? group : [])))
  return units.filter((_, i) => !alone.has(i))
}

/** Rows less their means over the units' rows, which no exchange changes. */
function centred(rows: PlainRows, units: readonly LabelUnit[], hypothesis: Hypothesis): PlainRows {
  const interaction = hypothesis === 'interaction'
  const { heads, kvHeads, headDim: d, estimator, q, k } = rows
  const queries = new Set(units.flatMap(({ queryRows }) => [...queryRows]))
  const keys = new Set(units.flatMap(({ keyRows }) => [...keyRows]))
  return {
    ...rows,
    q: interaction ? lessMean(q, heads * d, queries) : q,
    k: interaction || estimator !== 'per-query' ? lessMean(k, kvHeads * d, keys) : k,
  }
}

class LabelSource extends CovarianceSource implements NullSource {
  readonly units: readonly UnitKey[]
  readonly nullFactor = 1
  readonly #groups: number[][]
  readonly #means = new Map<number, Float64Array>()
  #weights: SideWeights | undefined

  constructor(
    backend: BackendChoice,
    rows: PlainRows,
    private readonly sequences: readonly LabelUnit[],
    private readonly seed: number,
  ) {
    super(backend, rows)
    this.units = sequences.map(({ key }) => key)
    this.#groups = exchangeGroups(sequences)
  }

  contributions(head: number, u: Float64Array, v: Float64Array, columns: number): Float64Array {
    const out = new Float64Array(columns * this.sequences.length)
    const weights = this.#sideWeights()
    for (let c = 0; c < columns; c++) {
      const [a, b] = this.#projected(head, u, v, columns, c)
      for (const group of this.#groups) {
        for (const i of group) {
          const form = (donor: number) => this.#form(i, donor, a, b, weights)
          const donors = meanDonors(group, i)
          let mean = 0
          for (const donor of donors) mean += form(donor) / donors.length
          out[c * this.sequences.length + i] = form(i) - mean
        }
      }
    }
    return out
  }

  async directed(
    head: number,
    u: Float64Array,
    v: Float64Array,
    draws: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const [a, b] = this.#projected(head, u, v, 1, 0)
    const weights = this.#sideWeights()
    const pause = cooperator(signal)
    const known = new Map<number, number>()
    const n = this.sequences.length
    const form = (unit: number, donor: number) => {
      const at = unit * n + donor
      const value = known.get(at) ?? this.#form(unit, donor, a, b, weights)
      known.set(at, value)
      return value
    }
    const out = new Float64Array(draws)
    for (let draw = 0; draw < draws; draw++) {
      const donors = donorsOf(this.sequences, this.#groups, this.seed, draw, STREAMS.oneSided)
      for (let i = 0; i < n; i++) out[draw] += form(i, donors[i])
      await pause()
    }
    // Of a one-sided sum the mean over all exchanges is what nothing would show.
    let mean = 0
    for (const group of this.#groups) {
      for (const i of group) {
        const donors = meanDonors(group, i)
        for (const donor of donors) mean += form(i, donor) / donors.length
      }
    }
    return out.map((x) => x - mean)
  }

  /** sum_u D_u(y_π(u)) - D̄ of draws [from, to), [draws, heads, d, d]. */
  protected async matrices(
    heads: readonly number[],
    from: number,
    to: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const sequences: LabelSequence[] = []
    for (let draw = from; draw < to; draw++) {
      const donors = donorsOf(this.sequences, this.#groups, this.seed, draw)
      this.sequences.forEach((unit, i) => {
        sequences.push({ ...withLabelsOf(unit, this.sequences[donors[i]]), contrast: draw - from })
      })
    }
    const out = await this.#sums(heads, sequences, to - from, signal)
    const means = await this.#meansOf(heads, signal)
    const size = this.headDim ** 2
    for (let i = 0; i < out.length; i++) {
      const head = heads[Math.floor(i / size) % heads.length]
      out[i] -= means.get(head)![i % size]
    }
    return out
  }

  /** D̄ of heads. */
  async #meansOf(heads: readonly number[], signal?: AbortSignal): Promise<ReadonlyMap<number, Float64Array>> {
    const missing = heads.filter((head) => !this.#means.has(head))
    if (missing.length > 0) {
      const size = this.headDim ** 2
      const byDonors = new Map<number, LabelSequence[]>()
      for (const group of this.#groups) {
        for (const i of group) {
          const donors = meanDonors(group, i)
          const list = byDonors.get(donors.length) ?? []
          for (const donor of donors) {
            list.push({ ...withLabelsOf(this.sequences[i], this.sequences[donor]), contrast: 0 })
          }
          byDonors.set(donors.length, list)
        }
      }
      for (const head of missing) this.#means.set(head, new Float64Array(size))
      for (const [count, list] of byDonors) {
        const sums = await this.#sums(missing, list, 1, signal)
        missing.forEach((head, h) => {
          const mean = this.#means.get(head)!
          for (let i = 0; i < size; i++) mean[i] += sums[h * size + i] / count
        })
      }
    }
    return this.#means
  }

  /** Contributions of sequences summed by their contrast, [contrasts, heads, d, d], over the observed weights. */
  async #sums(
    heads: readonly number[],
    sequences: readonly LabelSequence[],
    contrasts: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const weights = this.#sideWeights()
    const { positive, negative } = await this.moments(heads, { labels: sequences }, contrasts, signal)
    return positive.qk.map((x, i) => x / weights[0] - negative.qk[i] / weights[1])
  }

  /** What sides are divided by: queries that count (`per-query`, `sum`), or pairs of each side (`per-pair`). */
  #sideWeights(): SideWeights {
    if (this.#weights) return this.#weights
    const ones = new Float64Array(Math.max(this.rows.q.length, this.rows.k.length) / this.headDim).fill(1)
    const count = (estimator: Estimator, sides: SideWeights) => {
      return this.sequences.reduce((sum, unit) => sum + labelForm(unit, ones, ones, estimator, sides), 0)
    }
    const infinite = Number.POSITIVE_INFINITY
    const queries = count('per-query', [1, infinite])
    const pairs = this.rows.estimator === 'per-pair'
    this.#weights = pairs ? [count('sum', [1, infinite]), -count('sum', [infinite, 1])] : [queries, queries]
    this.#weights = this.#weights.map((weight) => weight || 1) as unknown as SideWeights
    return this.#weights
  }

  #form(unit: number, donor: number, a: Float64Array, b: Float64Array, weights: SideWeights): number {
    const labelled = withLabelsOf(this.sequences[unit], this.sequences[donor])
    return labelForm(labelled, a, b, this.rows.estimator, weights)
  }

  /** Column c of u with every query row, and of v with every key row, of a head. */
  #projected(head: number, u: Float64Array, v: Float64Array, columns: number, c: number) {
    const { q, k, heads, kvHeads, headDim: d } = this.rows
    const along = (data: Float32Array, count: number, of: number, basis: Float64Array) => {
      const out = new Float64Array(data.length / (count * d))
      for (let row = 0; row < out.length; row++) {
        for (let i = 0; i < d; i++) out[row] += data[(row * count + of) * d + i] * basis[i * columns + c]
      }
      return out
    }
    return [along(q, heads, head, u), along(k, kvHeads, Math.floor(head / (heads / kvHeads)), v)] as const
  }
}
