/** The whole way for a toy model: fresh prompts of its own task, captured, accumulated and decomposed. */

import { accumulate, disposeSums } from '../covariance/accumulate.js'
import type { Model } from '../model/model.js'
import { decompose } from '../spectrum/decompose.js'
import type { Result } from '../store/result.js'
import { readToyConfig } from './export.js'
import { ToyTask } from './task.js'

export interface DecomposeToyOptions {
  /** Prompts, of four terms a contrast. With the default, sampling leaves under 0.001% of the energy outside. */
  prompts?: number
  /** Fraction of the energy at which the rank is counted. */
  energy?: number
  /** Seed of the prompts. */
  seed?: number
  signal?: AbortSignal
}

/** Contrasts z1 and z2 of head L0H0; their true ranks are r1 and r2. Errors: those of `accumulate`. */
export async function decomposeToy(model: Model, options: DecomposeToyOptions = {}): Promise<Result> {
  const config = readToyConfig(model)
  const { prompts = 5000, energy = 0.99, seed = config.seed + 100, signal } = options
  const set = new ToyTask(config).contrastPrompts(prompts, seed)
  const sums = await accumulate(model, set, { batchSize: 64, signal })
  const result = await decompose(sums, { rank: { rule: 'energy', threshold: energy }, signal })
  disposeSums(sums)
  return result
}
