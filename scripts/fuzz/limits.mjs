/** Limits of a process and of those that it has started: memory, and time without progress. Linux. */

import { readFileSync } from 'node:fs'

const PAGE = 4096

/** Bytes in memory of a process and of all that it has started. */
export function residentBytes(pid) {
  try {
    const own = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * PAGE
    return childrenOf(pid).reduce((sum, child) => sum + residentBytes(child), own)
  } catch {
    // It has ended.
    return 0
  }
}

/** Ends a process and all that it has started. */
export function killTree(pid) {
  const children = childrenOf(pid)
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
  for (const child of children) {
    killTree(child)
  }
}

function childrenOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map(Number)
  } catch {
    return []
  }
}

/**
 * Watches a process: `progress` gives a value that changes while it gets on. It is ended where the value stays the same
 * for `seconds`, or where the process takes more than `bytes`; `over` is then told which. Returns what ends the watch.
 */
export function watch(pid, { seconds, bytes, progress = () => 0 }, over) {
  let last = progress()
  let since = Date.now()
  const timer = setInterval(() => {
    const now = progress()
    if (now !== last) {
      last = now
      since = Date.now()
    }
    const late = Date.now() - since > seconds * 1000
    if (!late && residentBytes(pid) <= bytes) {
      return
    }
    clearInterval(timer)
    over(late ? 'hang' : 'memory')
    killTree(pid)
  }, 50)
  return () => clearInterval(timer)
}
