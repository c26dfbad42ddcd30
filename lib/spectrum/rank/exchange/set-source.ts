/** Null matrices of exchangeable keys: the keys of each term are permuted between its sets. */

import type { TermBatch } from '../../../backend/backend.js'
import type { BackendChoice } from '../../../backend/select.js'
import type { PlainRows } from '../../../covariance/kept/term-rows.js'
import type { UnitKey } from '../../../math/unit-hash.js'
import { CovarianceSource, centredRows } from './covariance-source.js'
import { KeySets } from './key-sets.js'
import type { Hypothesis, NullData, NullSource } from './null-source.js'

export class SetData implements NullData {
  readonly heads: number
  readonly headDim: number
  readonly units: readonly UnitKey[]
  readonly assumesSymmetry = false
  readonly leastP: number

  /**
   * `unit` [terms] are indices into `units`. `flips` holds the same terms, for the parts of the test that can use
   * signs.
   */
  constructor(
    private readonly backend: BackendChoice,
    private readonly rows: PlainRows,
    private readonly terms: TermBatch,
    private readonly unit: Int32Array,
    units: readonly UnitKey[],
    private readonly seed: number,
    private readonly flips: NullData,
  ) {
    this.heads = rows.heads
    this.headDim = rows.headDim
    this.units = units
    this.leastP = flips.leastP
    // Refuses keys that are not exchangeable before any work is done.
    this.#sets(() => true)
  }

  async source(hypothesis: Hypothesis, keep: (unit: UnitKey) => boolean = () => true): Promise<NullSource> {
    const { terms, sets } = this.#sets(keep)
    const rows = centredRows(this.rows, hypothesis, terms.query, [...terms.pos, ...terms.neg])
    return new SetSource(this.backend, rows, sets, await this.flips.source(hypothesis, keep))
  }

  #sets(keep: (unit: UnitKey) => boolean): { terms: TermBatch; sets: KeySets } {
    const of = (t: number) => this.units[this.unit[t]]
    const chosen = [...this.unit.keys()].filter((t) => keep(of(t)))
    const terms = chosenTerms(this.terms, chosen)
    return { terms, sets: new KeySets(terms, chosen.map(of), this.seed) }
  }
}

class SetSource extends CovarianceSource implements NullSource {
  readonly units: readonly UnitKey[]

  constructor(
    backend: BackendChoice,
    rows: PlainRows,
    private readonly sets: KeySets,
    private readonly flips: NullSource,
  ) {
    super(backend, rows)
    this.units = flips.units
  }

  async matrices(
    heads: readonly number[],
    from: number,
    to: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const terms = await this.sets.termsOf(from, to, signal)
    const { positive, negative } = await this.moments(heads, [{ terms }], to - from, signal)
    const size = heads.length * this.headDim ** 2
    return positive.qk.map((x, i) => {
      const c = Math.floor(i / size)
      return x / (positive.weight[c] || 1) - negative.qk[i] / (negative.weight[c] || 1)
    })
  }

  nullFactor(): number {
    return 1
  }

  contributions(head: number, u: Float64Array, v: Float64Array, columns: number, signal?: AbortSignal) {
    return this.flips.contributions(head, u, v, columns, signal)
  }

  directed(head: number, u: Float64Array, v: Float64Array, draws: number, signal?: AbortSignal) {
    return this.flips.directed(head, u, v, draws, signal)
  }

  override release(): void {
    super.release()
    this.flips.release()
  }
}

/** Some terms of a batch, in that order. */
export function chosenTerms(from: TermBatch, chosen: readonly number[]): TermBatch {
  const pick = (array: Int32Array) => Int32Array.from(chosen, (t) => array[t])
  const sets = <T extends Int32Array | Float32Array>(array: T, offsets: Int32Array): T => {
    const parts = chosen.map((t) => array.subarray(offsets[t], offsets[t + 1]))
    const out = new (array.constructor as new (length: number) => T)(
      parts.reduce((n, part) => n + part.length, 0),
    )
    let at = 0
    for (const part of parts) {
      out.set(part, at)
      at += part.length
    }
    return out
  }
  const offsets = (array: Int32Array) => {
    const out = new Int32Array(chosen.length + 1)
    chosen.forEach((t, i) => {
      out[i + 1] = out[i] + array[t + 1] - array[t]
    })
    return out
  }
  const { posOffsets, negOffsets, weights, posWeights, negWeights } = from
  return {
    contrast: pick(from.contrast),
    query: pick(from.query),
    queryNeg: pick(from.queryNeg),
    posOffsets: offsets(posOffsets),
    pos: sets(from.pos, posOffsets),
    negOffsets: offsets(negOffsets),
    neg: sets(from.neg, negOffsets),
    weights: weights && Float32Array.from(chosen, (t) => weights[t]),
    posWeights: posWeights && sets(posWeights, posOffsets),
    negWeights: negWeights && sets(negWeights, negOffsets),
  }
}
