/** The sums of a shard as one file, and the files of all shards put together as if there had been one pass. */

import path from 'node:path'
import type { BackendChoice } from '../../backend/select.js'
import { selectBackend } from '../../backend/select.js'
import type { Sharing } from '../../capture/batch-dependence.js'
import type { PromptSetSummary } from '../../contrast/prompt-set.js'
import { QkError, throwIfAborted } from '../../errors.js'
import { checkModel, type Model } from '../../model/model.js'
import { parseHeads } from '../../model/sites/heads.js'
import { checkReplaceable } from '../../store/atomic-file.js'
import { promptSummary } from '../../store/reading/result-schema.js'
import * as s from '../../store/reading/schema.js'
import { CheckedFile, writeChecked } from '../../store/saving/checked-tensors.js'
import { checkEnding } from '../../store/saving/formats.js'
import { checkOptions } from '../../validate.js'
import { type Shard, shardName } from '../shard.js'
import { planSites } from '../site-plan.js'
import { disposeSums, keepRows, measureAttention, type Sums } from '../sums.js'
import { differences, identityOf, identitySchema, type RunIdentity } from './identity.js'
import { addSavedMoments, momentTensors } from './saved-moments.js'
import { enterSavedRows, noRows, rowTensors } from './saved-rows.js'

/** What a part says of itself. */
export interface SavedPart {
  /** Kind of the document. */
  format: 'qkspace-sums'
  /** Version of the document. */
  formatVersion: number
  /** What the sums are of. */
  identity: RunIdentity
  /** Of one pass over everything: 1 of 1. */
  shard: Shard
  /** The whole prompt set, of which the shard took some batches. */
  prompts: PromptSetSummary
  /** How prompts shared batches. */
  sharing: Sharing
  /** Verification of each attention site on the first prompt; null where the shard had no batch. */
  relativeErrors: (number | null)[]
  /** What may be wrong without being an error. */
  warnings: string[]
  /** What the caller said of how to go on, as `qkspace merge` reads it. */
  next: unknown
}

const partSchema = s.fields({
  format: s.oneOf('qkspace-sums'),
  formatVersion: s.oneOfNumbers(1),
  identity: identitySchema,
  shard: s.fields({ index: s.count, count: s.count } satisfies s.Fields<Shard>),
  prompts: promptSummary,
  sharing: s.oneOf('padded', 'equal length', 'alone'),
  relativeErrors: s.numbers,
  warnings: s.texts,
  next: s.anything,
} satisfies s.Fields<SavedPart>)

/** Checks that a part could be written here, before long work starts. Errors: ERR_FILE, ERR_ARGUMENT for its ending. */
export async function checkPartPath(file: string): Promise<void> {
  checkEnding(file, 'the file of a shard', ['.safetensors'])
  await checkReplaceable(file, 'sums that qkspace saved', async () => {
    return CheckedFile.open(file).then(
      () => true,
      () => false,
    )
  })
}

/**
 * Saves sums, of a shard or of all, with the rows that the test of rank needs, for `mergeSums`. `next` is kept with them: a
 * JSON value of the caller's. Errors: ERR_TYPE, ERR_FILE, ERR_ARGUMENT.
 */
export async function saveSums(sums: Sums, file: string, next: unknown = null): Promise<void> {
  if (!Array.isArray(sums?.sites)) {
    throw new QkError('ERR_TYPE', 'saveSums takes what accumulate gives')
  }
  await checkPartPath(file)
  const document: SavedPart = {
    format: 'qkspace-sums',
    formatVersion: 1,
    identity: await identityOf(sums),
    shard: sums.shard ?? { index: 1, count: 1 },
    prompts: sums.prompts,
    sharing: sums.sharing,
    relativeErrors: sums.sites.map(({ relativeError }) => relativeError),
    warnings: sums.warnings,
    next,
  }
  await writeChecked(file, document, [...momentTensors(sums), ...rowTensors(sums, noRows(sums))])
}

/** A part that has been opened; its tensors are read when they are needed. */
interface Part {
  name: string
  file: CheckedFile
  saved: SavedPart
}

/** What a part says, without its numbers. Errors: ERR_FILE, ERR_FORMAT. */
export async function readPart(file: string): Promise<SavedPart> {
  return (await openPart(file)).saved
}

async function openPart(name: string): Promise<Part> {
  const file = await CheckedFile.open(name)
  s.checkDocument(
    partSchema,
    file.document,
    s.misfitOf(name, 'It is not as qkspace wrote it: run the shard again.'),
  )
  return { name, file, saved: file.document as SavedPart }
}

/** What `mergeSums` takes besides the model and the parts. */
export interface MergeOptions {
  /** What goes on with the sums; default 'auto'. */
  backend?: BackendChoice
  /** Threads of the arithmetic, 0 = all. */
  threads?: number
  /** Refuse to need more bytes than this for the covariances; default half of the machine's memory. */
  memoryLimit?: number
  /** Ends the work with ERR_ABORTED. */
  signal?: AbortSignal
}

const OPTIONS = {
  backend: true,
  threads: true,
  memoryLimit: true,
  signal: true,
} satisfies Record<keyof MergeOptions, true>

