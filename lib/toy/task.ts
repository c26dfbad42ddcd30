/**
 * Payload retrieval (paper, section 4.1; design, figure 2): each context token carries two latents and a
 * payload, the query carries two latents, and the answer is the payload of the token whose two match.
 *
 *   token = A1 z1 + A2 z2 + payload + noise,   query = B1 z1* + B2 z2* + noise
 */

import type { Prompt } from '../contrast/prompt.js'
import { type Random, seededRandom } from '../math/random.js'

/** The task and the sizes of a payload-retrieval toy (arXiv 2602.04752, toy models). */
export interface ToyConfig {
  /** 1: latents in {-1, +1}; 2: standard normal latents. */
  task: 1 | 2
  /** Size of the latent z1. */
  r1: number
  /** Size of the latent z2. */
  r2: number
  /** Head dimension. */
  dHead: number
  /** Size of a token's embedding. */
  dModel: number
  /** Number of tokens in a context. */
  context: number
  /** Number of different payloads. */
  payloads: number
  /** Standard deviation of the noise on every coordinate of tokens and queries. */
  noise: number
  /** Seed of encoders, initial weights and training data. */
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

/** A batch of training samples. */
export interface ToyBatch {
  size: number
  /** [size, context, dModel] */
  tokens: Float64Array
  /** [size, dModel] */
  queries: Float64Array
  /** Payload of the right answer, [size]. */
  answers: Int32Array
}

/** Called with a token of a sample: its index there, its latents z1 and z2 together, and whether it is the target. */
export type SeenToken = (sample: number, token: number, latents: Float64Array, target: boolean) => void

export class ToyTask {
  readonly encoders: Encoders
  /** [dModel, r1 + r2], of both latents together: A1 above A2 and B1 above B2, transposed. */
  private readonly tokenEncoder: Float64Array
  private readonly queryEncoder: Float64Array
  private readonly noise: Float64Array

  constructor(readonly config: ToyConfig) {
    this.encoders = toyEncoders(config)
    const { a1, a2, b1, b2 } = this.encoders
    this.tokenEncoder = transposedStack(a1, a2, config.dModel)
    this.queryEncoder = transposedStack(b1, b2, config.dModel)
    // Noise is read from a fixed table at random places, since drawing normals would cost more than training.
    this.noise = new Float64Array(1 << 16)
    drawNormals(seededRandom(config.seed ^ 0x5eed), this.noise)
    for (let i = 0; i < this.noise.length; i++) {
      this.noise[i] *= config.noise
    }
  }

  /** A batch to be filled by `sample`. */
  allocate(size: number): ToyBatch {
    const { context, dModel } = this.config
    return {
      size,
      tokens: new Float64Array(size * context * dModel),
      queries: new Float64Array(size * dModel),
      answers: new Int32Array(size),
    }
  }

  /**
   * Fills a batch with fresh samples; exactly one token of each context matches the query in both latents.
   * `seen` is shown every token's latents, valid until it returns, and the query's as those of the target.
   */
  sample(random: Random, batch: ToyBatch, seen?: SeenToken): ToyBatch {
    const { context, dModel, payloads, r1, r2 } = this.config
    const wanted = new Float64Array(r1 + r2)
    const other = new Float64Array(r1 + r2)
    for (let b = 0; b < batch.size; b++) {
      this.drawLatents(random, wanted)
      this.writeQuery(random, batch.queries, b * dModel, wanted)
      const target = random.below(context)
      for (let t = 0; t < context; t++) {
        const payload = random.below(payloads)
        let latents = wanted
        if (t === target) {
          batch.answers[b] = payload
        } else {
          latents = other
          do {
            this.drawLatents(random, other)
          } while (same(other, wanted))
        }
        this.writeToken(random, batch.tokens, (b * context + t) * dModel, latents, payload)
        seen?.(b, t, latents, t === target)
      }
    }
    return batch
  }

