/** One process at a time uses a folder, also where several machines see it. */

import { open, readFile, rm, stat, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import { QkError } from '../../errors.js'
import { isAlive, MACHINE, scratchPath } from '../scratch-file.js'

const NAME = 'lock'
/** Milliseconds between two signs of life. */
const HEARTBEAT = 10_000
/** A lock of another machine without a sign of life for so long is that of a process that is gone. */
const GONE_AFTER = 90_000

/** Holds the folder until it is released. A process that is killed leaves the lock, which the next one takes over. */
export class FolderLock {
  readonly #file: string
  readonly #timer: NodeJS.Timeout

  private constructor(file: string) {
    this.#file = file
    this.#timer = setInterval(() => {
      const now = new Date()
      // Where the folder is gone, whoever writes next meets the error.
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

/** Undefined where the lock is gone, or whoever made it was killed before it was written. */
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

/** What time it is where the folder lies: clocks of machines differ. */
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
