/** What a run on a cluster is: everything that its jobs need to know, as JSON. */

import { createHash } from 'node:crypto'
import path from 'node:path'
import type { Estimator } from '../backend/backend.js'
import type { BackendChoice } from '../backend/select.js'
import { type Shard, shardName } from '../covariance/shard.js'
import { QkError } from '../errors.js'
import type { DecomposeOptions } from '../spectrum/decompose.js'
import * as s from '../store/reading/schema.js'
import type { SweepOptions } from '../sweep/sweep.js'
import { versions } from '../versions.js'
import type { ModelHashes } from './models-file.js'

/** How `decompose` captures rows. */
export interface DecomposeCapture {
  heads: string
  estimator: Estimator
  backend: BackendChoice
  batchSize: number
  nullBytes: number
}

/** What each command does, in the words of the library. */
export type RunWork =
  | { command: 'decompose'; capture: DecomposeCapture; decompose: DecomposeOptions }
  | { command: 'sweep'; sweep: SweepOptions }

export interface RunSpec {
  formatVersion: 1
  /** Version of qkspace; workers of others refuse the run. */
  version: string
  work: RunWork
  /** A name of `models.json`, and what its files have to be. */
  model: ModelHashes & { name: string }
  /** Whole path in the shared folder, and SHA-256 of the file; undefined for a sweep over random tokens. */
  prompts?: { file: string; sha256: string }
  shards: number
  /** Whole path of the shared folder. The run has a folder of its own in it. */
  folder: string
}

/** What the merge of a run is given, the parent of its shards. */
export interface MergeJob {
  spec: RunSpec
  /** Whole path of the result. */
  out: string
  cancelled?: boolean
}

export interface ShardJob {
  spec: RunSpec
  /** From 1. */
  shard: number
}

const decomposeWork = s.fields({
  command: s.oneOf('decompose'),
  capture: s.anyObject,
  decompose: s.anyObject,
} satisfies s.Fields<RunWork & { command: 'decompose' }>)

const sweepWork = s.fields({
  command: s.oneOf('sweep'),
  sweep: s.anyObject,
} satisfies s.Fields<RunWork & { command: 'sweep' }>)

const specSchema = s.fields({
  formatVersion: s.oneOfNumbers(1),
  version: s.text,
  work: s.either('the work of decompose or sweep', decomposeWork, sweepWork),
  model: s.fields({ name: s.text, sha256: s.text, tokenizer: s.text } satisfies s.Fields<RunSpec['model']>),
  prompts: s.optional(s.fields({ file: s.text, sha256: s.text } satisfies s.Fields<RunSpec['prompts'] & {}>)),
  shards: s.count,
  folder: s.text,
} satisfies s.Fields<RunSpec>)

const mergeSchema = s.fields({
  spec: specSchema,
  out: s.text,
  cancelled: s.optional(s.flag),
} satisfies s.Fields<MergeJob>)

const shardSchema = s.fields({ spec: specSchema, shard: s.count } satisfies s.Fields<ShardJob>)

const misfit: s.Misfit = (place, problem) =>
  new QkError('ERR_FORMAT', `the job is none of qkspace: ${place === '' ? 'it' : place} ${problem}`, {
    hint: 'Other programs need a queue of their own: --queue.',
  })

/** Checks what came from the queue. Errors: ERR_FORMAT. */
export function readMergeJob(data: unknown): MergeJob {
  s.checkDocument(mergeSchema, data, misfit)
  return data as MergeJob
}

/** As `readMergeJob`. */
export function readShardJob(data: unknown): ShardJob {
  s.checkDocument(shardSchema, data, misfit)
  return data as ShardJob
}

/**
 * The name of a run. It is a hash of everything that its shards depend on, so that the same work has the same name, and
 * the files of an earlier try are of use; where they lie and where the result goes is no part of it.
 */
export function runId({ version, work, model, prompts, shards }: RunSpec): string {
  const of = [version, work, model.sha256, model.tokenizer, prompts?.sha256 ?? null, shards]
  const hash = createHash('sha256').update(JSON.stringify(of)).digest('hex')
  return `${work.command}-${hash.slice(0, 16)}`
}

/** The job of a shard. */
export const shardJobId = (run: string, shard: number): string => `${run}-${shard}`

/** Reasons by the number of the shard, which the name of its job ends with. */
export function reasonsByShard(failures: Record<string, string> | undefined): Map<number, string> {
  return new Map(
    Object.entries(failures ?? {}).map(([job, reason]) => [Number(/-(\d+)$/.exec(job)?.[1]), reason]),
  )
}

/** Where the shards of a run lie. */
export const runFolder = (spec: RunSpec): string => path.join(spec.folder, runId(spec))

/** Where a shard lies. */
export function shardFile(spec: RunSpec, shard: number): string {
  return path.join(runFolder(spec), `shard-${shard}-of-${spec.shards}.safetensors`)
}

export const shardOf = (spec: RunSpec, index: number): Shard => ({ index, count: spec.shards })

/** As in "shard 3/64". */
export const shardTitle = (spec: RunSpec, index: number): string => `shard ${shardName(shardOf(spec, index))}`

/** The version that this code is of. */
export const ownVersion = (): string => versions().qkspace
