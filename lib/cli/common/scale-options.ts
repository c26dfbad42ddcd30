/**
 * Options for resuming long commands and distributing them over machines. Their modules are loaded only when they are
 * used.
 */

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Checkpoint } from '../../covariance/saved/checkpoint.js'
import type { Shard } from '../../covariance/shard.js'
import { QkError } from '../../errors.js'

export interface ScaleOptions {
  checkpoint?: string
  every?: number
  shard?: Shard
}

export function addScaleOptions(command: Command): Command {
  return command
    .option('--checkpoint <folder>', 'keep the progress there, and go on from it')
    .addOption(
      new Option('--every <time>', 'time between two checkpoints, as in 60s or 5m').argParser(parseSeconds),
    )
    .addOption(
      new Option(
        '--shard <i/n>',
        'capture every n-th batch only, from the i-th on, and save its sums for qkspace merge',
      ).argParser(parseShard),
    )
}

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600 }

/** `60s`, `5m`, `1h`, or seconds as a number. */
export function parseSeconds(value: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([smh]?)$/.exec(value.trim()) ?? []
  if (number === undefined) {
    throw new InvalidArgumentError('Write a time, as in 60s, 5m or 1h.')
  }
  return Number(number) * (UNITS[unit] ?? 1)
}

/** `3/64`: the third of 64. */
export function parseShard(value: string): Shard {
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(value.trim()) ?? []
  const shard = { index: Number(index), count: Number(count) }
  if (!(shard.index >= 1 && shard.index <= shard.count && Number.isSafeInteger(shard.count))) {
    throw new InvalidArgumentError('Write the number of the shard and how many there are, as in 3/64.')
  }
  return shard
}

/**
 * Runs work with the checkpoint in the options, if any, and closes it afterwards. Errors: ERR_USAGE for `every` alone,
 * those of `openCheckpoint` and of the work.
 */
export async function withCheckpoint<T>(
  { checkpoint: folder, every }: ScaleOptions,
  work: (checkpoint: Checkpoint | undefined) => Promise<T>,
): Promise<T> {
  if (folder === undefined) {
    if (every !== undefined) {
      throw new QkError('ERR_USAGE', '--every says how often --checkpoint is kept, which is not given')
    }
    return work(undefined)
  }
  const { openCheckpoint } = await import('../../covariance/saved/checkpoint.js')
  const checkpoint = await openCheckpoint(folder, { every })
  try {
    return await work(checkpoint)
  } finally {
    await checkpoint.close()
  }
}
