/** The model's inputs for runs that go through it together. */

import { QkError } from '../errors.js'
import {
  fixedBatch,
  type ModelInput,
  makeArray,
  numberWriter,
  tokenFeeds,
} from '../model/inference/inputs.js'
import type { WireTensor } from '../model/inference/session.js'
import type { Model } from '../model/model.js'
import { sharingOf } from './batch-dependence.js'
import type { Run } from './encode.js'
import { runSize } from './run-size.js'

export interface Batching {
  /** Number of prompts in a batch. */
  size: number
  /** Whether runs of unequal length may share an inference. */
  padded: boolean
  /** Number of runs per inference, in a model with a fixed batch size, or whose rows depend on the others. */
  fixedRuns?: number
  /** Most runs of a length that fit into memory together. */
  mostRuns(length: number): number
}

/** How prompts can be batched, given the model's inputs and the known dependence of its rows. */
export function batchingFor(model: Model, size: number, run = runSize(model)): Batching {
  const sharing = sharingOf(model)
  const fixedRuns = fixedBatch(model.inputs) ?? (sharing === 'alone' ? 1 : undefined)
  return { size, padded: sharing === 'padded', fixedRuns, mostRuns: run.mostRuns }
}

/**
 * The inputs of runs of one kind, padded to the longest. For a model with a fixed batch size, copies of the first run
 * fill the batch.
 */
export function runFeeds(
  inputs: readonly ModelInput[],
  given: readonly Run[],
  padId: number,
  fixedRuns = given.length,
): Record<string, WireTensor> {
  const again = Array.from({ length: Math.max(0, fixedRuns - given.length) }, () => given[0])
  const runs = [...given, ...again]
  if (runs[0].kind === 'tokens') {
    const ids = runs.map((run) => (run.kind === 'tokens' ? run.ids : []))
    const segments = runs.map((run) => (run.kind === 'tokens' ? run.segments : undefined))
    return tokenFeeds(inputs, ids, padId, segments)
  }
  const feeds: Record<string, WireTensor> = {}
  for (const input of inputs) {
    const tensors = runs.map((run) => {
      if (run.kind !== 'inputs') {
        throw new QkError('ERR_INTERNAL', 'runs of different kinds share an inference')
      }
      return run.tensors[input.name]
    })
    const { shape } = tensors[0]
    const size = shape.reduce((a, b) => a * b, 1)
    const data = makeArray(input, runs.length * size)
    const write = numberWriter(data, input.type)
    tensors.forEach(({ values }, b) => {
      for (let i = 0; i < size; i++) {
        write(b * size + i, values[i])
      }
    })
    feeds[input.name] = { type: input.type, dims: [runs.length, ...shape], data }
  }
  return feeds
}
