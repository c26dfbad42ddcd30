/**
 * Divides the draws of the rank test between machines. Each machine draws for some of the groups of heads and
 * contrasts, and the test reads the draws from their files. No machine holds the rows of more than two groups at a
 * time.
 */

import { createHash } from 'node:crypto'
import type { KeptDraws } from '../../covariance/checkpointing.js'
import { DrawJournal } from '../../covariance/saved/draw-journal.js'
import { identityOf } from '../../covariance/saved/identity.js'
import { checkShard, type Shard, shardTakes } from '../../covariance/shard.js'
import type { Sums } from '../../covariance/sums.js'
import { QkError } from '../../errors.js'
import { checkReplaceable, fileStart } from '../../store/atomic-file.js'
import type { RankRule } from '../../store/result.js'
import { checkFlag, checkInteger, checkOptions } from '../../validate.js'
import { checkRankRule, DEFAULT_RULE } from './rules.js'
import { drawFirst } from './test-sums.js'

/** Options of the test, as for `decompose`. */
export interface DrawOptions {
  /** Default `{ rule: 'permutation', alpha: 0.05 }`. */
  rank?: Extract<RankRule, { rule: 'permutation' }>
  /** Whether the interaction is tested; default false. */
  center?: boolean
  /** Seed of the test; default 0. */
  seed?: number
  /** Ends the work with ERR_ABORTED. */
  signal?: AbortSignal
  /** Told after each group of heads and contrast. */
  onProgress?: (progress: { done: number; total: number }) => void
}

const OPTIONS = {
  rank: true,
  center: true,
  seed: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof DrawOptions, true>

/** The first record of every file, which identifies the sums of the draws. */
const ORIGIN = 'origin'

/**
 * Draws for every `count`-th group of heads and contrast of merged sums, and stores the values in a file for
 * `openDraws`. An existing file is continued. Errors: ERR_ARGUMENT, ERR_PARTS if the file belongs to other sums,
 * ERR_FILE, ERR_FORMAT, ERR_FEW_UNITS, ERR_ABORTED.
 */
export async function drawShard(
  sums: Sums,
  shard: Shard,
  file: string,
  options: DrawOptions = {},
): Promise<void> {
  checkOptions(options, OPTIONS, 'drawShard')
  checkShard(shard)
  const rule = checkRankRule(options.rank ?? DEFAULT_RULE)
  if (rule.rule !== 'permutation') {
    throw new QkError('ERR_ARGUMENT', `the rank rule "${rule.rule}" draws nothing`)
  }
  const center = checkFlag(options.center ?? false, 'center')
  const seed = checkInteger(options.seed ?? 0, 'seed', 0)
  await checkReplaceable(
    file,
    'a file of draws',
    async () => (await fileStart(file, 1)).length === 0 || isOurs(file),
  )
  const journal = await DrawJournal.open(file)
  try {
    await checkOrigin(file, journal, await originOf(sums))
    const kept: KeptDraws = { draws: (key, compute) => journal.values(key, compute) }
    const { signal, onProgress } = options
    await drawFirst(sums, { rule, center, seed, kept, signal, onProgress }, (i) => shardTakes(shard, i))
  } finally {
    await journal.close()
  }
}

/** Whether a file can be read as one of draws. */
async function isOurs(file: string): Promise<boolean> {
  return DrawJournal.starts(file, ORIGIN)
}

/** Draws from files, for `decompose`. Missing draws are made on demand. Close it at the end. */
export interface OpenDraws extends KeptDraws {
  /** Closes the files. */
  close(): Promise<void>
}

/**
 * Opens files that `drawShard` wrote for the same sums. Errors: ERR_TYPE, ERR_FILE, ERR_FORMAT, ERR_PARTS if a file
 * belongs to other sums.
 */
export async function openDraws(sums: Sums, files: readonly string[]): Promise<OpenDraws> {
  if (!Array.isArray(files) || files.some((file) => typeof file !== 'string')) {
    throw new QkError('ERR_TYPE', 'openDraws takes a list of files that drawShard wrote')
  }
  const origin = await originOf(sums)
  const journals: DrawJournal[] = []
  const close = async () => {
    await Promise.all(journals.map((journal) => journal.close()))
  }
  try {
    for (const file of files) {
      if (!(await isOurs(file))) {
        throw new QkError('ERR_FORMAT', `${file} is not a file of draws`)
      }
      const journal = await DrawJournal.open(file)
      journals.push(journal)
      await checkOrigin(file, journal, origin)
    }
  } catch (error) {
    await close()
    throw error
  }
  return {
    close,
    draws: async (key, compute) => {
      const journal = journals.find((one) => one.has(key))
      return journal ? journal.values(key, compute) : compute()
    },
  }
}

/** A hash that identifies the sums, independent of the processor. */
async function originOf(sums: Sums): Promise<Float64Array> {
  const identity = { ...(await identityOf(sums)), instructionSet: '' }
  const hash = createHash('sha256').update(JSON.stringify(identity)).digest()
  return Float64Array.from(hash)
}

/** Errors: ERR_PARTS. */
async function checkOrigin(file: string, journal: DrawJournal, origin: Float64Array): Promise<void> {
  const found = await journal.values(ORIGIN, async () => origin)
  if (!found.every((byte, i) => byte === origin[i])) {
    throw new QkError('ERR_PARTS', `the draws of ${file} are of other sums`, {
      hint: 'They are of another model, other prompts or other options: draw again into another file.',
    })
  }
}
