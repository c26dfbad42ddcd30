/**
 * What a worker's child process does with a job (BullMQ's sandboxed processor): a long computation keeps its event loop, and
 * the lock of the job is renewed by the worker meanwhile. The process is kept for the next job, and the model open in it.
 */

import { DelayedError, type SandboxedJob, UnrecoverableError } from 'bullmq'
import { QkError, type QkErrorCode } from '../errors.js'
import { type Model, openModel } from '../model/model.js'
import { removeUnfinishedFiles } from '../store/atomic-file.js'
import { fileHash } from '../store/file-hash.js'
import { modelHashes, type NamedModel, readModels } from './models-file.js'
import {
  type MergeJob,
  ownVersion,
  type RunSpec,
  readMergeJob,
  readShardJob,
  reasonsByShard,
  type ShardJob,
} from './run-spec.js'
import { computeShard, type Merged, mergeRun, shardIsDone } from './run-work.js'
import { type Refusal, readSettings, STOPPED } from './worker-settings.js'

if (process.send) {
  // The worker is gone, and another takes the job: this process would only be in its way. An orderly end is none that
  // onnxruntime survives in the middle of a run.
  process.on('disconnect', () => {
    removeUnfinishedFiles()
    process.kill(process.pid, 'SIGKILL')
  })
}

/** What a job of a shard gives back. */
export interface ShardDone {
  shard: number
  /** Whether its file was there already. */
  found: boolean
}

/** Errors: UnrecoverableError where another try would end in the same way; others, after which BullMQ tries again. */
export default async function processJob(
  job: SandboxedJob,
  token?: string,
  signal?: AbortSignal,
): Promise<ShardDone | Merged> {
  const own = ownSignal(signal)
  try {
    checkVersion(job.data)
    return job.name === 'merge'
      ? await merge(readMergeJob(job.data), job, own)
      : await shard(readShardJob(job.data), own)
  } catch (error) {
    if (error instanceof Refused) {
      return putBack(job, token, { refused: error.message })
    }
    if (own.aborted && own.reason === STOPPED) {
      return putBack(job, token)
    }
    throw own.aborted ? new UnrecoverableError('cancelled') : forQueue(error)
  }
}

/** BullMQ gives the signal of a package of its own; its reason is a text. */
function ownSignal(signal: AbortSignal | undefined): AbortSignal {
  const own = new AbortController()
  if (signal?.aborted) {
    own.abort(signal.reason)
  }
  signal?.addEventListener('abort', () => own.abort(signal.reason), { once: true })
  return own.signal
}

/** This worker is not the one for the run; others may be. */
class Refused extends Error {}

/** As long as the worker takes to hear of a refusal and to stop taking jobs. */
const HEARD_MS = 500
/** Until another worker may take the job. */
const AGAIN_MS = 1000

/** The job waits for a worker again, and this try does not count. */
async function putBack(job: SandboxedJob, token: string | undefined, refusal?: Refusal): Promise<never> {
  if (refusal) {
    await job.updateProgress(refusal as unknown as object)
  }
  await job.moveToDelayed(Date.now() + (refusal ? AGAIN_MS : 0), token)
  if (refusal) {
    await new Promise((resolve) => setTimeout(resolve, HEARD_MS))
  }
  throw new DelayedError()
}

/** Errors that another try, or another machine, may not have. */
const MENDABLE: readonly QkErrorCode[] = [
  'ERR_FILE',
  'ERR_OUT_OF_MEMORY',
  'ERR_MEMORY_LIMIT',
  'ERR_BACKEND',
  'ERR_ADDON_LOAD',
  'ERR_NOT_BUILT_YET',
  'ERR_NETWORK',
  'ERR_INFERENCE',
  'ERR_INTERNAL',
]

/** An error as the queue keeps it, with the advice in its message. */
function forQueue(error: unknown): unknown {
  if (!(error instanceof QkError)) {
    return error
  }
  const message = error.hint === undefined ? error.message : `${error.message} (${error.hint})`
  return MENDABLE.includes(error.code) ? new Error(message) : new UnrecoverableError(message)
}

async function shard({ spec, shard: index }: ShardJob, signal: AbortSignal): Promise<ShardDone> {
  await checkPrompts(spec)
  const named = await checkedModel(spec)
  if (await shardIsDone(spec, index)) {
    return { shard: index, found: true }
  }
  const { threads } = readSettings()
  await computeShard(spec, index, await opened(spec, named), named, { threads, signal })
  return { shard: index, found: false }
}

async function merge(job: MergeJob, queued: SandboxedJob, signal: AbortSignal): Promise<Merged> {
  if (job.cancelled) {
    throw new UnrecoverableError('cancelled')
  }
  await checkPrompts(job.spec)
  const named = await checkedModel(job.spec)
  const failures = await (
    queued as unknown as { getIgnoredChildrenFailures(): Promise<Record<string, string>> }
  ).getIgnoredChildrenFailures()
  return mergeRun(job, await opened(job.spec, named), reasonsByShard(failures), { signal })
}

/** Errors: ERR_FILE; ERR_PROMPT where the file is not the one that was submitted. */
async function checkPrompts({ prompts }: RunSpec): Promise<void> {
  if (prompts && (await fileHash(prompts.file)).sha256 !== prompts.sha256) {
    throw new QkError('ERR_PROMPT', `${prompts.file} has changed since the run was submitted`, {
      hint: 'Submit the run again.',
    })
  }
}

/**
 * Comes before anything else is read of a job: other versions may write it in another way. Errors: `Refused` where the run
 * is of another version.
 */
function checkVersion(data: unknown): void {
  const version = (data as Partial<ShardJob> | undefined)?.spec?.version
  if (typeof version === 'string' && version !== ownVersion()) {
    throw new Refused(`qkspace ${ownVersion()} is here, and the run is of ${version}`)
  }
}

/** Errors: `Refused` where the model or the tokenizer are not those of the run. */
async function checkedModel({ model }: RunSpec): Promise<NamedModel> {
  const { models: file } = readSettings()
  const named = (await readModels(file)).get(model.name)
  if (!named) {
    throw new Refused(`${file} names no model "${model.name}"`)
  }
  const { sha256, tokenizer } = await modelHashes(named)
  const differ = [
    ...(sha256 === model.sha256
      ? []
      : [`the model ${named.model} has SHA-256 ${short(sha256)}, and the run ${short(model.sha256)}`]),
    ...(tokenizer === model.tokenizer
      ? []
      : [`the tokenizer has SHA-256 ${short(tokenizer)}, and the run ${short(model.tokenizer)}`]),
  ]
  if (differ.length > 0) {
    throw new Refused(differ.join('; '))
  }
  return named
}

const short = (sha256: string): string => sha256.slice(0, 12)

/** The model of the job before, which is most often that of this one. */
let kept: { key: string; model: Promise<Model> } | undefined

function opened({ model: { sha256, tokenizer } }: RunSpec, named: NamedModel): Promise<Model> {
  const key = [sha256, tokenizer, named.model].join('\n')
  if (kept?.key !== key) {
    const { threads } = readSettings()
    kept = { key, model: openModel(named.model, { tokenizer: named.tokenizer, threads }) }
    kept.model.catch(() => {
      kept = undefined
    })
  }
  return kept.model
}
