/** The work of a run: one shard, and putting all of them together. Whoever does it twice writes the same files. */

import { randomUUID } from 'node:crypto'
import { rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { type PromptSet, type PromptSetSummary, readPrompts } from '../contrast/prompt-set.js'
import { accumulate } from '../covariance/accumulate.js'
import { nextOf } from '../covariance/saved/next-step.js'
import { mergeSums, readPart, saveSums } from '../covariance/saved/parts.js'
import { disposeSums } from '../covariance/sums.js'
import { QkError } from '../errors.js'
import type { Model } from '../model/model.js'
import { sweepOutput } from '../report/sweep-output.js'
import { decompose } from '../spectrum/decompose.js'
import { makeFolder } from '../store/atomic-file.js'
import { CheckedFile } from '../store/saving/checked-tensors.js'
import { mergeSweep, sweepShard } from '../sweep/shards.js'
import type { NamedModel } from './models-file.js'
import { type MergeJob, type RunSpec, runFolder, runId, shardFile, shardOf, shardTitle } from './run-spec.js'

/** Whether the file of a shard is there: whole, undamaged, and of this run. */
export async function shardIsDone(spec: RunSpec, shard: number): Promise<boolean> {
  const file = shardFile(spec, shard)
  try {
    const { shard: found, next } = await readPart(file)
    const run = (next as { run?: unknown } | null)?.run
    if (run !== runId(spec) || found.index !== shard || found.count !== spec.shards) {
      return false
    }
    await (await CheckedFile.open(file)).verify()
    return true
  } catch (error) {
    if (error instanceof QkError) {
      return false
    }
    throw error
  }
}

export interface WorkOptions {
  /** Threads of the inference and of the accumulation; all cores by default. */
  threads?: number
  signal?: AbortSignal
}

/**
 * Computes a shard and puts its file in place by a rename, whatever lies there. Errors: those of `accumulate` and
 * `saveSums`.
 */
export async function computeShard(
  spec: RunSpec,
  index: number,
  model: Model,
  named: NamedModel,
  { threads, signal }: WorkOptions,
): Promise<void> {
  const { work } = spec
  const shard = shardOf(spec, index)
  makeFolder(runFolder(spec))
  const file = shardFile(spec, index)
  // Of its own, since the same shard may be computed twice at a time.
  const scratch = path.join(runFolder(spec), `.${randomUUID()}.safetensors`)
  const next = { ...nextOf(work.command, namedOf(spec, named), settingsOf(spec)), run: runId(spec) }
  try {
    if (work.command === 'sweep') {
      await sweepShard(model, promptsOf(spec), shard, scratch, { ...work.sweep, threads, signal }, next)
    } else {
      const sums = await accumulate(model, promptsOf(spec)!, { ...work.capture, shard, threads, signal })
      try {
        await saveSums(sums, scratch, next)
      } finally {
        disposeSums(sums)
      }
    }
    await rename(scratch, file)
  } finally {
    await rm(scratch, { force: true }).catch(() => {})
  }
}

const namedOf = (spec: RunSpec, { model, tokenizer }: NamedModel) => ({
  model,
  tokenizer,
  prompts: spec.prompts?.file,
})

/** What `qkspace merge` takes from a file of the run, where somebody puts the shards together by hand. */
function settingsOf({ work }: RunSpec): object {
  if (work.command === 'sweep') {
    return work.sweep
  }
  const { keepCovariances, ...rest } = work.decompose
  return { ...rest, covariances: keepCovariances }
}

/** The prompt set of the job before, which is most often that of this one. */
let kept: { key: string; set: PromptSet } | undefined

/** Whether the file is the one of the run was checked before. */
function promptsOf({ prompts, work }: RunSpec): PromptSet | undefined {
  if (!prompts) {
    return undefined
  }
  const bare = work.command === 'sweep' && work.sweep.roles !== undefined && work.sweep.roles !== false
  const key = [prompts.sha256, prompts.file, bare].join('\n')
  if (kept?.key !== key) {
    kept = { key, set: summedUpOnce(readPrompts(prompts.file, { bare })) }
  }
  return kept.set
}

/** The set is read as a whole for its summary: once, and not for every shard. */
function summedUpOnce(set: PromptSet): PromptSet {
  let known: PromptSetSummary | undefined
  return {
    [Symbol.asyncIterator]: () => set[Symbol.asyncIterator](),
    summary: async (signal) => {
      known ??= await set.summary(signal)
      return structuredClone(known)
    },
  }
}

/** What the merge of a run gives back. */
export interface Merged {
  /** Files that were written. */
  saved: string[]
  warnings: string[]
}

/**
 * Puts the shards together and writes the result. Errors: ERR_PARTS, with the list of what lacks and why by `reasons`, a
 * text by the number of the shard; those of `mergeSums` and of writing.
 */
export async function mergeRun(
  { spec, out }: MergeJob,
  model: Model,
  reasons: ReadonlyMap<number, string>,
  { signal }: WorkOptions,
): Promise<Merged> {
  const { work } = spec
  const files = Array.from({ length: spec.shards }, (_, i) => shardFile(spec, i + 1))
  await refuseMissing(spec, reasons)
  if (work.command === 'sweep') {
    const save = await sweepOutput(out)
    const found = await mergeSweep(model, promptsOf(spec), files, { ...work.sweep, signal })
    return { saved: await save(found), warnings: [...(found.warnings ?? [])] }
  }
  const sums = await mergeSums(model, files, { backend: work.capture.backend, signal })
  try {
    const result = await decompose(sums, { ...work.decompose, signal })
    await result.save(out)
    return { saved: [out], warnings: [...new Set([...sums.warnings, ...(result.info.warnings ?? [])])] }
  } finally {
    disposeSums(sums)
  }
}

async function refuseMissing(spec: RunSpec, reasons: ReadonlyMap<number, string>): Promise<void> {
  const missing: number[] = []
  for (let shard = 1; shard <= spec.shards; shard++) {
    const isThere = await readPart(shardFile(spec, shard)).then(
      () => true,
      () => false,
    )
    if (!isThere) {
      missing.push(shard)
    }
  }
  if (missing.length === 0) {
    return
  }
  const lines = missing.map(
    (shard) => `${shardTitle(spec, shard)}: ${reasons.get(shard) ?? `${shardFile(spec, shard)} is gone`}`,
  )
  throw new QkError(
    'ERR_PARTS',
    `${missing.length} of ${spec.shards} shards lack:\n  ${lines.join('\n  ')}`,
    {
      hint: 'Submit the run again: what is there is not computed again.',
    },
  )
}
