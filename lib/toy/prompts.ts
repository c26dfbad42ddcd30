/** Payload-retrieval prompts (paper, figure 2) as a prompt family: see `ToyTask.contrastPrompts`. */

import type { Prompt } from '../contrast/prompt.js'
import { QkError } from '../errors.js'
import { checkInteger, checkOptions, checkSeed } from '../validate.js'
import { TOY_DEFAULTS, type ToyConfig, ToyTask } from './task.js'

/** Options of prompts for a payload-retrieval toy (arXiv 2602.04752, toy models). */
export interface PayloadOptions extends Partial<Omit<ToyConfig, 'seed' | 'task' | 'r1' | 'r2'>> {
  /** 1: latents of -1 and +1; 2: standard normal latents. */
  task: 1 | 2
  /** Size of the latent z1. */
  r1: number
  /** Size of the latent z2. */
  r2: number
  /** The seed of the toy model, which fixes its encoders: `readToyConfig(model).seed`; default 1. */
  toySeed?: number
  /** Number of prompts. */
  prompts: number
  /** Seed of all random choices for the prompts. */
  seed: number
  /** Number of key pairs per contrast; a prompt has four tokens per pair. Default 4. */
  pairs?: number
}

const OPTIONS = {
  task: true,
  r1: true,
  r2: true,
  toySeed: true,
  prompts: true,
  seed: true,
  pairs: true,
  dHead: true,
  dModel: true,
  context: true,
  payloads: true,
  noise: true,
} satisfies Record<keyof PayloadOptions, true>
/**
 * Prompts with the contrasts `z1` and `z2`, as inputs `query` [1, dModel] and `context` [4 pairs, dModel] of a
 * toy model. For z1 the positive key shares z1 with the query, the negative one has z1 redrawn, both share one
 * random z2, and payloads are independent; for z2 likewise. They belong to the model whose configuration has
 * the same sizes, noise and seed: its encoders follow from these.
 *
 * Errors: ERR_ARGUMENT.
 */
export function payloadPrompts(options: PayloadOptions): Prompt[] {
  checkOptions(options, OPTIONS, 'payloadPrompts')
  const { task, r1, r2, toySeed = 1, prompts, seed, pairs = 4, dHead = 16 } = options
  const { dModel = TOY_DEFAULTS.dModel, context = TOY_DEFAULTS.context } = options
  const { payloads = TOY_DEFAULTS.payloads, noise = TOY_DEFAULTS.noise } = options
  if (task !== 1 && task !== 2) {
    throw new QkError('ERR_ARGUMENT', `there is no task ${task}`, { hint: 'The tasks are 1 and 2.' })
  }
  for (const [name, value] of Object.entries({ r1, r2, dModel, payloads, pairs, prompts })) {
    checkInteger(value, name, 1)
  }
  if (!(noise >= 0 && noise < Number.POSITIVE_INFINITY)) {
    throw new QkError('ERR_ARGUMENT', `noise is a standard deviation of at least 0, not ${noise}`)
  }
  checkSeed(seed)
  checkSeed(toySeed, 'toySeed')
  const toy = new ToyTask({ task, r1, r2, dHead, dModel, context, payloads, noise, seed: toySeed })
  return toy.contrastPrompts(prompts, seed, pairs)
}
