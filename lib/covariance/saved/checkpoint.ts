/**
 * The progress of a run in a folder, so that a run which is killed goes on where it was and ends with the same bits.
 *
 *   checkpoint.json        what the run is of, how far it is, and which files belong to it
 *   sums-N.safetensors     moments and attention up to there (saved-moments.ts)
 *   rows-N.safetensors     rows that were kept since the file before (saved-rows.ts)
 *   draws.bin              null values of the test (draw-journal.ts)
 *   lock                   the process that is at work
 *
 * Files are written whole or not at all, and checkpoint.json last: until it names them, they do not count.
 */

import { createHash, randomUUID } from 'node:crypto'
import { readdir, readFile, rm } from 'node:fs/promises'
import path from 'node:path'
import type { BatchPlace } from '../../capture/run.js'
import { QkError } from '../../errors.js'
import { makeFolder, writeFileAtomically } from '../../store/atomic-file.js'
import * as s from '../../store/reading/schema.js'
import { CheckedFile, writeChecked } from '../../store/saving/checked-tensors.js'
import { FolderLock } from '../../store/saving/folder-lock.js'
import { checkNumber, checkOptions } from '../../validate.js'
import type { RunCheckpoint } from '../checkpointing.js'
import { type Shard, shardName } from '../shard.js'
import type { Sums } from '../sums.js'
import { DrawJournal } from './draw-journal.js'
import { differences, identityOf, identitySchema, type RunIdentity } from './identity.js'
import { addSavedMoments, momentTensors } from './saved-moments.js'
import { enterSavedRows, type RowMark, releaseSavedRows, rowMark, rowTensors } from './saved-rows.js'

/** How often progress is kept. */
export interface CheckpointOptions {
  /** Seconds between two checkpoints, 60 by default; 0: after every batch. */
  every?: number
}

const OPTIONS = { every: true } satisfies Record<keyof CheckpointOptions, true>

const MANIFEST = 'checkpoint.json'
const DRAWS = 'draws.bin'
const OWN_FILE = /^(?:(?:sums|rows)-\d+\.safetensors|\.qkspace-.*\.part)$/

interface Manifest {
  format: 'qkspace-checkpoint'
  formatVersion: number
  /** Tells the files of this checkpoint from those of others. */
  run: string
  identity: RunIdentity
  shard: string
  /** Batches that lie behind, and prompts in them. */
  batches: number
  promptsDone: number
  /** Whether all batches do. */
  captured: boolean
  relativeErrors: (number | null)[]
  /** Number of the last file of sums. */
  generation: number
  rows: string[]
}

const manifestSchema = s.fields({
  format: s.oneOf('qkspace-checkpoint'),
  formatVersion: s.oneOfNumbers(1),
  run: s.text,
  identity: identitySchema,
  shard: s.text,
  batches: s.count,
  promptsDone: s.count,
  captured: s.flag,
  relativeErrors: s.numbers,
  generation: s.count,
  rows: s.texts,
} satisfies s.Fields<Manifest>)

/** The progress of one run; `openCheckpoint` makes it. Give it to `accumulate` and `decompose`, or to `sweep`. */
export class Checkpoint implements RunCheckpoint {
  #manifest: Manifest | undefined
  #mark: RowMark = { pieces: [], sequences: [] }
  #written = performance.now()
  #journal: DrawJournal | undefined

  /** @internal */
  constructor(
    /** The folder, as it was given. */
    readonly folder: string,
    private readonly every: number,
    private readonly lock: FolderLock,
  ) {}

