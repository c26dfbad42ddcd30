/**
 * Null matrices of label sequences: sum_u D_u(y_π(u)) - D̄, where every sequence has the labels of another one of its
 * shape. D̄ is the sum of each sequence's mean over the others' labels (docs/method.md, Rank 3). Sign flips would be
 * wrong here, since labels that repeat, alternate or drift with the position make contributions one-sided.
 */

import type { Estimator, LabelSequence } from '../../../backend/backend.js'
import { cooperator } from '../../../backend/cooperate.js'
import type { BackendChoice } from '../../../backend/select.js'
import type { PlainRows } from '../../../covariance/kept/term-rows.js'
import { STREAMS, type UnitKey } from '../../../math/unit-hash.js'
import { CovarianceSource, centredRows } from './covariance-source.js'
import { labelForm, type SideWeights } from './label-form.js'
import {
  donorsOf,
  exchangeable,
  exchangeGroups,
  type LabelUnit,
  leastPOf,
  meanDonors,
  withLabelsOf,
} from './label-sequences.js'
import type { Hypothesis, NullData, NullSource } from './null-source.js'

export class LabelData implements NullData {
  readonly heads: number
  readonly headDim: number
  readonly units: readonly UnitKey[]
  readonly assumesSymmetry = false
  readonly leastP: number

  /**
   * `sequences` in ascending order of their keys; `load` gives their rows, which are not kept between two sources.
   */
  constructor(
    private readonly backend: BackendChoice,
    sizes: Pick<PlainRows, 'heads' | 'headDim'>,
    private readonly load: () => Promise<PlainRows>,
    private readonly sequences: readonly LabelUnit[],
    private readonly seed: number,
  ) {
    this.heads = sizes.heads
    this.headDim = sizes.headDim
    const units = exchangeable(sequences)
    this.units = units.map(({ key }) => key)
    this.leastP = leastPOf(units)
  }

  async source(hypothesis: Hypothesis, keep: (unit: UnitKey) => boolean = () => true): Promise<NullSource> {
    const units = exchangeable(this.sequences.filter(({ whole }) => keep(whole)))
    const sequences = units.flatMap((unit) => unit.sequences)
    const queries = new Set(sequences.flatMap(({ queryRows }) => [...queryRows]))
    const keys = new Set(sequences.flatMap(({ keyRows }) => [...keyRows]))
    const rows = centredRows(await this.load(), hypothesis, queries, keys)
    return new LabelSource(this.backend, rows, units, this.seed)
  }
}

/** Most sequences in one call of a backend. */
const MOST_SEQUENCES = 4_096
/** Most units for which the forms of all pairs are kept. */
const MOST_KEPT = 2_048

class LabelSource extends CovarianceSource implements NullSource {
  readonly units: readonly UnitKey[]
  readonly #groups: number[][]
  readonly #means = new Map<number, Float64Array>()
  #weights: SideWeights | undefined

  constructor(
    backend: BackendChoice,
    rows: PlainRows,
    private readonly labelled: readonly LabelUnit[],
    private readonly seed: number,
  ) {
    super(backend, rows)
    this.units = labelled.map(({ key }) => key)
    this.#groups = exchangeGroups(labelled)
  }

  nullFactor(): number {
    return 1
  }

