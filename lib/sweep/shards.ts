/** Distributes a sweep over several machines: each captures a shard, and one merges the shards. */

import type { Prompts } from '../contrast/prompt-set.js'
import { checkPartPath, mergeSums, saveSums } from '../covariance/saved/parts.js'
import type { Shard } from '../covariance/shard.js'
import { disposeSums } from '../covariance/sums.js'
import { QkError } from '../errors.js'
import type { Model } from '../model/model.js'
import { openDraws } from '../spectrum/rank/draw-parts.js'
import { preparedSet } from './prepared-set.js'
import { captureSweep, checkedSweep, finishSweep, type SweepOptions } from './sweep.js'
import type { SweepResult } from './sweep-result.js'

/**
 * Captures one shard of a sweep and saves it as one file. The later steps need all shards; `mergeSweep` does them.
 * `next` is stored in the file, as by `saveSums`. Errors: those of `accumulate` and `saveSums`.
 */
export async function sweepShard(
  model: Model,
  prompts: Prompts | undefined,
  shard: Shard,
  file: string,
  options: SweepOptions = {},
  next: unknown = null,
): Promise<void> {
  const settings = checkedSweep(model, options, 'sweepShard')
  await checkPartPath(file)
  const sums = await captureSweep(model, await preparedSet(model, prompts, settings), settings, shard)
  try {
    await saveSums(sums, file, next)
  } finally {
    disposeSums(sums)
  }
}

/**
 * Merges the files of all shards and completes the sweep. The result equals that of `sweep` in one pass, given the
 * model, prompts and options of the shards. `drawFiles` are files that `drawShard` wrote for the merged sums. Errors:
 * those of `mergeSums` and `decompose`; ERR_PARTS if the prompts differ.
 */
export async function mergeSweep(
  model: Model,
  prompts: Prompts | undefined,
  files: readonly string[],
  { drawFiles, ...options }: SweepOptions & { drawFiles?: readonly string[] } = {},
): Promise<SweepResult> {
  const settings = checkedSweep(model, options, 'mergeSweep')
  const { backend, threads, memoryLimit, signal } = settings
  const prepared = await preparedSet(model, prompts, settings)
  const sums = await mergeSums(model, files, { backend, threads, memoryLimit, signal })
  const { sha256 } = await prepared.set.summary(signal)
  if (sha256 !== sums.prompts.sha256) {
    disposeSums(sums)
    throw new QkError('ERR_PARTS', 'the prompts, roles or seed are not those of the parts', {
      hint: 'Give the prompt set and the options that the shards were run with.',
    })
  }
  const draws = drawFiles && (await openDraws(sums, drawFiles))
  try {
    return await finishSweep(model, prepared, sums, settings, draws)
  } finally {
    await draws?.close()
  }
}
