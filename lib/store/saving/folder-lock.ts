/** A lock that lets one process at a time use a folder, even if several machines share it. */

import { open, readFile, rm, stat, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { QkError } from '../../errors.js'
import { isAlive, MACHINE, scratchPath } from '../scratch-file.js'

const NAME = 'lock'
/** Milliseconds between two heartbeats. */
const HEARTBEAT = 10_000
/** Milliseconds without a heartbeat after which a lock of another machine counts as abandoned. */
const GONE_AFTER = 90_000

/**
 * Holds the folder until it is released. A killed process leaves the lock behind, and the next process takes it over.
 */
export class FolderLock {
  readonly #file: string
  readonly #timer: NodeJS.Timeout

  private constructor(file: string) {
    this.#file = file
    this.#timer = setInterval(() => {
      const now = new Date()
      // If the folder is gone, the next writer meets the error.
      utimes(file, now, now).catch(() => {})
    }, HEARTBEAT)
    this.#timer.unref()
  }

  /** Name of the file in the folder. */
  static readonly file = NAME

  /** Errors: ERR_CHECKPOINT where another process holds it, ERR_FILE. */
  static async take(folder: string): Promise<FolderLock> {
    const file = path.join(folder, NAME)
    for (let attempt = 0; attempt < 3; attempt++) {
      if (await made(file)) {
        return new FolderLock(file)
      }
      const owner = await ownerOf(file)
      if (owner && !(await isGone(folder, file, owner))) {
        throw new QkError('ERR_CHECKPOINT', `${folder} is in use by process ${owner.pid} on ${owner.host}`, {
          hint: 'Wait until it ends; its results are the same.',
        })
      }
      await rm(file, { force: true })
    }
    throw new QkError('ERR_CHECKPOINT', `${folder} is in use: other processes take it again and again`)
  }

  async release(): Promise<void> {
    clearInterval(this.#timer)
    await rm(this.#file, { force: true })
  }
}

interface Owner {
  machine: string
  pid: number
  host: string
}

async function made(file: string): Promise<boolean> {
  try {
    const handle = await open(file, 'wx')
    await handle.writeFile(JSON.stringify({ machine: MACHINE, pid: process.pid, host: hostname() }))
    await handle.close()
    return true
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') {
      return false
    }
    throw new QkError('ERR_FILE', `cannot write ${file}: ${(cause as Error).message}`, { cause })
  }
}

/** Owner of a lock. Undefined if the lock is gone, or if its process was killed before it wrote its name. */
async function ownerOf(file: string): Promise<Owner | undefined> {
  try {
    const { machine, pid, host } = JSON.parse(await readFile(file, 'utf8'))
    return Number.isSafeInteger(pid) ? { machine, pid, host } : undefined
  } catch {
    return undefined
  }
}

async function isGone(folder: string, file: string, { machine, pid }: Owner): Promise<boolean> {
  if (machine === MACHINE) {
    return !isAlive(pid)
  }
  const found = await stat(file).catch(() => undefined)
  return !found || (await folderTime(folder)) - found.mtimeMs > GONE_AFTER
}

/** The time by the clock of the folder's file system, since the clocks of machines differ. */
async function folderTime(folder: string): Promise<number> {
  const probe = scratchPath(folder)
  const handle = await open(probe, 'wx')
  try {
    return (await handle.stat()).mtimeMs
  } finally {
    await handle.close()
    await rm(probe, { force: true })
  }
}
