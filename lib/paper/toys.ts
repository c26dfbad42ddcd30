/** Toy models accumulated and decomposed as the paper does, with null subspaces beside every subspace. */

import { accumulate } from '../covariance/accumulate.js'
import { disposeSums, type Sums } from '../covariance/sums.js'
import type { Model } from '../model/model.js'
import { decompose } from '../spectrum/decompose.js'
import type { Result } from '../store/result.js'
import { readToyConfig } from '../toy/export.js'
import { ToyTask } from '../toy/task.js'
import { derivedSeed, type FigureContext, NULLS, PAPER_RULE } from './figure.js'
import { exchangeLabels, labelled } from './random-labels.js'

/** Contrasts z1 and z2 of the head L0H0; `set` counts exchanged sets of prompts, in which there is nothing to find. */
export async function accumulateToy(model: Model, context: FigureContext, set?: number): Promise<Sums> {
  const { sizes, seed, signal } = context
  const prompts = new ToyTask(readToyConfig(model)).contrastPrompts(sizes.toyPrompts, derivedSeed(seed, 100))
  const own = labelled(prompts, context)
  const exchanged = set === undefined ? own : exchangeLabels(own, derivedSeed(seed, 110 + set))
  return accumulate(model, exchanged, { batchSize: 64, attention: false, signal })
}

/** By the paper's rule of rank. Errors: those of `accumulate`. */
export async function decomposeToy(model: Model, context: FigureContext): Promise<Result> {
  const sums = await accumulateToy(model, context)
  try {
    return await decompose(sums, { rank: PAPER_RULE, nulls: NULLS, signal: context.signal })
  } finally {
    disposeSums(sums)
  }
}
