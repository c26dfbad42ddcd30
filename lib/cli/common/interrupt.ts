/** Ctrl-C ends a command within a second, whatever it is at, and leaves no partial file. */

import { removeUnfinishedFiles, watchUnfinishedFiles } from '../../store/atomic-file.js'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/**
 * A signal's default action is what is wanted: it needs no turn of the event loop, which a long computation would
 * keep, and onnxruntime, which aborts when a process exits in an orderly way during a run, has no part in it. A
 * handler stands in its place only while there are files to remove.
 */
export function endAtOnceOnSignals(): void {
  watchUnfinishedFiles((some) => {
    for (const signal of SIGNALS) {
      process.off(signal, end)
      if (some) {
        process.on(signal, end)
      }
    }
  })
}

function end(signal: NodeJS.Signals): void {
  removeUnfinishedFiles()
  for (const one of SIGNALS) {
    process.off(one, end)
  }
  process.kill(process.pid, signal)
}
