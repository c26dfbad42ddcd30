/** What `qkspace merge` does; loaded with the command, since nothing else needs it. */

import type { BackendChoice } from '../../backend/select.js'
import type { KeptDraws } from '../../covariance/checkpointing.js'
import { type NextStep, readNext } from '../../covariance/saved/next-step.js'
import { mergeSums, readPart } from '../../covariance/saved/parts.js'
import { type Shard, shardName } from '../../covariance/shard.js'
import { disposeSums, type Sums } from '../../covariance/sums.js'
import { QkError } from '../../errors.js'
import type { Model } from '../../model/model.js'
import { type DrawOptions, drawShard, openDraws } from '../../spectrum/rank/draw-parts.js'
import { checkResultPath } from '../../store/result.js'
import type { SweepOptions } from '../../sweep/sweep.js'
import { type DecomposeSettings, finishDecompose } from '../analysis/decompose.js'
import { finishSweepParts } from '../analysis/sweep.js'
import { type ModelOptions, openNamed } from '../common/model-options.js'
import { printLine, progressBar } from '../common/output.js'
import { promptSetOf } from '../common/prompt-options.js'
import { asUsage } from '../common/usage.js'

export interface MergeCommandOptions extends ModelOptions {
  model?: string
  prompts?: string
  backend: BackendChoice
  drawShard?: Shard
  draws?: string[]
  out: string
  json?: boolean
}

export async function mergeParts(parts: string[], options: MergeCommandOptions): Promise<void> {
  const { next: saved } = await readPart(parts[0])
  const next = readNext(parts[0], saved)
  const given = { tokenizer: options.tokenizer, dtype: options.dtype, file: options.file, size: options.size }
  const model = await openNamed(options.model ?? next.model, { ...next.modelOptions, ...defined(given) })
  if (options.drawShard) {
    await drawOnly(model, parts, next, options as MergeCommandOptions & { drawShard: Shard })
    return
  }
  if (next.command === 'decompose') {
    await asUsage(checkResultPath(options.out))
    const sums = await mergeSums(model, parts, { backend: options.backend })
    await withDraws(sums, options.draws, async (checkpoint) => {
      await finishDecompose(sums, next.settings as DecomposeSettings, { ...options, checkpoint })
    })
    return
  }
  const file = options.prompts ?? next.prompts
  if (file === '-' && options.prompts === undefined) {
    throw new QkError(
      'ERR_USAGE',
      'the prompts of the shards came by standard input: give them with --prompts',
    )
  }
  const settings = { ...next.settings, backend: options.backend } as SweepOptions
  const bare = settings.roles !== false
  const prompts = file === undefined ? undefined : await promptSetOf(file, { bare })
  await finishSweepParts(model, prompts, parts, settings, options)
}

async function drawOnly(
  model: Model,
  parts: string[],
  { command, settings }: NextStep,
  { backend, drawShard: shard, out }: MergeCommandOptions & { drawShard: Shard },
): Promise<void> {
  const sums = await mergeSums(model, parts, { backend })
  const bar = progressBar('tests')
  const onProgress = ({ done, total }: { done: number; total: number }) => bar.update(done, total)
  try {
    await drawShard(sums, shard, out, { ...testOf(command, settings), onProgress })
  } finally {
    bar.stop()
    disposeSums(sums)
  }
  printLine(`saved ${out}, draws ${shardName(shard)}`)
}

/** The test of a command, by the options that its shards were given. Errors: ERR_USAGE where it has none. */
function testOf(command: NextStep['command'], settings: object): DrawOptions {
  const { rank, alpha, center, seed } = settings as Partial<DecomposeSettings> & { alpha?: number }
  if (command === 'sweep') {
    return { rank: { rule: 'permutation', alpha }, center, seed }
  }
  if (rank?.rule !== 'permutation') {
    throw new QkError('ERR_USAGE', 'there is nothing to draw: the rank rule of the shards is no test')
  }
  return { rank, center, seed }
}

async function withDraws(
  sums: Sums,
  files: readonly string[] | undefined,
  work: (draws: KeptDraws | undefined) => Promise<void>,
): Promise<void> {
  const draws = files && (await openDraws(sums, files))
  try {
    await work(draws)
  } finally {
    await draws?.close()
  }
}

const defined = <T extends object>(values: T): Partial<T> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>
