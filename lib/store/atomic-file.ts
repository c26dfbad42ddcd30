/** Files appear whole or not at all: written under a temporary name beside the target, then renamed. */

import { randomBytes } from 'node:crypto'
import { constants, createReadStream, mkdirSync, rmSync } from 'node:fs'
import { access, open, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { QkError } from '../errors.js'

const unfinished = new Set<string>()
let watch: (some: boolean) => void = () => {}

/** `watcher` hears when there begin to be unfinished files, and when there are none any more. */
export function watchUnfinishedFiles(watcher: (some: boolean) => void): void {
  watch = watcher
}

/** Removes what has been written so far; for signal handlers, just before the process ends. */
export function removeUnfinishedFiles(): void {
  for (const file of unfinished) rmSync(file, { force: true })
  unfinished.clear()
}

/** Checks that a file could be made here, before long work starts. Errors: ERR_FILE. */
export async function checkWritable(file: string): Promise<void> {
  const folder = path.dirname(path.resolve(file))
  const found = await stat(folder).catch(() => undefined)
  if (!found?.isDirectory()) {
    throw new QkError('ERR_FILE', `cannot write ${file}: there is no folder ${folder}`)
  }
  const target = await stat(file).catch(() => undefined)
  if (target && !target.isFile()) {
    // Renaming over a device such as /dev/null would replace it.
    throw new QkError(
      'ERR_FILE',
      `cannot write ${file}: it is ${target.isDirectory() ? 'a folder' : 'not a file'}`,
    )
  }
  await access(target ? file : folder, constants.W_OK).catch((cause) => {
    throw new QkError('ERR_FILE', `cannot write ${file}: permission denied`, { cause })
  })
}

/**
 * Checks that a file could be made here, and that what is there already, if anything, is of the same kind: a slip
 * of the hand must not replace a model or a prompt set. `what` names the kind. Errors: ERR_FILE.
 */
export async function checkReplaceable(
  file: string,
  what: string,
  isOfKind: (file: string) => boolean | Promise<boolean>,
): Promise<void> {
  await checkWritable(file)
  const exists = await stat(file).catch(() => undefined)
  if (!exists || (await isOfKind(file))) return
  throw new QkError('ERR_FILE', `cannot write ${file}: it exists, and is not ${what}`, {
    hint: 'Choose another name, or remove the file first.',
  })
}

/** The first bytes of a file, as many as there are. */
export async function fileStart(file: string, length: number): Promise<Buffer> {
  const handle = await open(file)
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

/** Makes a folder and those above it. Errors: ERR_FILE. */
export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true })
  } catch (cause) {
    throw new QkError('ERR_FILE', `cannot make the folder ${folder}: ${(cause as Error).message}`, { cause })
  }
}

/** Chunks of bytes, at once or as they come. */
export type Chunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/**
 * Writes the chunks as one file, replacing what was there. Errors: ERR_FILE, with the system's reason, and QkErrors of
 * whoever gives the chunks.
 */
export async function writeFileAtomically(file: string, chunks: Chunks): Promise<void> {
  await withScratchFile(file, chunks, (_, scratch) => rename(scratch, file))
}

/** Bytes that are read at once. */
const CHUNK_BYTES = 2 ** 20

/**
 * Writes the chunks to a file beside another one, for as long as `use` takes, which is given a way to read them and the
 * name of the file, and may take it away. Errors: as `writeFileAtomically`.
 */
export async function withScratchFile(
  file: string,
  chunks: Chunks,
  use: (read: () => AsyncIterable<Uint8Array>, scratch: string) => Promise<void>,
): Promise<void> {
  await checkWritable(file)
  const folder = path.dirname(path.resolve(file))
  const scratch = path.join(folder, `.${path.basename(file)}.${randomBytes(6).toString('hex')}.part`)
  unfinished.add(scratch)
  watch(true)
  try {
    const handle = await open(scratch, 'wx')
    try {
      for await (const chunk of chunks) await handle.writeFile(chunk)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await use(() => createReadStream(scratch, { highWaterMark: CHUNK_BYTES }), scratch)
  } catch (error) {
    if (error instanceof QkError) throw error
    const full = (error as NodeJS.ErrnoException).code === 'ENOSPC'
    throw new QkError(
      'ERR_FILE',
      `cannot write ${file}: ${full ? 'the disk is full' : (error as Error).message}`,
      {
        cause: error,
        hint: full ? 'Nothing was kept. Free some space, or write to another disk.' : undefined,
      },
    )
  } finally {
    await rm(scratch, { force: true }).catch(() => {})
    unfinished.delete(scratch)
    if (unfinished.size === 0) watch(false)
  }
}
