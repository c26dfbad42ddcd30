/** Joins the captured tensors of text that was generated step by step, as if it had been run at once. */

import type { WireTensor } from '../../model/inference/session.js'

/** One captured tensor, as the model computed it. */
export interface CapturedTensor {
  /** Row-major; the bits of float16 in a Uint16Array. */
  data: Float32Array | Uint16Array
  /** Element type: f32, or f16 as bits. */
  dtype: 'f32' | 'f16'
  /** Sizes of the axes, outermost first. */
  shape: number[]
}

/** Names of the captured tensors of one site, as in TransformerLens. */
export interface Hooks {
  /** Queries at the input of the dot product. */
  q: string
  /** Keys at the input of the dot product. */
  k: string
  /** Scores at the input of the softmax. */
  scores: string
  /** The softmax of the scores. */
  pattern: string
}

/** Captured tensors of the steps of one text. The last step has the keys of all positions. */
export class CapturedSteps {
  private readonly steps: Record<string, WireTensor>[] = []

  constructor(private readonly sites: readonly { hooks: Hooks }[]) {}

  add(tensors: Record<string, WireTensor>): void {
    this.steps.push(tensors)
  }

  join(): Record<string, CapturedTensor> {
    const last = this.steps[this.steps.length - 1]
    const joined: Record<string, CapturedTensor> = {}
    for (const { hooks } of this.sites) {
      joined[hooks.k] = captured(last[hooks.k])
      for (const hook of [hooks.q, hooks.scores, hooks.pattern]) {
        if (last[hook]) {
          joined[hook] = this.rows(hook, hook === hooks.q ? 1 : 2, hook === hooks.scores)
        }
      }
    }
    return joined
  }

  /**
   * Concatenates rows of all steps along `axis`. Keys that did not exist yet get a masked score, or zero attention.
   */
  private rows(hook: string, axis: number, masked: boolean): CapturedTensor {
    const parts = this.steps.map((step) => captured(step[hook]))
    if (parts.length === 1) {
      return parts[0]
    }
    const { dtype, shape: end } = parts[parts.length - 1]
    const shape = [...end]
    shape[axis] = parts.reduce((n, part) => n + part.shape[axis], 0)
    const filler = !masked ? 0 : dtype === 'f16' ? F16_MINUS_INFINITY : Number.NEGATIVE_INFINITY
    const size = shape.reduce((a, b) => a * b, 1)
    const data = (dtype === 'f16' ? new Uint16Array(size) : new Float32Array(size)).fill(filler)
    const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1)
    const width = shape.slice(axis + 1).reduce((a, b) => a * b, 1)
    for (let o = 0; o < outer; o++) {
      let row = o * shape[axis]
      for (const part of parts) {
        const own = part.shape.slice(axis + 1).reduce((a, b) => a * b, 1)
        for (let i = 0; i < part.shape[axis]; i++, row++) {
          const from = (o * part.shape[axis] + i) * own
          data.set(part.data.subarray(from, from + own), row * width)
        }
      }
    }
    return { data, dtype, shape }
  }
}

const F16_MINUS_INFINITY = 0xfc00

function captured({ data, dims, type }: WireTensor): CapturedTensor {
  const half = type === 'float16'
  return { data: data as Float32Array, dtype: half ? 'f16' : 'f32', shape: [...dims] }
}
