/** A sweep over several machines: every one captures a shard, and one of them puts the shards together. */

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
 * The capture of one shard of a sweep, saved as one file: what comes after it needs all shards, and is `mergeSweep`'s.
 * `next` is kept in the file, as by `saveSums`. Errors: those of `accumulate` and `saveSums`.
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
 * Puts the files of all shards together and ends the sweep: the same as `sweep` in one pass, with the model, prompts and
 * options that the shards had. `drawFiles` are files that `drawShard` wrote of the merged sums. Errors: those of `mergeSums` and `decompose`; ERR_PARTS where the prompts are others.
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
