/** Accumulates the covariances of a prompt set: captures the rows that the terms use and sums their contrasts. */

import type { Estimator } from '../backend/backend.js'
import { type BackendChoice, selectBackend } from '../backend/select.js'
import { sharingOf } from '../capture/batch-dependence.js'
import { captureBatches } from '../capture/run.js'
import { UnknownWords } from '../capture/unknown-words.js'
import { type Prompts, promptSet } from '../contrast/prompt-set.js'
import { QkError, throwIfAborted } from '../errors.js'
import { checkModel, type Model } from '../model/model.js'
import { type HeadSpec, parseHeads } from '../model/sites/heads.js'
import { checkFlag, checkInteger, checkOptions } from '../validate.js'
import { addBatch } from './add-batch.js'
import type { RunCheckpoint } from './checkpointing.js'
import { expectedWork } from './expected-work.js'
import { keepPlan, keptBytes } from './kept/keep-plan.js'
import { checkShard, type Shard, shardTakes } from './shard.js'
import { planSites } from './site-plan.js'
import { disposeSums, keepRows, measureAttention, rowSizes, type Sums } from './sums.js'

/** Options of `accumulate`. */
export interface AccumulateOptions {
  /** 'all' (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /** Default 'per-query'. */
  estimator?: Estimator
  /** Backend that sums the covariances; default 'auto': `cpu`, or a GPU where that pays, or `js`. */
  backend?: BackendChoice
  /** Number of prompts in a batch (default 16). It changes results only within rounding, 1e-5 relative. */
  batchSize?: number
  /** Number of threads of the accumulation, 0 = all. */
  threads?: number
  /** Accept NaN and infinity in queries and keys. */
  allowNonFinite?: boolean
  /**
   * Most bytes for the covariances, or for the scores of a long prompt; more are refused. Default: half of the
   * machine's memory.
   */
  memoryLimit?: number
  /**
   * Bytes of memory for the rows that the rank test needs; default 1 GiB. Further rows go to a temporary file. If the
   * disk has no space either, only a seeded sample of the units is kept, and `warnings` says so. 0: no rows and no
   * test.
   */
  nullBytes?: number
  /** Also measures the attention of each head on the positive and the negative keys; default true. */
  attention?: boolean
  /**
   * Takes only every `count`-th batch: the sums of one shard, for `saveSums` and `mergeSums`. Default: the whole
   * prompt set.
   */
  shard?: Shard
  /** Saves the progress, and resumes an earlier run. `openCheckpoint` makes one. */
  checkpoint?: RunCheckpoint
  /** Ends the run with ERR_ABORTED. */
  signal?: AbortSignal
  /** Called after each batch with the number of finished prompts and the total. */
  onProgress?: (progress: { prompts: number; total: number }) => void
}

const OPTIONS = {
  heads: true,
  estimator: true,
  backend: true,
  batchSize: true,
  threads: true,
  allowNonFinite: true,
  memoryLimit: true,
  nullBytes: true,
  attention: true,
  shard: true,
  checkpoint: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof AccumulateOptions, true>

/**
 * Runs every prompt through the model and accumulates the contrasts of the requested heads.
 *
 * Errors: those of prompts (ERR_PROMPT, ERR_POSITION, ERR_MATCH, ERR_EMPTY_SET, with file and line), ERR_UNKNOWN_HEAD,
 * ERR_MEMORY_LIMIT, ERR_CAPTURE_MISMATCH, ERR_NON_FINITE, ERR_INFERENCE, ERR_ABORTED.
 */
export async function accumulate(
  model: Model,
  prompts: Prompts,
  options: AccumulateOptions = {},
): Promise<Sums> {
  checkModel(model, 'accumulate')
  checkOptions(options, OPTIONS, 'accumulate')
  const { signal, estimator = 'per-query', batchSize = 16, nullBytes = 2 ** 30 } = options
  throwIfAborted(signal)
  checkInteger(batchSize, 'batchSize', 1)
  checkInteger(nullBytes, 'nullBytes', 0)
  const attention = checkFlag(options.attention ?? true, 'attention')
  const shard = options.shard && checkShard(options.shard)
  const heads = parseHeads(options.heads ?? 'all', model.sites)
  const set = promptSet(prompts)
  const summary = await set.summary(signal)
  throwIfAborted(signal)
  const { contrasts } = summary
  // Shards and checkpoints have one result on all machines: there, 'auto' takes no GPU.
  const work =
    shard || options.checkpoint
      ? []
      : expectedWork(model.sites, heads, summary, { estimator, batchSize, test: nullBytes > 0 })
  const backend = selectBackend(options.backend, work, options.threads).describe()
  const { requests, slices, sites } = planSites(model, heads, contrasts, {
    ...options,
    backend: backend.choice,
  })
  const sums: Sums = {
    model,
    prompts: summary,
    contrasts,
    estimator,
    batchSize,
    ...(shard && { shard }),
    backend,
    sharing: sharingOf(model),
    sites,
    warnings: [...model.warnings],
  }
  const words = new UnknownWords()
  if (attention) {
    measureAttention(sites, contrasts.length)
  }
  if (nullBytes > 0) {
    const bytes = keptBytes(summary, rowSizes(sites), estimator) / (shard?.count ?? 1)
    const plan = await keepPlan(bytes, nullBytes, 0)
    keepRows(sites, summary, estimator, plan)
    if (plan.warning) {
      if (shard || options.checkpoint) {
        throw sampled(plan.warning)
      }
      sums.warnings.push(plan.warning)
    }
  }
  try {
    const { checkpoint } = options
    const first = (await checkpoint?.begin(sums)) ?? 0
    for await (const batch of captureBatches(model, words.of(set), requests, {
      contrasts,
      batchSize,
      signal,
      memoryLimit: options.memoryLimit,
      attention,
      takes: (batch) => batch >= first && shardTakes(shard, batch),
    })) {
      batch.relativeErrors.forEach((error, i) => {
        sites[i].relativeError = error
      })
      await addBatch(slices, batch, signal)
      await checkpoint?.batchDone(sums, batch)
      options.onProgress?.({ prompts: batch.promptsDone, total: summary.prompts })
    }
    throwIfAborted(signal)
    await checkpoint?.captured(sums)
    sums.sharing = sharingOf(model)
    sums.warnings.push(...words.warnings())
    return sums
  } catch (error) {
    disposeSums(sums)
    throw error
  }
}

/**
 * Refuses a sample of units in shards and checkpoints: it depends on the free disk space, and would differ between
 * machines.
 */
function sampled(why: string): QkError {
  return new QkError('ERR_FILE', `shards and checkpoints keep the rows of all units, and ${why}`, {
    hint: 'Set TMPDIR to a larger disk, make more shards, or lower nullBytes to 0 to do without the test.',
  })
}
