/**
 * Every head of every layer, all contrasts of a prompt set, in one pass: which heads do something, with false discoveries
 * under control, and, for those, how much their subspaces explain and move on units that did not fit them.
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

/** What `sweep` takes besides the model and the prompts. */
export interface SweepOptions {
  /** 'all' (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /**
   * Adds contrasts made of the prompts' own tokens, all of `ROLES` or those named; on random sequences where no prompts are
   * given. Heads of self attention only.
   */
  roles?: boolean | readonly Role[]
  /** Level of the test, and of the false discovery rate over heads and contrasts; default 0.05. */
  alpha?: number
  /** Decompose and test the interaction: queries and keys centred first. Default false: any effect. */
  center?: boolean
  /** Draws of the test that every head has, default 199; and that a head may have at most, default 99,999. */
  draws?: number
  /** Draws that a head may have at most; default 99,999. */
  mostDraws?: number
  /** Default 'per-query'. */
  estimator?: Estimator
  /** What computes; default 'auto': `cpu`, or `js` where that cannot be used. */
  backend?: BackendChoice
  /** Null subspaces beside every subspace; default 20. */
  nulls?: number
  /** Units of a contrast, about, that go through the model again to be measured with the other half's subspaces; default 96, 0 none. */
  heldOut?: number
  /**
   * A head has a role where its attention on a positive key is at least `roleFactor` (4) times that on a negative one, and
   * that on all positive keys of a query at least `roleAttention` (0.25).
   */
  roleFactor?: number
  /** Attention on all positive keys of a query, at least; a fraction, default 0.25. */
  roleAttention?: number
  /** Random sequences, and tokens in each, where no prompts are given; default 256 and 48. */
  sequences?: number
  /** Tokens in each random sequence; default 48. */
  length?: number
  /** Of signs, halves, samples, sequences and the decomposition; default 0. */
  seed?: number
  /** Prompts in a batch, as of `accumulate`; default 16. */
  batchSize?: number
  /** Threads of the accumulation, 0 = all. */
  threads?: number
  /** Refuse to need more bytes than this, as of `accumulate`; default half of the machine's memory. */
  memoryLimit?: number
  /**
   * Bytes of memory for the rows that the test needs, as of `accumulate`; default 1 GiB. More go to a
   * temporary file.
   */
  nullBytes?: number
  /** Keeps the progress, and goes on where an earlier run was; `openCheckpoint` makes one. */
  checkpoint?: RunCheckpoint
  /** Ends the run with ERR_ABORTED. */
  signal?: AbortSignal
  /** `stage`: 'capture' (prompts), 'tests' (steps), 'held out' (prompts). */
  onProgress?: (progress: { stage: SweepStage; done: number; total: number }) => void
}

/** What a sweep is at: capturing rows, testing ranks, or measuring held-out units. */
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
 * Errors: those of `accumulate` and `decompose`; ERR_ARGUMENT where neither prompts nor roles are given, or roles of a model
 * that takes no tokens.
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

/**
 * Everything that comes after the capture; the sums are freed.
 * @internal
 */
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

/** Nobody chose the length of a random sequence: a model that fails on it may have fewer positions. */
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

/** Of random sequences, which are all in memory. */
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
    backend: sums.backend.name,
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