/**
 * The sums of all shards, in any order of the files: the same whatever it is. Moments are those of one pass to 1e-12, and
 * rows are those of one pass to the bit, so that p-values and ranks are the same. Rows stay in the files, which must not
 * change until `disposeSums`; those of one group of heads and contrast are in memory at a time.
 *
 * Errors: ERR_PARTS with the list of shards that are missing, there twice, of another run or another model; ERR_TYPE,
 * ERR_FILE, ERR_FORMAT for a damaged part, ERR_MEMORY_LIMIT, ERR_ABORTED.
 */
export async function mergeSums(
  model: Model,
  files: readonly string[],
  options: MergeOptions = {},
): Promise<Sums> {
  checkModel(model, 'mergeSums')
  checkOptions(options, OPTIONS, 'mergeSums')
  if (!Array.isArray(files) || files.length === 0) {
    throw new QkError('ERR_TYPE', 'mergeSums takes a list of files that saveSums wrote')
  }
  const parts: Part[] = []
  for (const name of files) {
    throwIfAborted(options.signal)
    parts.push(await openPart(name))
  }
  parts.sort((a, b) => a.saved.shard.index - b.saved.shard.index)
  checkComplete(parts)
  const sums = await emptySums(model, parts, options)
  try {
    for (const { file } of parts) {
      throwIfAborted(options.signal)
      await addSavedMoments(sums, file)
    }
    await enterSavedRows(
      sums,
      parts.map(({ file }) => file),
    )
    return sums
  } catch (error) {
    disposeSums(sums)
    throw error
  }
}

/** Errors: ERR_PARTS. */
function checkComplete(parts: readonly Part[]): void {
  const [{ saved: first, name: firstName }] = parts
  const wrong: string[] = []
  for (const { name, saved } of parts) {
    const differ = differences(comparable(saved.identity), comparable(first.identity))
    if (saved.shard.count !== first.shard.count) {
      differ.push(`there are ${saved.shard.count} shards, expected ${first.shard.count}`)
    }
    if (differ.length > 0) {
      wrong.push(`${name} is of another run than ${firstName}: ${differ.join('; ')}`)
    }
  }
  if (wrong.length > 0) {
    throw refused(wrong)
  }
  const byIndex = new Map<number, string[]>()
  for (const { name, saved } of parts) {
    byIndex.set(saved.shard.index, [...(byIndex.get(saved.shard.index) ?? []), name])
  }
  const { count } = first.shard
  const missing = Array.from({ length: count }, (_, i) => i + 1).filter((index) => !byIndex.has(index))
  if (missing.length > 0) {
    wrong.push(`missing of ${count} shards: ${ranges(missing)}`)
  }
  for (const [index, names] of byIndex) {
    if (names.length > 1) {
      wrong.push(`shard ${shardName({ index, count })} is there ${names.length} times: ${names.join(', ')}`)
    }
  }
  if (wrong.length > 0) {
    throw refused(wrong)
  }
}

function refused(wrong: readonly string[]): QkError {
  return new QkError('ERR_PARTS', `the parts do not make a whole:\n  ${wrong.join('\n  ')}`, {
    hint: 'Run what is missing, and give every shard of one run once.',
  })
}

/** Processors may differ in their instruction sets: the last bits of rows then do, which is said as a warning. */
const comparable = (identity: RunIdentity): RunIdentity => ({ ...identity, instructionSet: '' })

/** Numbers in ascending order, as in 1-3, 7. */
function ranges(numbers: readonly number[]): string {
  const found: [number, number][] = []
  for (const n of numbers) {
    const last = found.at(-1)
    if (last && n === last[1] + 1) {
      last[1] = n
    } else {
      found.push([n, n])
    }
  }
  return found.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(', ')
}

async function emptySums(model: Model, parts: readonly Part[], options: MergeOptions): Promise<Sums> {
  const [{ saved, name }] = parts
  const { identity, prompts, sharing } = saved
  const estimator = identity.estimator as Sums['estimator']
  const heads = parseHeads(identity.heads.join(','), model.sites)
  const backend = selectBackend(options.backend).describe()
  const { sites } = planSites(model, heads, identity.contrasts, {
    ...options,
    backend: backend.choice,
    estimator,
  })
  const sums: Sums = {
    model,
    prompts,
    contrasts: identity.contrasts,
    estimator,
    batchSize: identity.batchSize,
    backend,
    sharing,
    sites,
    warnings: [...new Set([...parts.flatMap((part) => part.saved.warnings), ...mixedSets(parts)])],
  }
  if (identity.attention) {
    measureAttention(sites, identity.contrasts.length)
  }
  if (identity.rows) {
    keepRows(sites, prompts, estimator, { folder: undefined, keeps: () => true })
  }
  const own = await identityOf(sums)
  const { backend: summedBy, instructionSet } = identity
  const differ = differences({ ...own, backend: summedBy, instructionSet }, identity)
  if (differ.length > 0) {
    disposeSums(sums)
    throw refused([`${path.basename(model.path)} is not the model of ${name}: ${differ.join('; ')}`])
  }
  for (const [i, site] of sites.entries()) {
    site.relativeError =
      parts.map((part) => part.saved.relativeErrors[i]).find((error) => typeof error === 'number') ??
      Number.NaN
  }
  return sums
}

function mixedSets(parts: readonly Part[]): string[] {
  const sets = [...new Set(parts.map(({ saved }) => saved.identity.instructionSet))]
  return sets.length > 1
    ? [
        `shards were computed with several instruction sets (${sets.sort().join(', ')}): they agree to rounding`,
      ]
    : []
}
