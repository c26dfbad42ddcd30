/**
 * What a permutation test of a contrast exchanges (design: "Rank"). The exchangeable unit is a prompt, or whatever the
 * caller groups: terms of one key against one, and counterfactual terms, of a unit flip sign together; terms with
 * sets of keys permute which of their keys are positive, all terms of a unit with as many keys in the same way.
 */

import type { Estimator, TermBatch } from '../../backend/backend.js'
import { cooperator } from '../../backend/cooperate.js'
import { seededRandom } from '../../math/random.js'

export class Permutations {
  /** Keys of all terms: those of term t from `firstSlot[t]`, its positive ones first. */
  readonly slots: number
  readonly #terms: TermBatch
  readonly #units: Int32Array
  readonly #seed: number

  /** `units` [terms]: whole numbers; terms with the same are exchanged together. */
  constructor(terms: TermBatch, units: Int32Array, seed: number) {
    this.#terms = terms
    this.#units = units
    this.#seed = seed
    this.slots = terms.pos.length + terms.neg.length
  }

  get terms(): number {
    return this.#terms.query.length
  }

  /** Whether each slot is positive, [slots]. Draw 0 is what was observed; another draw of a seed is always the same. */
  roles(draw: number): Uint8Array {
    const { posOffsets, negOffsets, query, queryNeg } = this.#terms
    const roles = new Uint8Array(this.slots)
    const known = new Map<string, Uint8Array>()
    for (let t = 0, slot = 0; t < query.length; t++) {
      const positive = posOffsets[t + 1] - posOffsets[t]
      const size = positive + negOffsets[t + 1] - negOffsets[t]
      const flips = size === 2 || query[t] !== queryNeg[t]
      const unit = this.#units[t]
      const key = flips ? `${unit}` : `${unit}:${positive}:${size}`
      let drawn = known.get(key)
      if (!drawn) {
        drawn = this.#draw(draw, unit, flips ? 0 : positive, flips ? 0 : size)
        known.set(key, drawn)
      }
      for (let i = 0; i < size; i++, slot++) roles[slot] = flips ? Number(i < positive) ^ drawn[0] : drawn[i]
    }
    return roles
  }

  /** Of a flip, [1]: whether the sign is turned. Of a set, [size]: which keys are positive. */
  #draw(draw: number, unit: number, positive: number, size: number): Uint8Array {
    const random = seededRandom(mixed(this.#seed, draw, unit, positive, size))
    if (size === 0) return Uint8Array.of(draw === 0 ? 0 : random.below(2))
    const order = Array.from({ length: size }, (_, i) => i)
    const chosen = draw === 0 ? order.slice(0, positive) : random.sample(order, positive)
    const roles = new Uint8Array(size)
    for (const i of chosen) roles[i] = 1
    return roles
  }

  /** The terms of draws as contrasts of their own: draw `from + c` is contrast c. Errors: ERR_ABORTED. */
  async termsOf(from: number, to: number, signal?: AbortSignal): Promise<TermBatch> {
    const pause = cooperator(signal)
    const { posOffsets, negOffsets, pos, neg, query, queryNeg, weights } = this.#terms
    const draws = to - from
    const terms = this.terms
    const count = draws * terms
    const out: TermBatch = {
      contrast: new Int32Array(count),
      query: new Int32Array(count),
      queryNeg: new Int32Array(count),
      posOffsets: new Int32Array(count + 1),
      pos: new Int32Array(draws * this.slots),
      negOffsets: new Int32Array(count + 1),
      neg: new Int32Array(draws * this.slots),
      weights: weights && new Float32Array(count),
    }
    let p = 0
    let n = 0
    for (let c = 0, at = 0; c < draws; c++) {
      const roles = this.roles(from + c)
      for (let t = 0, slot = 0; t < terms; t++, at++) {
        out.contrast[at] = c
        if (out.weights) out.weights[at] = weights![t]
        const first = posOffsets[t + 1] - posOffsets[t]
        const size = first + negOffsets[t + 1] - negOffsets[t]
        for (let i = 0; i < size; i++, slot++) {
          const own = i < first
          const key = own ? pos[posOffsets[t] + i] : neg[negOffsets[t] + i - first]
          const row = own ? query[t] : queryNeg[t]
          if (roles[slot]) {
            out.pos[p++] = key
            out.query[at] = row
          } else {
            out.neg[n++] = key
            out.queryNeg[at] = row
          }
        }
        out.posOffsets[at + 1] = p
        out.negOffsets[at + 1] = n
      }
      await pause()
    }
    return { ...out, pos: out.pos.subarray(0, p), neg: out.neg.subarray(0, n) }
  }

  /** Rows of q and of k that the slots multiply, [slots]. */
  rows(): { query: Int32Array; key: Int32Array } {
    const { posOffsets, negOffsets, pos, neg, query, queryNeg } = this.#terms
    const rows = { query: new Int32Array(this.slots), key: new Int32Array(this.slots) }
    for (let t = 0, slot = 0; t < this.terms; t++) {
      for (let j = posOffsets[t]; j < posOffsets[t + 1]; j++, slot++) {
        rows.query[slot] = query[t]
        rows.key[slot] = pos[j]
      }
      for (let j = negOffsets[t]; j < negOffsets[t + 1]; j++, slot++) {
        rows.query[slot] = queryNeg[t]
        rows.key[slot] = neg[j]
      }
    }
    return rows
  }

  /** a [draws, slots] of ΔC_b = sum_r a_br q_r k_r^T under an estimator. Errors: ERR_ABORTED. */
  async coefficients(
    from: number,
    to: number,
    estimator: Estimator,
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    const pause = cooperator(signal)
    const { posOffsets, negOffsets, weights } = this.#terms
    const out = new Float32Array((to - from) * this.slots)
    for (let draw = from; draw < to; draw++) {
      const roles = this.roles(draw)
      const row = out.subarray((draw - from) * this.slots, (draw - from + 1) * this.slots)
      const total = [0, 0]
      for (let t = 0, slot = 0; t < this.terms; t++) {
        const size = posOffsets[t + 1] - posOffsets[t] + negOffsets[t + 1] - negOffsets[t]
        const weight = weights?.[t] ?? 1
        let positive = 0
        for (let i = 0; i < size; i++) positive += roles[slot + i]
        const counts = [size - positive, positive]
        for (const role of [0, 1]) total[role] += estimator === 'per-pair' ? weight * counts[role] : weight
        for (let i = 0; i < size; i++, slot++) {
          const role = roles[slot]
          row[slot] = estimator === 'per-query' ? weight / counts[role] : weight
        }
      }
      // Where all weights are zero, so is the matrix, as in covariances.
      const [negative, positive] = total.map((weight) => weight || 1)
      for (let slot = 0; slot < row.length; slot++) {
        row[slot] = roles[slot] ? row[slot] / positive : -row[slot] / negative
      }
      await pause()
    }
    return out
  }
}

/** 32 bits that follow from whole numbers; neighbouring ones give unrelated bits (the mixer of MurmurHash3). */
function mixed(...numbers: number[]): number {
  let state = 0x9e3779b9
  for (const number of numbers) {
    for (const part of [number >>> 0, Math.floor(number / 2 ** 32) >>> 0]) {
      state ^= part
      state = Math.imul(state ^ (state >>> 16), 0x85ebca6b)
      state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35)
      state = (state ^ (state >>> 16)) + 0x9e3779b9
    }
  }
  return state >>> 0
}
