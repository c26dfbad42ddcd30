/**
 * Payload retrieval (paper, section 4.1; design, figure 2): each context token carries two latents and a
 * payload, the query carries two latents, and the answer is the payload of the token whose two match.
 *
 *   token = A1 z1 + A2 z2 + payload + noise,   query = B1 z1* + B2 z2* + noise
 */

import type { Prompt } from '../contrast/prompt.js'
import { type Random, seededRandom } from '../random.js'

export interface ToyConfig {
  /** 1: latents in {-1, +1}; 2: standard normal latents. */
  task: 1 | 2
  r1: number
  r2: number
  dHead: number
  dModel: number
  /** Tokens in a context. */
  context: number
  payloads: number
  noise: number
  /** Fixes encoders, initial weights and training data. */
  seed: number
}

export const TOY_DEFAULTS = { dModel: 32, context: 16, payloads: 10, noise: 0.01 } as const

/** Random and fixed, all row-major: a1, b1 [r1, dModel], a2, b2 [r2, dModel], payload [payloads, dModel]. */
export interface Encoders {
  a1: Float64Array
  a2: Float64Array
  b1: Float64Array
  b2: Float64Array
  payload: Float64Array
}

/** Encoders of a configuration; the same for the same seed. Entries are N(0, 1) / sqrt(r), payloads / sqrt(dModel). */
export function toyEncoders({ r1, r2, dModel, payloads, seed }: ToyConfig): Encoders {
  const random = seededRandom(seed)
  const gaussian = (rows: number, variance: number) =>
    Float64Array.from({ length: rows * dModel }, () => random.normal() * Math.sqrt(variance))
  return {
    a1: gaussian(r1, 1 / r1),
    a2: gaussian(r2, 1 / r2),
    b1: gaussian(r1, 1 / r1),
    b2: gaussian(r2, 1 / r2),
    payload: gaussian(payloads, 1 / dModel),
  }
}

/** Training samples. */
export interface ToyBatch {
  size: number
  /** [size, context, dModel] */
  tokens: Float64Array
  /** [size, dModel] */
  queries: Float64Array
  /** Payload to be returned, [size]. */
  answers: Int32Array
}

export class ToyTask {
  readonly encoders: Encoders
  private readonly noise: Float64Array

  constructor(readonly config: ToyConfig) {
    this.encoders = toyEncoders(config)
    // Drawing normals would cost more than training; noise is read from a fixed table at random places.
    const random = seededRandom(config.seed ^ 0x5eed)
    this.noise = Float64Array.from({ length: 1 << 16 }, () => random.normal() * config.noise)
  }

  /** Fresh samples; exactly one token of each context matches the query in both latents. */
  sample(random: Random, size: number): ToyBatch {
    const { context, dModel, payloads } = this.config
    const tokens = new Float64Array(size * context * dModel)
    const queries = new Float64Array(size * dModel)
    const answers = new Int32Array(size)
    for (let b = 0; b < size; b++) {
      const z1 = this.latent(random, 1)
      const z2 = this.latent(random, 2)
      const target = random.below(context)
      for (let t = 0; t < context; t++) {
        let [y1, y2] = [z1, z2]
        while (t !== target && same(y1, z1) && same(y2, z2)) {
          y1 = this.latent(random, 1)
          y2 = this.latent(random, 2)
        }
        const payload = random.below(payloads)
        if (t === target) answers[b] = payload
        this.writeToken(random, tokens, (b * context + t) * dModel, y1, y2, payload)
      }
      this.writeQuery(random, queries, b * dModel, z1, z2)
    }
    return { size, tokens, queries, answers }
  }

  /**
   * Prompts with the contrasts z1 and z2. For z1 the positive key shares z1 with the query, the negative
   * one has z1 redrawn, both share one random z2, and payloads are independent; for z2 likewise. Each
   * prompt has `pairs` such pairs for each contrast.
   */
  contrastPrompts(prompts: number, seed: number, pairs = 4): Prompt[] {
    const random = seededRandom(seed)
    const { dModel, payloads } = this.config
    const context = pairs * 4
    return Array.from({ length: prompts }, (_, i) => {
      const tokens = new Float64Array(context * dModel)
      const query = new Float64Array(dModel)
      const z1 = this.latent(random, 1)
      const z2 = this.latent(random, 2)
      let at = 0
      const put = (y1: Float64Array, y2: Float64Array) => {
        this.writeToken(random, tokens, at * dModel, y1, y2, random.below(payloads))
        return at++
      }
      const terms = (pair: () => [number, number]) =>
        Array.from({ length: pairs }, () => {
          const [positive, negative] = pair()
          return { query: 0, positive: [positive], negative: [negative] }
        })
      const contrasts = {
        z1: {
          terms: terms(() => {
            const shared = this.latent(random, 2)
            return [put(z1, shared), put(this.latent(random, 1), shared)]
          }),
        },
        z2: {
          terms: terms(() => {
            const shared = this.latent(random, 1)
            return [put(shared, z2), put(shared, this.latent(random, 2))]
          }),
        },
      }
      this.writeQuery(random, query, 0, z1, z2)
      return {
        id: `payload-${i}`,
        contrasts,
        inputs: {
          context: { data: tokens, shape: [context, dModel] },
          query: { data: query, shape: [1, dModel] },
        },
      }
    })
  }

  private latent(random: Random, which: 1 | 2): Float64Array {
    const { task, r1, r2 } = this.config
    const draw = task === 1 ? () => (random.next() < 0.5 ? -1 : 1) : () => random.normal()
    return Float64Array.from({ length: which === 1 ? r1 : r2 }, draw)
  }

  private writeToken(
    random: Random,
    out: Float64Array,
    at: number,
    z1: Float64Array,
    z2: Float64Array,
    payload: number,
  ): void {
    const { a1, a2, payload: embeddings } = this.encoders
    const { dModel } = this.config
    const from = payload * dModel
    for (let c = 0; c < dModel; c++) out[at + c] = embeddings[from + c]
    this.addEncoded(random, out, at, a1, z1, a2, z2)
  }

  private writeQuery(
    random: Random,
    out: Float64Array,
    at: number,
    z1: Float64Array,
    z2: Float64Array,
  ): void {
    this.addEncoded(random, out, at, this.encoders.b1, z1, this.encoders.b2, z2)
  }

  private addEncoded(
    random: Random,
    out: Float64Array,
    at: number,
    e1: Float64Array,
    z1: Float64Array,
    e2: Float64Array,
    z2: Float64Array,
  ): void {
    const { dModel } = this.config
    addRows(out, at, e1, z1, dModel)
    addRows(out, at, e2, z2, dModel)
    const from = random.below(this.noise.length - dModel)
    for (let c = 0; c < dModel; c++) out[at + c] += this.noise[from + c]
  }
}

/** out += sum_i z_i rows_i */
function addRows(out: Float64Array, at: number, rows: Float64Array, z: Float64Array, width: number): void {
  for (let i = 0; i < z.length; i++) {
    const weight = z[i]
    for (let c = 0; c < width; c++) out[at + c] += weight * rows[i * width + c]
  }
}

function same(a: Float64Array, b: Float64Array): boolean {
  return a.every((value, i) => value === b[i])
}
