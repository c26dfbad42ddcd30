/** Files appear whole or not at all: written under a temporary name beside the target, then renamed. */

import { randomBytes } from 'node:crypto'
import { constants, rmSync } from 'node:fs'
import { access, open, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { QkError } from '../errors.js'

const unfinished = new Set<string>()

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

/** Writes the chunks as one file, replacing what was there. Errors: ERR_FILE, with the system's reason. */
export async function writeFileAtomically(file: string, chunks: Iterable<Uint8Array>): Promise<void> {
  await checkWritable(file)
  const folder = path.dirname(path.resolve(file))
  const temporary = path.join(folder, `.${path.basename(file)}.${randomBytes(6).toString('hex')}.part`)
  unfinished.add(temporary)
  try {
    const handle = await open(temporary, 'wx')
    try {
      for (const chunk of chunks) await handle.writeFile(chunk)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, file)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
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
    unfinished.delete(temporary)
  }
}
