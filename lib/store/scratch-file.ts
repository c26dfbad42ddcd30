/**
 * Temporary names of files that are being written. They lie beside the file that they become, and name the process that
 * writes them, so that those of a process that was killed are found and removed by a later one.
 */

import { createHash, randomBytes } from 'node:crypto'
import { readlinkSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'

/** Process numbers mean something on one machine, and in containers within one namespace. */
function machine(): string {
  let namespace = ''
  try {
    namespace = readlinkSync('/proc/self/ns/pid')
  } catch {
    // Other systems than Linux have none.
  }
  return createHash('sha256').update(`${hostname()}\n${namespace}`).digest('hex').slice(0, 8)
}

/** Tells the processes of this machine, and of this namespace, from others. */
export const MACHINE = machine()

/** Short, whatever the name of the file that it becomes: that may be as long as the file system allows. */
const NAME = /^\.qkspace-([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.part$/

/** A new temporary name in a folder. */
export function scratchPath(folder: string): string {
  return path.join(folder, `.qkspace-${MACHINE}-${process.pid}-${randomBytes(6).toString('hex')}.part`)
}

/** Folders that have been looked through. */
const cleaned = new Set<string>()

/** Removes what processes that are gone left in a folder; once for each folder. */
export async function removeStaleFiles(folder: string): Promise<void> {
  if (cleaned.has(folder)) {
    return
  }
  cleaned.add(folder)
  const names = await readdir(folder).catch(() => [])
  const stale = names.filter((name) => {
    const [, owner, pid] = NAME.exec(name) ?? []
    return owner === MACHINE && !isAlive(Number(pid))
  })
  await Promise.all(stale.map((name) => rm(path.join(folder, name), { force: true }).catch(() => {})))
}

/** Whether a process of this machine runs. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // A process of another user may not be asked, but is there.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