  async contributions(
    head: number,
    u: Float64Array,
    v: Float64Array,
    columns: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const n = this.labelled.length
    const out = new Float64Array(columns * n)
    for (let c = 0; c < columns; c++) {
      const form = this.#forms(head, u, v, columns, c)
      const means = await this.#meanForms(form, signal)
      for (let i = 0; i < n; i++) {
        out[c * n + i] = form(i, i) - means[i]
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
    const form = this.#forms(head, u, v, 1, 0)
    const pause = cooperator(signal)
    const out = new Float64Array(draws)
    for (let draw = 0; draw < draws; draw++) {
      const donors = donorsOf(this.labelled, this.#groups, this.seed, draw, STREAMS.oneSided)
      for (let i = 0; i < donors.length; i++) {
        out[draw] += form(i, donors[i])
        await pause()
      }
    }
    // The expectation of a one-sided sum without an effect is its mean over all exchanges.
    const mean = (await this.#meanForms(form, signal)).reduce((sum, x) => sum + x, 0)
    return out.map((x) => x - mean)
  }

  /** sum_u D_u(y_π(u)) - D̄ of draws [from, to), [draws, heads, d, d]. */
  async matrices(
    heads: readonly number[],
    from: number,
    to: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const exchanged = function* (this: LabelSource): Generator<LabelSequence> {
      for (let draw = from; draw < to; draw++) {
        const donors = donorsOf(this.labelled, this.#groups, this.seed, draw)
        for (const [i, unit] of this.labelled.entries()) {
          for (const sequence of withLabelsOf(unit, this.labelled[donors[i]])) {
            yield { ...sequence, contrast: draw - from }
          }
        }
      }
    }
    const out = await this.#sums(heads, exchanged.call(this), to - from, signal)
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
    if (missing.length === 0) {
      return this.#means
    }
    const size = this.headDim ** 2
    const means = new Map(missing.map((head) => [head, new Float64Array(size)]))
    for (const group of this.#groups) {
      const count = meanDonors(group, group[0]).length
      const everyPair = function* (this: LabelSource): Generator<LabelSequence> {
        for (const i of group) {
          for (const donor of meanDonors(group, i)) {
            yield* withLabelsOf(this.labelled[i], this.labelled[donor])
          }
        }
      }
      const sums = await this.#sums(missing, everyPair.call(this), 1, signal)
      missing.forEach((head, h) => {
        const mean = means.get(head)!
        for (let i = 0; i < size; i++) {
          mean[i] += sums[h * size + i] / count
        }
      })
    }
    for (const [head, mean] of means) {
      this.#means.set(head, mean)
    }
    return this.#means
  }

  /** Contributions of sequences summed by their contrast, [contrasts, heads, d, d], over the observed weights. */
  async #sums(
    heads: readonly number[],
    sequences: Iterable<LabelSequence>,
    contrasts: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const weights = this.#sideWeights()
    const { positive, negative } = await this.moments(heads, inBatches(sequences), contrasts, signal)
    return positive.qk.map((x, i) => x / weights[0] - negative.qk[i] / weights[1])
  }

  /**
   * Divisors of the sides: the number of counted queries (`per-query`, `sum`), or of pairs of each side (`per-pair`).
   */
  #sideWeights(): SideWeights {
    if (this.#weights) {
      return this.#weights
    }
    const ones = new Float64Array(Math.max(this.rows.q.length, this.rows.k.length) / this.headDim).fill(1)
    const count = (estimator: Estimator, sides: SideWeights) => {
      let sum = 0
      for (const { sequences } of this.labelled) {
        for (const sequence of sequences) {
          sum += labelForm(sequence, ones, ones, estimator, sides)
        }
      }
      return sum
    }
    const infinite = Number.POSITIVE_INFINITY
    if (this.rows.estimator === 'per-pair') {
      this.#weights = [count('sum', [1, infinite]) || 1, -count('sum', [infinite, 1]) || 1]
    } else {
      const queries = count('per-query', [1, infinite]) || 1
      this.#weights = [queries, queries]
    }
    return this.#weights
  }

  /** u^T D_i v of unit i with the labels of a donor, where u and v are column c. */
  #forms(head: number, u: Float64Array, v: Float64Array, columns: number, c: number) {
    const [a, b] = this.#projected(head, u, v, columns, c)
    const weights = this.#sideWeights()
    const n = this.labelled.length
    const known = n <= MOST_KEPT ? new Float64Array(n * n).fill(Number.NaN) : undefined
    return (unit: number, donor: number): number => {
      const at = unit * n + donor
      if (known && !Number.isNaN(known[at])) {
        return known[at]
      }
      let value = 0
      for (const sequence of withLabelsOf(this.labelled[unit], this.labelled[donor])) {
        value += labelForm(sequence, a, b, this.rows.estimator, weights)
      }
      if (known) {
        known[at] = value
      }
      return value
    }
  }

  /** The mean of each unit's form over its donors, [units]. */
  async #meanForms(
    form: (unit: number, donor: number) => number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const pause = cooperator(signal)
    const means = new Float64Array(this.labelled.length)
    for (const group of this.#groups) {
      for (const i of group) {
        const donors = meanDonors(group, i)
        for (const donor of donors) {
          means[i] += form(i, donor) / donors.length
          await pause()
        }
      }
    }
    return means
  }

  /** Products of column c of u with every query row, and of v with every key row, of a head. */
  #projected(head: number, u: Float64Array, v: Float64Array, columns: number, c: number) {
    const { q, k, heads, kvHeads, headDim: d } = this.rows
    const along = (data: Float32Array, count: number, of: number, basis: Float64Array) => {
      const out = new Float64Array(data.length / (count * d))
      for (let row = 0; row < out.length; row++) {
        for (let i = 0; i < d; i++) {
          out[row] += data[(row * count + of) * d + i] * basis[i * columns + c]
        }
      }
      return out
    }
    return [along(q, heads, head, u), along(k, kvHeads, Math.floor(head / (heads / kvHeads)), v)] as const
  }
}

function* inBatches(sequences: Iterable<LabelSequence>): Generator<{ labels: LabelSequence[] }> {
  let labels: LabelSequence[] = []
  for (const sequence of sequences) {
    labels.push(sequence)
    if (labels.length < MOST_SEQUENCES) {
      continue
    }
    yield { labels }
    labels = []
  }
  if (labels.length > 0) {
    yield { labels }
  }
}
