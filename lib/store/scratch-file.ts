/**
 * Temporary names of files that are being written. Such a file lies beside its target, and its name contains the
 * writing process. If that process was killed, a later process finds the file and removes it.
 */

import { createHash, randomBytes } from 'node:crypto'
import { readlinkSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'

/** Identifies where process ids are valid: one machine, and in containers one namespace. */
function machine(): string {
  let namespace = ''
  try {
    namespace = readlinkSync('/proc/self/ns/pid')
  } catch {
    // Only Linux has namespaces.
  }
  return createHash('sha256').update(`${hostname()}\n${namespace}`).digest('hex').slice(0, 8)
}

/** Identifies this machine and this namespace. */
export const MACHINE = machine()

/** The name is short whatever the target's name, which may be as long as the file system allows. */
const NAME = /^\.qkspace-([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.part$/

/** A new temporary name in a folder. */
export function scratchPath(folder: string): string {
  return path.join(folder, `.qkspace-${MACHINE}-${process.pid}-${randomBytes(6).toString('hex')}.part`)
}

/** Folders that have been cleaned. */
const cleaned = new Set<string>()

/** Removes the files that killed processes left in a folder. Each folder is cleaned once. */
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

/** Whether a process of this machine is running. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // A process of another user exists, but may not be signalled.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
