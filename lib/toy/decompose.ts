/** The whole pipeline for a toy model: new prompts of its own task, captured, accumulated and decomposed. */

import { accumulate } from '../covariance/accumulate.js'
import { disposeSums } from '../covariance/sums.js'
import type { Model } from '../model/model.js'
import { decompose } from '../spectrum/decompose.js'
import type { RankRule, Result } from '../store/result.js'
import { readToyConfig } from './export.js'
import { ToyTask } from './task.js'

export interface DecomposeToyOptions {
  /**
   * Number of prompts, with four terms per contrast. With the default, sampling leaves under 0.001% of the energy
   * outside.
   */
  prompts?: number
  /** Rank rule; default as for `decompose`, the test. */
  rank?: RankRule
  /** Seed of the prompts. */
  seed?: number
  signal?: AbortSignal
}

/** Contrasts z1 and z2 of head L0H0; their true ranks are r1 and r2. Errors: those of `accumulate`. */
export async function decomposeToy(model: Model, options: DecomposeToyOptions = {}): Promise<Result> {
  const config = readToyConfig(model)
  const { prompts = 5000, rank, seed = config.seed + 100, signal } = options
  const set = new ToyTask(config).contrastPrompts(prompts, seed)
  const sums = await accumulate(model, set, { batchSize: 64, signal })
  const result = await decompose(sums, { rank, signal })
  disposeSums(sums)
  return result
}
