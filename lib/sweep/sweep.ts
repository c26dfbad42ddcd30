/**
 * Tests every head of every layer for all contrasts of a prompt set, in one pass, with false discoveries under
 * control. For discovered heads, it measures how much their subspaces explain and move on units that were not used to
 * fit them.
 */

import type { Estimator } from '../backend/backend.js'
import type { BackendChoice } from '../backend/select.js'
import type { PromptSet, Prompts } from '../contrast/prompt-set.js'
import { accumulate } from '../covariance/accumulate.js'
import type { KeptDraws, RunCheckpoint } from '../covariance/checkpointing.js'
import type { Shard } from '../covariance/shard.js'
import { disposeSums, type Sums } from '../covariance/sums.js'
import { QkError, throwIfAborted } from '../errors.js'
import { checkModel, type Model } from '../model/model.js'
import type { HeadSpec } from '../model/sites/heads.js'
import { decompose } from '../spectrum/decompose.js'
import { NULL_SUBSPACES } from '../spectrum/nulls/controls.js'
import { checkLevel } from '../spectrum/rank/rules.js'
import type { Result } from '../store/result.js'
import { checkFlag, checkInteger, checkNumber, checkOptions } from '../validate.js'
import { fitHalves } from './fit-halves.js'
import { measureHeldOut } from './held-out.js'
import { type PreparedSet, preparedSet } from './prepared-set.js'
import { ROLES, type Role } from './roles/role-terms.js'
import { ROLE_RULE } from './roles/verdict.js'
import { sweepRows } from './rows.js'
import { SweepResult } from './sweep-result.js'

/** Options of `sweep`. */
export interface SweepOptions {
  /** 'all' (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /**
   * Adds contrasts of the prompts' own tokens: all of `ROLES`, or the named ones. Without prompts, random sequences
   * are used. Heads of self attention only.
   */
  roles?: boolean | readonly Role[]
  /** Level of the test, and of the false discovery rate over heads and contrasts; default 0.05. */
  alpha?: number
  /** Decomposes and tests the interaction, with queries and keys centred first. Default false: any effect. */
  center?: boolean
  /** Number of draws of every head; default 199. */
  draws?: number
  /** Most draws of a head; default 99,999. */
  mostDraws?: number
  /** Default 'per-query'. */
  estimator?: Estimator
  /** Backend; default 'auto': `cpu`, or a GPU where that pays, or `js`. */
  backend?: BackendChoice
  /** Number of null subspaces beside every subspace; default 20. */
  nulls?: number
  /**
   * Approximate number of units of a contrast that go through the model again, to be measured with the other half's
   * subspaces; default 96, 0 for none.
   */
  heldOut?: number
  /** Least ratio of the attention on a positive key to that on a negative key for a role; default 4. */
  roleFactor?: number
  /** Least attention on all positive keys of a query for a role, as a fraction; default 0.25. */
  roleAttention?: number
  /** Number of random sequences, if no prompts are given; default 256. */
  sequences?: number
  /** Tokens in each random sequence; default 48. */
  length?: number
  /** Seed of signs, halves, samples, sequences and the decomposition; default 0. */
  seed?: number
  /** Number of prompts in a batch, as for `accumulate`; default 16. */
  batchSize?: number
  /** Threads of the accumulation, 0 = all. */
  threads?: number
  /** Most bytes, as for `accumulate`; more are refused. Default: half of the machine's memory. */
  memoryLimit?: number
  /**
   * Bytes of memory for the rows that the test needs, as for `accumulate`; default 1 GiB. Further rows go to a
   * temporary file.
   */
  nullBytes?: number
  /** Saves the progress, and resumes an earlier run. `openCheckpoint` makes one. */
  checkpoint?: RunCheckpoint
  /** Ends the run with ERR_ABORTED. */
  signal?: AbortSignal
  /** `stage`: 'capture' (prompts), 'tests' (steps), 'held out' (prompts). */
  onProgress?: (progress: { stage: SweepStage; done: number; total: number }) => void
}

