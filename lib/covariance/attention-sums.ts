/** Mean attention of each head on the positive and on the negative keys of the terms, summed batch by batch. */

import type { MeasuredGroup } from '../capture/attention-groups.js'
import type { WireTensor } from '../model/inference/session.js'
import { tensorValues } from '../model/inference/values.js'
import type { MeanAttention } from '../store/result.js'

const SIDES = ['positive', 'negative'] as const

export class AttentionSums {
  /** [contrasts, sides, heads] */
  readonly #total: Float64Array
  readonly #perKey: Float64Array
  /** [contrasts, sides] */
  readonly #terms: Float64Array

  constructor(
    contrasts: number,
    private readonly heads: number,
  ) {
    this.#total = new Float64Array(contrasts * 2 * heads)
    this.#perKey = new Float64Array(contrasts * 2 * heads)
    this.#terms = new Float64Array(contrasts * 2)
  }

  /** Adds attention [entries, captured heads], of which our heads begin at `firstHead`. */
  add(groups: readonly MeasuredGroup[], attention: WireTensor, firstHead: number): void {
    const values = tensorValues(attention)
    const width = attention.dims[1]
    for (const { contrast, side, from, to } of groups) {
      const at = contrast * 2 + SIDES.indexOf(side)
      this.#terms[at] += 1
      for (let h = 0; h < this.heads; h++) {
        let sum = 0
        for (let entry = from; entry < to; entry++) {
          sum += values[entry * width + firstHead + h]
        }
        this.#total[at * this.heads + h] += sum
        this.#perKey[at * this.heads + h] += sum / (to - from)
      }
    }
  }

  /** The sums so far: [contrasts, sides, heads] twice, and the terms of each side [contrasts, sides]. */
  get state(): { total: Float64Array; perKey: Float64Array; terms: Float64Array } {
    return { total: this.#total, perKey: this.#perKey, terms: this.#terms }
  }

  /** Adds the sums of another accumulation of the same heads and contrasts. */
  merge({ total, perKey, terms }: AttentionSums['state']): void {
    const add = (sums: Float64Array, more: Float64Array) =>
      more.forEach((x, i) => {
        sums[i] += x
      })
    add(this.#total, total)
    add(this.#perKey, perKey)
    add(this.#terms, terms)
  }

  /** Mean attention. Undefined if the contrast has no terms. */
  mean(contrast: number, head: number): MeanAttention | undefined {
    const [positive, negative] = [0, 1].map((side) => contrast * 2 + side)
    if (this.#terms[positive] === 0 || this.#terms[negative] === 0) {
      return undefined
    }
    const of = (sums: Float64Array, at: number) => sums[at * this.heads + head] / this.#terms[at]
    return {
      positive: of(this.#total, positive),
      negative: of(this.#total, negative),
      perPositive: of(this.#perKey, positive),
      perNegative: of(this.#perKey, negative),
    }
  }
}