  /**
   * Prompts with the contrasts z1 and z2. For z1 the positive key shares z1 with the query, the negative
   * one has z1 redrawn, both share one random z2, and payloads are independent; for z2 likewise. Each
   * prompt has `pairs` such pairs for each contrast.
   */
  contrastPrompts(prompts: number, seed: number, pairs = 4): Prompt[] {
    const random = seededRandom(seed)
    const { dModel, payloads, r1, r2 } = this.config
    const context = pairs * 4
    const features = { z1: [0, r1], z2: [r1, r1 + r2] }
    return Array.from({ length: prompts }, (_, i) => {
      const wanted = new Float64Array(r1 + r2)
      this.drawLatents(random, wanted)
      const query = new Float64Array(dModel)
      this.writeQuery(random, query, 0, wanted)
      const tokens = new Float64Array(context * dModel)
      let at = 0
      const put = (latents: Float64Array) => {
        this.writeToken(random, tokens, at * dModel, latents, random.below(payloads))
        return at++
      }
      const contrasts = Object.fromEntries(
        Object.entries(features).map(([name, [from, to]]) => {
          const terms = Array.from({ length: pairs }, () => {
            const redrawn = new Float64Array(r1 + r2)
            this.drawLatents(random, redrawn)
            const shared = redrawn.slice()
            shared.set(wanted.subarray(from, to), from)
            return {
              query: 0,
              positive: [put(shared)],
              negative: [put(redrawn)],
              label: signs(wanted.subarray(from, to)),
              negativeLabels: [signs(redrawn.subarray(from, to))],
            }
          })
          return [name, { terms }]
        }),
      )
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

  /** z1 and z2 together, [r1 + r2]. */
  private drawLatents(random: Random, out: Float64Array): void {
    if (this.config.task === 2) {
      drawNormals(random, out)
    } else {
      for (let i = 0; i < out.length; i++) {
        out[i] = random.next() < 0.5 ? -1 : 1
      }
    }
  }

  private writeToken(
    random: Random,
    out: Float64Array,
    at: number,
    latents: Float64Array,
    payload: number,
  ): void {
    const { dModel } = this.config
    this.writeEncoded(random, out, at, this.tokenEncoder, latents)
    for (let c = 0; c < dModel; c++) {
      out[at + c] += this.encoders.payload[payload * dModel + c]
    }
  }

  private writeQuery(random: Random, out: Float64Array, at: number, latents: Float64Array): void {
    this.writeEncoded(random, out, at, this.queryEncoder, latents)
  }

  /** out[at..] = E latents + noise, E [dModel, latents] */
  private writeEncoded(
    random: Random,
    out: Float64Array,
    at: number,
    encoder: Float64Array,
    latents: Float64Array,
  ): void {
    const { dModel } = this.config
    const n = latents.length
    const from = random.below(this.noise.length - dModel)
    for (let c = 0; c < dModel; c++) {
      let sum = this.noise[from + c]
      for (let i = 0; i < n; i++) {
        sum += encoder[c * n + i] * latents[i]
      }
      out[at + c] = sum
    }
  }
}

/** Rows of `above` and `below`, [., width], as columns of one matrix [width, rows]. */
function transposedStack(above: Float64Array, below: Float64Array, width: number): Float64Array {
  const rows = (above.length + below.length) / width
  const stacked = Float64Array.of(...above, ...below)
  return stacked.map((_, at) => stacked[(at % rows) * width + Math.floor(at / rows)])
}

/** Standard normals by Box and Muller's pairs. */
function drawNormals(random: Random, out: Float64Array): void {
  for (let i = 0; i < out.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - random.next()))
    const angle = 2 * Math.PI * random.next()
    out[i] = radius * Math.cos(angle)
    if (i + 1 < out.length) {
      out[i + 1] = radius * Math.sin(angle)
    }
  }
}

/** The signs of latents, as in `+-+`. In task 1 they determine the latents; in task 2 they give the orthant. */
export function signs(latents: Float64Array): string {
  return Array.from(latents, (x) => (x > 0 ? '+' : '-')).join('')
}

function same(a: Float64Array, b: Float64Array): boolean {
  for (let i = 0; i < a.length; i++) {
    if (a[i] !== b[i]) {
      return false
    }
  }
  return true
}