/** Stage of a sweep: capturing rows, testing ranks, or measuring held-out units. */
export type SweepStage = 'capture' | 'tests' | 'held out'

const OPTIONS = {
  heads: true,
  roles: true,
  alpha: true,
  center: true,
  draws: true,
  mostDraws: true,
  estimator: true,
  backend: true,
  nulls: true,
  heldOut: true,
  roleFactor: true,
  roleAttention: true,
  sequences: true,
  length: true,
  seed: true,
  batchSize: true,
  threads: true,
  memoryLimit: true,
  nullBytes: true,
  checkpoint: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof SweepOptions, true>

/**
 * Sweeps a model over prompts, or with `roles` over random token sequences.
 *
 * Errors: those of `accumulate` and `decompose`; ERR_ARGUMENT if neither prompts nor roles are given, or for roles of
 * a model that takes no tokens.
 */
export async function sweep(
  model: Model,
  prompts: Prompts | undefined,
  options: SweepOptions = {},
): Promise<SweepResult> {
  const settings = checkedSweep(model, options, 'sweep')
  const prepared = await preparedSet(model, prompts, settings)
  return finishSweep(model, prepared, await captureSweep(model, prepared, settings), settings)
}

/** @internal */
export function checkedSweep(model: Model, options: SweepOptions, name: string): SweepSettings {
  checkModel(model, name)
  checkOptions(options, OPTIONS, name)
  const settings = settingsOf(options)
  throwIfAborted(settings.signal)
  return settings
}

/** @internal */
export function captureSweep(
  model: Model,
  { set, heads, random }: PreparedSet,
  settings: SweepSettings,
  shard?: Shard,
): Promise<Sums> {
  const { estimator, backend, batchSize, threads, memoryLimit, nullBytes } = settings
  const { checkpoint, signal, onProgress } = settings
  return accumulate(model, set, {
    heads,
    estimator,
    backend,
    batchSize,
    threads,
    memoryLimit,
    nullBytes,
    shard,
    checkpoint,
    signal,
    onProgress: ({ prompts: done, total }) => onProgress?.({ stage: 'capture', done, total }),
  }).catch((error) => {
    throw random ? withLength(error) : error
  })
}

/** All steps after the capture; frees the sums. @internal */
export async function finishSweep(
  model: Model,
  { set, warnings }: PreparedSet,
  sums: Sums,
  settings: SweepSettings,
  kept: KeptDraws | undefined = settings.checkpoint,
): Promise<SweepResult> {
  const { alpha, center, seed, draws, mostDraws, signal, onProgress } = settings
  try {
    const result = await decompose(sums, {
      rank: { rule: 'permutation', alpha, ...(draws && { draws }), ...(mostDraws && { mostDraws }) },
      center,
      seed,
      nulls: settings.nulls,
      checkpoint: kept,
      signal,
      onProgress: ({ done, total }) => onProgress?.({ stage: 'tests', done, total }),
    })
    await addHeldOut(model, set, sums, result, settings)
    const roleRule = { factor: settings.roleFactor, attention: settings.roleAttention }
    return new SweepResult(sweepRows(result, roleRule), result, {
      hypothesis: center ? 'interaction' : 'effect',
      alpha,
      roleRule,
      warnings: [...warnings, ...(result.info.warnings ?? [])],
    })
  } finally {
    disposeSums(sums)
  }
}

/** Adds a hint to an error on random sequences: their length is a default, and the model may have fewer positions. */
function withLength(error: unknown): unknown {
  if (!(error instanceof QkError) || error.code !== 'ERR_INFERENCE') {
    return error
  }
  return new QkError(error.code, error.message, {
    hint: 'Has the model fewer positions than the random sequences have tokens? Give a smaller length.',
    cause: error,
  })
}

/** @internal */
export type SweepSettings = ReturnType<typeof settingsOf>

const DEFAULTS = {
  heads: 'all' as NonNullable<SweepOptions['heads']>,
  roles: false as NonNullable<SweepOptions['roles']>,
  alpha: 0.05,
  center: false,
  nulls: NULL_SUBSPACES,
  heldOut: 96,
  roleFactor: ROLE_RULE.factor,
  roleAttention: ROLE_RULE.attention,
  sequences: 256,
  length: 48,
  seed: 0,
  batchSize: 16,
}

/** Most random sequences, which are all in memory. */
const MOST_SEQUENCES = 100_000
const MOST_TOKENS = 16_384

function settingsOf(options: SweepOptions) {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  const settings = { ...DEFAULTS, ...given } as typeof DEFAULTS & Omit<SweepOptions, keyof typeof DEFAULTS>
  for (const name of ['seed', 'heldOut'] as const) {
    checkInteger(settings[name], name, 0)
  }
  checkInteger(settings.nulls, 'nulls', 0, 10_000)
  checkInteger(settings.sequences, 'sequences', 1, MOST_SEQUENCES)
  checkInteger(settings.length, 'length', 1, MOST_TOKENS)
  checkFlag(settings.center, 'center')
  checkLevel(settings.alpha)
  if (settings.draws !== undefined) {
    checkInteger(settings.draws, 'draws', 1)
  }
  if (settings.mostDraws !== undefined) {
    checkInteger(settings.mostDraws, 'mostDraws', settings.draws ?? 1)
  }
  const { roleFactor, roleAttention } = settings
  if (!(checkNumber(roleFactor, 'roleFactor') >= 1)) {
    throw new QkError('ERR_ARGUMENT', `roleFactor is ${roleFactor}, expected at least 1`)
  }
  if (!(checkNumber(roleAttention, 'roleAttention') >= 0 && roleAttention <= 1)) {
    throw new QkError(
      'ERR_ARGUMENT',
      `roleAttention is ${roleAttention}, expected a part of the attention, 0 to 1`,
    )
  }
  return { ...settings, roles: rolesOf(settings.roles) }
}

/** Errors: ERR_ARGUMENT. */
function rolesOf(roles: unknown): readonly Role[] {
  if (roles === false) {
    return []
  }
  if (roles === true) {
    return ROLES
  }
  if (Array.isArray(roles) && roles.length > 0 && roles.every((role) => ROLES.includes(role))) {
    return roles
  }
  throw new QkError('ERR_ARGUMENT', `roles is ${JSON.stringify(roles)}, expected true, false or names`, {
    hint: `The roles are ${ROLES.join(', ')}.`,
  })
}

/** Measures the discovered subspaces and puts the figures into the result. */
async function addHeldOut(
  model: Model,
  set: PromptSet,
  sums: Sums,
  result: Result,
  { heldOut: units, nulls: count, center, seed, batchSize, memoryLimit, signal, onProgress }: SweepSettings,
): Promise<void> {
  if (units === 0) {
    return
  }
  const fitted = await fitHalves(sums, result, {
    count,
    seed,
    signal,
    backend: sums.backend.choice,
    hypothesis: center ? 'interaction' : 'effect',
  })
  if (fitted.length === 0) {
    return
  }
  const of = (name: string) =>
    Math.max(...result.headNames.map((head) => result.head(head).contrast(name).test!.units))
  const unitsOf = new Map(sums.contrasts.map((name) => [name, of(name)]))
  const total = Math.min(sums.prompts.prompts, units * sums.contrasts.length)
  const measured = await measureHeldOut(model, set, fitted, sums.contrasts, unitsOf, {
    units,
    seed,
    batchSize,
    memoryLimit,
    signal,
    onProgress: (done) => onProgress?.({ stage: 'held out', done: Math.min(done, total), total }),
  })
  fitted.forEach(({ name, contrast }, i) => {
    const heldOut = measured[i]
    if (!heldOut) {
      return
    }
    // The file of the subspaces says it too.
    result.head(name).contrast(contrast).heldOut = heldOut
    result.info.heads[name][contrast].heldOut = heldOut
  })
}
