/** Ctrl-C ends a command within a second, whatever it is doing, and leaves no partial file. */

import { removeUnfinishedFiles, watchUnfinishedFiles } from '../../store/atomic-file.js'

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/**
 * Relies on a signal's default action, which ends the process at once. It needs no turn of the event loop, which a
 * long computation would block. It also avoids an orderly exit, during which onnxruntime would abort if it is running.
 * A handler is installed only while there are files to remove.
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
