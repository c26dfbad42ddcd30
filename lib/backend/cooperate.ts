/** Long loops in JavaScript that leave the event loop free and can be aborted. */

import { throwIfAborted } from '../errors.js'

/** Resolves at once, or after a turn of the event loop when the last one was more than 8 ms ago. */
export function cooperator(signal?: AbortSignal): () => Promise<void> | undefined {
  let last = performance.now()
  return () => {
    if (performance.now() - last < 8) {
      return undefined
    }
    return new Promise<void>((resolve, reject) => {
      setImmediate(() => {
        last = performance.now()
        try {
          throwIfAborted(signal)
          resolve()
        } catch (error) {
          reject(error)
        }
      })
    })
  }
}