  /** @internal */
  async begin(sums: Sums): Promise<number> {
    const identity = await identityOf(sums)
    const found = await readManifest(this.folder)
    if (found) {
      this.#refuseForeign(found, identity, sums.shard)
      await this.#restore(sums, found)
    } else {
      await this.#clear()
    }
    this.#manifest = found ?? {
      format: 'qkspace-checkpoint',
      formatVersion: 1,
      run: randomUUID(),
      identity,
      shard: nameOf(sums.shard),
      batches: 0,
      promptsDone: 0,
      captured: false,
      relativeErrors: [],
      generation: 0,
      rows: [],
    }
    await this.#journal?.close()
    this.#journal = await DrawJournal.open(this.#path(DRAWS))
    this.#mark = rowMark(sums)
    this.#written = performance.now()
    return this.#manifest.batches
  }

  /** @internal */
  async batchDone(sums: Sums, { index, promptsDone }: BatchPlace): Promise<void> {
    if (performance.now() - this.#written >= 1000 * this.every) {
      await this.#write(sums, { batches: index + 1, promptsDone, captured: false })
    }
  }

  /** @internal */
  async captured(sums: Sums): Promise<void> {
    const { captured, batches } = this.#begun()
    if (!captured) {
      const { prompts } = sums.prompts
      const all = Math.ceil(prompts / sums.batchSize)
      await this.#write(sums, { batches: Math.max(batches, all), promptsDone: prompts, captured: true })
    }
  }

  /** @internal */
  draws(key: string, compute: () => Promise<Float64Array>): Promise<Float64Array> {
    this.#begun()
    return this.#journal!.values(key, compute)
  }

  /** Lets go of the folder, which stays as it is: a later run goes on from it. */
  async close(): Promise<void> {
    await this.#journal?.close()
    this.#journal = undefined
    await this.lock.release()
  }

  #begun(): Manifest {
    if (!this.#manifest) {
      throw new QkError('ERR_ARGUMENT', 'the checkpoint belongs to no sums yet', {
        hint: 'Give it to accumulate first, and to decompose with what came of it.',
      })
    }
    return this.#manifest
  }

  #path(name: string): string {
    return path.join(this.folder, name)
  }

  async #write(sums: Sums, progress: Pick<Manifest, 'batches' | 'promptsDone' | 'captured'>): Promise<void> {
    const before = this.#begun()
    const generation = before.generation + 1
    const document = { run: before.run, generation }
    const mark = rowMark(sums)
    const rows = rowTensors(sums, this.#mark)
    const rowsName = `rows-${generation}.safetensors`
    const grew = grown(this.#mark, mark)
    if (grew) {
      await writeChecked(this.#path(rowsName), document, rows)
    }
    await writeChecked(this.#path(`sums-${generation}.safetensors`), document, momentTensors(sums))
    const next: Manifest = {
      ...before,
      ...progress,
      generation,
      relativeErrors: sums.sites.map(({ relativeError }) => relativeError),
      rows: grew ? [...before.rows, rowsName] : before.rows,
    }
    await writeManifest(this.folder, next)
    this.#manifest = next
    if (grew) {
      releaseSavedRows(sums, await CheckedFile.open(this.#path(rowsName)), this.#mark)
    }
    this.#mark = mark
    if (before.generation > 0) {
      await rm(this.#path(`sums-${before.generation}.safetensors`), { force: true })
    }
    this.#written = performance.now()
  }

  /** Errors: ERR_CHECKPOINT. */
  #refuseForeign(found: Manifest, identity: RunIdentity, shard: Shard | undefined): void {
    const differ = differences(identity, found.identity)
    if (found.shard !== nameOf(shard)) {
      differ.push(`the shard is ${nameOf(shard)}, expected ${found.shard}`)
    }
    if (differ.length > 0) {
      throw new QkError(
        'ERR_CHECKPOINT',
        `${this.folder} is the checkpoint of another run: ${differ.join('; ')}`,
        { hint: 'Go on with what it was begun with, or give another folder.' },
      )
    }
  }

  async #restore(sums: Sums, { run, generation, rows, relativeErrors }: Manifest): Promise<void> {
    const open = async (name: string): Promise<CheckedFile> => {
      const file = await CheckedFile.open(this.#path(name))
      if ((file.document as { run?: unknown }).run !== run) {
        throw new QkError('ERR_CHECKPOINT', `${file.file} belongs to another checkpoint`)
      }
      await file.verify()
      return file
    }
    if (generation > 0) {
      await addSavedMoments(sums, await open(`sums-${generation}.safetensors`))
    }
    const files: CheckedFile[] = []
    for (const name of rows) {
      files.push(await open(name))
    }
    await enterSavedRows(sums, files)
    for (const [i, site] of sums.sites.entries()) {
      site.relativeError = relativeErrors[i] ?? Number.NaN
    }
  }

  /** Removes what a run left that was killed before its first checkpoint. Errors: ERR_CHECKPOINT for other files. */
  async #clear(): Promise<void> {
    const names = (await readdir(this.folder)).filter((name) => name !== FolderLock.file && name !== DRAWS)
    const other = names.find((name) => !OWN_FILE.test(name))
    if (other !== undefined) {
      throw new QkError('ERR_CHECKPOINT', `${this.folder} is no checkpoint: it holds ${other}`, {
        hint: 'Give a folder that is empty, or does not exist.',
      })
    }
    await Promise.all([...names, DRAWS].map((name) => rm(this.#path(name), { force: true })))
  }
}

/**
 * A checkpoint in a folder, which is made where there is none. One process at a time holds it, until `close`.
 * Errors: ERR_TYPE, ERR_ARGUMENT, ERR_FILE, ERR_CHECKPOINT where another process holds it.
 */
export async function openCheckpoint(folder: string, options: CheckpointOptions = {}): Promise<Checkpoint> {
  checkOptions(options, OPTIONS, 'openCheckpoint')
  if (typeof folder !== 'string' || folder === '') {
    throw new QkError('ERR_TYPE', 'openCheckpoint takes the path of a folder')
  }
  const every = checkNumber(options.every ?? 60, 'every')
  if (every < 0) {
    throw new QkError('ERR_ARGUMENT', `every is ${every}, expected a number of seconds`)
  }
  makeFolder(folder)
  return new Checkpoint(folder, every, await FolderLock.take(folder))
}

const nameOf = (shard: Shard | undefined): string => (shard ? shardName(shard) : 'all')

const grown = (from: RowMark, to: RowMark): boolean =>
  to.pieces.some((count, c) => count > from.pieces[c]) ||
  to.sequences.some((count, c) => count > from.sequences[c])

const sumOf = (text: string): string => createHash('sha256').update(text).digest('hex')

async function writeManifest(folder: string, manifest: Manifest): Promise<void> {
  const sha256 = sumOf(JSON.stringify(manifest))
  const text = JSON.stringify({ ...manifest, sha256 }, null, 2)
  await writeFileAtomically(path.join(folder, MANIFEST), [Buffer.from(`${text}\n`)])
}

/** Undefined where there is none. Errors: ERR_FORMAT, ERR_FILE. */
async function readManifest(folder: string): Promise<Manifest | undefined> {
  const file = path.join(folder, MANIFEST)
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
      return undefined
    }
    throw new QkError('ERR_FILE', `cannot read ${file}: ${(cause as Error).message}`, { cause })
  }
  const misfit = s.misfitOf(file, 'The checkpoint is damaged: begin again in another folder.')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw misfit('', 'is not JSON')
  }
  s.checkDocument(manifestSchema, value, misfit)
  const { sha256, ...manifest } = value as Manifest & { sha256?: unknown }
  if (sha256 !== sumOf(JSON.stringify(manifest))) {
    throw misfit('', 'is not what was written')
  }
  return manifest
}
