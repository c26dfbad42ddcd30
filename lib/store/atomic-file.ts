/** Files appear whole or not at all: written under a temporary name beside the target, then renamed. */

import { closeSync, constants, createReadStream, mkdirSync, openSync, rmSync, type Stats } from 'node:fs'
import { access, type FileHandle, open, readlink, realpath, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { QkError } from '../errors.js'
import { removeStaleFiles, scratchPath } from './scratch-file.js'

const unfinished = new Set<string>()
let watch: (some: boolean) => void = () => {}

/** Calls `watcher` when the first unfinished file appears and when the last one is gone. */
export function watchUnfinishedFiles(watcher: (some: boolean) => void): void {
  watch = watcher
}

/** Removes what has been written so far; for signal handlers, just before the process ends. */
export function removeUnfinishedFiles(): void {
  for (const file of unfinished) {
    rmSync(file, { force: true })
  }
  unfinished.clear()
}

/** The target of a write, and what is already there. */
interface Target {
  /** The path, with symbolic links followed. */
  path: string
  folder: string
  found: Stats | undefined
}

/**
 * Checks that a file can be made here, by making one beside it, before long work starts. Links are followed. Errors:
 * ERR_FILE, ERR_TYPE.
 */
export async function checkWritable(file: string): Promise<void> {
  await probedTarget(file)
}

async function probedTarget(file: string): Promise<Target> {
  if (typeof file !== 'string' || file === '') {
    throw new QkError(
      'ERR_TYPE',
      `a file is named by its path, got ${file === '' ? 'an empty text' : typeof file}`,
    )
  }
  const found = await existing(file)
  if (found && !found.isFile()) {
    // Renaming over a device such as /dev/null would replace it.
    throw new QkError(
      'ERR_FILE',
      `cannot write ${file}: it is ${found.isDirectory() ? 'a folder' : 'not a file'}`,
    )
  }
  const target = await withoutLinks(file)
  const folder = path.dirname(target)
  if (!(await stat(folder).catch(() => undefined))?.isDirectory()) {
    throw new QkError('ERR_FILE', `cannot write ${file}: there is no folder ${folder}`)
  }
  if (found) {
    await access(target, constants.W_OK).catch((cause) => {
      throw new QkError('ERR_FILE', `cannot write ${file}: permission denied`, { cause })
    })
  }
  await removeStaleFiles(folder)
  probe(file, folder)
  return { path: target, folder, found }
}

/** The file that is already there, with links followed. Errors: ERR_FILE if the path cannot name a file. */
async function existing(file: string): Promise<Stats | undefined> {
  return stat(file).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') {
      return undefined
    }
    const reasons: Record<string, string> = {
      ENAMETOOLONG: 'its name is too long',
      ELOOP: 'its links lead round in a circle',
      EACCES: 'permission denied',
    }
    throw new QkError('ERR_FILE', `cannot write ${file}: ${reasons[cause.code ?? ''] ?? cause.message}`, {
      cause,
    })
  })
}

/** The most links that are followed: the limit of Linux. */
const MOST_LINKS = 40

/** The path with all links resolved. The last link may lead to a file that does not exist yet. */
async function withoutLinks(file: string): Promise<string> {
  let at = path.resolve(file)
  for (let links = 0; links < MOST_LINKS; links++) {
    const link = await readlink(at).catch(() => undefined)
    if (link === undefined) {
      return at
    }
    const folder = await realpath(path.dirname(at))
    at = path.resolve(folder, link)
  }
  throw new QkError('ERR_FILE', `cannot write ${file}: its links lead round in a circle`)
}

/**
 * Makes a file in the folder and removes it again. Permissions and the kind of file system alone cannot tell whether
 * a file can be made.
 */
function probe(file: string, folder: string): void {
  const scratch = scratchPath(folder)
  begin(scratch)
  try {
    makeEmpty(scratch)
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const reasons: Record<string, string> = {
      EACCES: `permission denied in the folder ${folder}`,
      EPERM: `permission denied in the folder ${folder}`,
      EROFS: `the file system of the folder ${folder} is read-only`,
      ENOSPC: 'the disk is full',
      EDQUOT: 'the disk quota is used up',
    }
    const why =
      reasons[code ?? ''] ?? `no file can be made in the folder ${folder} (${message.split(',')[0]})`
    throw new QkError('ERR_FILE', `cannot write ${file}: ${why}`, {
      hint: 'Write to another folder.',
      cause,
    })
  } finally {
    rmSync(scratch, { force: true })
    end(scratch)
  }
}

/** From here on a signal removes the file, until `end`. */
function begin(scratch: string): void {
  unfinished.add(scratch)
  watch(true)
}

function end(scratch: string): void {
  unfinished.delete(scratch)
  if (unfinished.size === 0) {
    watch(false)
  }
}

/**
 * Makes the file before the event loop comes round: a thread that makes it later could do so after a signal has had
 * everything removed.
 */
function makeEmpty(scratch: string): void {
  closeSync(openSync(scratch, 'wx'))
}

/**
 * Checks that a file can be made here, and that any existing file is of the same kind. A mistyped name must not
 * replace a model or a prompt set. `what` names the kind. Errors: ERR_FILE.
 */
export async function checkReplaceable(
  file: string,
  what: string,
  isOfKind: (file: string) => boolean | Promise<boolean>,
): Promise<void> {
  await checkWritable(file)
  const exists = await stat(file).catch(() => undefined)
  if (!exists || (await isOfKind(file))) {
    return
  }
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

/** Chunks of bytes, synchronous or asynchronous. */
export type Chunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/**
 * Writes the chunks as one file and replaces an existing one. A link is kept, and its target gets the new content.
 * The file keeps its mode, and its owner where the system allows it. Errors: ERR_FILE, with the system's reason, and
 * QkErrors thrown by the source of the chunks.
 */
export async function writeFileAtomically(file: string, chunks: Chunks): Promise<void> {
  await withScratchFile(file, chunks, (_, scratch, target) => rename(scratch, target))
}

/** Bytes per read. */
const CHUNK_BYTES = 2 ** 20

/**
 * Writes the chunks to a scratch file beside `file`, which exists while `use` runs. `use` receives a function that
 * reads the chunks, the path of the scratch file, which it may move away, and the path of `file` with links followed.
 * Errors: as `writeFileAtomically`.
 */
export async function withScratchFile(
  file: string,
  chunks: Chunks,
  use: (read: () => AsyncIterable<Uint8Array>, scratch: string, target: string) => Promise<void>,
): Promise<void> {
  const target = await probedTarget(file)
  const scratch = scratchPath(target.folder)
  begin(scratch)
  try {
    makeEmpty(scratch)
    const handle = await open(scratch, 'r+')
    try {
      if (target.found) {
        await likeFound(handle, target.found)
      }
      for await (const chunk of chunks) {
        await handle.writeFile(chunk)
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
    await use(() => createReadStream(scratch, { highWaterMark: CHUNK_BYTES }), scratch, target.path)
  } catch (error) {
    if (error instanceof QkError) {
      throw error
    }
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
    end(scratch)
  }
}

/** Gives a file the owner and the mode of another. The owner changes only where the system allows it. */
async function likeFound(handle: FileHandle, { uid, gid, mode }: Stats): Promise<void> {
  const own = await handle.stat()
  if (own.uid !== uid || own.gid !== gid) {
    await handle.chown(uid, gid).catch(() => {})
  }
  // The mode is set after the owner, since a change of owner may clear bits of the mode.
  await handle.chmod(mode & 0o7777)
}
