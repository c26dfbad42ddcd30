/** What keeping rows for the test of rank will take, and where they go: memory, a temporary file, or a sample of units. */

import { constants } from 'node:fs'
import { access, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import type { Estimator } from '../../backend/backend.js'
import type { PromptSetSummary } from '../../contrast/prompt-set.js'
import { QkError } from '../../errors.js'
import { mebibytes } from '../../math/bytes.js'
import { STREAMS, type UnitKey, unitWord } from '../../math/unit-hash.js'
import { rowsOfTerm } from './term-rows.js'

export interface KeepPlan {
  /** Folder of the temporary files; undefined where rows stay in memory. */
  folder: string | undefined
  /** Part of the units that is kept, 1 as a rule; fewer where neither memory nor disk holds all. */
  fraction: number
  /** Whether a unit is kept: the same answer everywhere for the same seed. */
  keeps(unit: UnitKey): boolean
  /** What has to be said of it. */
  warning?: string
}

export interface KeepSizes {
  heads: number
  kvHeads: number
  headDim: number
}

/** Part of the free disk that rows may take. */
const DISK_SHARE = 0.8
const FLOAT_BYTES = 4

/** Bytes that the rows of all contrasts take in f32, for groups of heads. */
export function keptBytes(
  summary: PromptSetSummary,
  groups: readonly KeepSizes[],
  estimator: Estimator,
): number {
  let queries = 0
  let keys = 0
  for (const { rule, terms, labelled } of Object.values(summary.definitions)) {
    const rows = terms * rowsOfTerm(estimator, rule === 'counterfactual')
    queries += rows + labelled.queries
    keys += rows + labelled.keys
  }
  return groups.reduce((sum, { heads, kvHeads, headDim }) => {
    return sum + FLOAT_BYTES * headDim * (heads * queries + kvHeads * keys)
  }, 0)
}

/** Decides before the first batch. `limit`: bytes in memory. Errors: ERR_FILE where the temporary folder cannot be used. */
export async function keepPlan(bytes: number, limit: number, seed: number): Promise<KeepPlan> {
  const all = { fraction: 1, keeps: () => true }
  if (bytes <= limit) {
    return { folder: undefined, ...all }
  }
  const folder = tmpdir()
  const free = await freeBytes(folder)
  const most = Math.max(DISK_SHARE * free, limit)
  const onDisk = most > limit
  if (bytes <= most) {
    return { folder, ...all }
  }
  const fraction = most / bytes
  return {
    folder: onDisk ? folder : undefined,
    fraction,
    keeps: (unit) => unitWord(seed, unit, STREAMS.sample, 0) / 2 ** 32 < fraction,
    warning:
      `the test of rank uses a sample of ${(100 * fraction).toPrecision(2)}% of the units: its rows take ` +
      `${mebibytes(bytes)}, nullBytes and the free disk allow ${mebibytes(most)}`,
  }
}

async function freeBytes(folder: string): Promise<number> {
  try {
    await access(folder, constants.W_OK)
    const { bavail, bsize } = await statfs(folder)
    return bavail * bsize
  } catch (cause) {
    throw new QkError(
      'ERR_FILE',
      `cannot keep rows for the test of rank in the folder of temporary files, ${folder}: ${(cause as Error).message}`,
      {
        cause,
        hint: 'Set TMPDIR to another folder, raise nullBytes, or lower it to 0 to do without the test.',
      },
    )
  }
}
