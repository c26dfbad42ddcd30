/** Decides where the rows for the rank test go: memory, a temporary file, or a sample of units. */

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
  /** Folder of the temporary files. Undefined if rows stay in memory. */
  folder: string | undefined
  /** Fraction of the units that are kept: 1, or less if neither memory nor disk can hold all. */
  fraction: number
  /** Whether a unit is kept. The answer depends only on the seed and the unit. */
  keeps(unit: UnitKey): boolean
  /** Warning for the user about the plan. */
  warning?: string
}

export interface KeepSizes {
  heads: number
  kvHeads: number
  headDim: number
}

/** Fraction of the free disk space that rows may use. */
const DISK_SHARE = 0.8
const FLOAT_BYTES = 4

/** Bytes of the rows of all contrasts in f32, for groups of heads. */
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

/**
 * Makes the plan, before the first batch. `limit`: bytes in memory. Errors: ERR_FILE if the temporary folder cannot be
 * used.
 */
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
