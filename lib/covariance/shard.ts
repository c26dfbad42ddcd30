/** Shards: the parts into which the work is divided between machines. */

import { QkError } from '../errors.js'
import { checkInteger, refuseUnknownKeys } from '../validate.js'

/**
 * Shard `index` of `count`, from 1: every `count`-th batch. Batches are those of the whole prompt set, so rows, units
 * and signs are bitwise the same for any number of shards.
 */
export interface Shard {
  /** From 1 to `count`. */
  index: number
  /** Number of shards. */
  count: number
}

const KEYS = { index: true, count: true } satisfies Record<keyof Shard, true>
const MOST_SHARDS = 1_000_000

/** Errors: ERR_TYPE, ERR_ARGUMENT. */
export function checkShard(shard: Shard): Shard {
  if (typeof shard !== 'object' || shard === null) {
    throw new QkError('ERR_TYPE', 'shard must be { index, count }, as in { index: 3, count: 64 }')
  }
  refuseUnknownKeys(shard, KEYS, 'shard')
  checkInteger(shard.count, 'shard.count', 1, MOST_SHARDS)
  checkInteger(shard.index, 'shard.index', 1, shard.count)
  return shard
}

/** Whether a batch, numbered from 0, is one of the shard's. */
export function shardTakes(shard: Shard | undefined, batch: number): boolean {
  return shard === undefined || batch % shard.count === shard.index - 1
}

/** As in `3/64`. */
export function shardName({ index, count }: Shard): string {
  return `${index}/${count}`
}
