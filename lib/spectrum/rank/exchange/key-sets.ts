/**
 * Exchangeable keys: every draw permutes which keys of a term are positive. All terms of a unit with the same number
 * of keys are permuted alike (docs/method.md, Rank 3). This is valid only if the keys of a term could have changed
 * places, and no two terms share a key; otherwise it is refused.
 */

import type { TermBatch } from '../../../backend/backend.js'
import { cooperator } from '../../../backend/cooperate.js'
import { QkError } from '../../../errors.js'
import { seededRandom } from '../../../math/random.js'
import { STREAMS, type UnitKey, unitWord } from '../../../math/unit-hash.js'

export class KeySets {
  readonly #terms: TermBatch
  readonly #units: readonly UnitKey[]
  readonly #seed: number

  /**
   * `units`: the unit of each term. Errors: ERR_ARGUMENT if keys are shared, weighted, or from the run of another
   * query.
   */
  constructor(terms: TermBatch, units: readonly UnitKey[], seed: number) {
    refuseShared(terms)
    this.#terms = terms
    this.#units = units
    this.#seed = seed
  }

  /**
   * Terms of draws [from, to); draw `from + c` is contrast c, and draw 0 is the observed one. Errors: ERR_ABORTED.
   */
  async termsOf(from: number, to: number, signal?: AbortSignal): Promise<TermBatch> {
    const pause = cooperator(signal)
    const { posOffsets, negOffsets, pos, neg, query, weights } = this.#terms
    const [draws, count] = [to - from, query.length]
    const repeated = <T extends Int32Array | Float32Array>(array: T): T => {
      const out = new (array.constructor as new (length: number) => T)(draws * array.length)
      for (let c = 0; c < draws; c++) {
        out.set(array, c * array.length)
      }
      return out
    }
    const offsets = (array: Int32Array) => {
      const out = new Int32Array(draws * count + 1)
      const each = array[count]
      for (let c = 0; c < draws; c++) {
        for (let t = 0; t < count; t++) {
          out[c * count + t + 1] = c * each + array[t + 1]
        }
      }
      return out
    }
    const out: TermBatch = {
      contrast: Int32Array.from({ length: draws * count }, (_, i) => Math.floor(i / count)),
      query: repeated(query),
      queryNeg: repeated(query),
      posOffsets: offsets(posOffsets),
      pos: new Int32Array(draws * pos.length),
      negOffsets: offsets(negOffsets),
      neg: new Int32Array(draws * neg.length),
      weights: weights && repeated(weights),
    }
    for (let c = 0; c < draws; c++) {
      for (let t = 0; t < count; t++) {
        const keys = [
          ...pos.subarray(posOffsets[t], posOffsets[t + 1]),
          ...neg.subarray(negOffsets[t], negOffsets[t + 1]),
        ]
        const positive = posOffsets[t + 1] - posOffsets[t]
        const order = this.#order(from + c, t, keys.length, positive)
        order.forEach((key, i) => {
          if (i < positive) {
            out.pos[c * pos.length + posOffsets[t] + i] = keys[key]
          } else {
            out.neg[c * neg.length + negOffsets[t] + i - positive] = keys[key]
          }
        })
      }
      await pause()
    }
    return out
  }

  /** The order of a term's keys in a draw. The first keys are positive. */
  #order(draw: number, t: number, size: number, positive: number): number[] {
    const order = Array.from({ length: size }, (_, i) => i)
    if (draw === 0) {
      return order
    }
    const stream = STREAMS.sets + 16 * size + 65536 * positive
    const random = seededRandom(unitWord(this.#seed, this.#units[t], stream, draw))
    return random.sample(order, size)
  }
}

function refuseShared({ pos, neg, query, queryNeg, posWeights, negWeights }: TermBatch): void {
  const hint = 'Leave exchangeable out: signs of whole units are then turned, which asks for less.'
  if (posWeights || negWeights) {
    throw new QkError('ERR_ARGUMENT', 'weighted keys are not exchangeable', { hint })
  }
  if (query.some((row, t) => row !== queryNeg[t])) {
    throw new QkError('ERR_ARGUMENT', 'keys of a counterfactual are not exchangeable: their queries differ', {
      hint,
    })
  }
  const seen = new Set<number>()
  for (const key of [...pos, ...neg]) {
    if (seen.has(key)) {
      throw new QkError('ERR_ARGUMENT', `key row ${key} is in two sets: shared keys are not exchangeable`, {
        hint,
      })
    }
    seen.add(key)
  }
}
