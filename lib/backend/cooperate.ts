/** Long loops in JavaScript that leave the event loop free and can be aborted. */

import { throwIfAborted } from '../errors.js'

/** A turn of the event loop, if one is due. Errors: ERR_ABORTED. */
export type Turn = () => Promise<void> | undefined

/** Milliseconds that work may take between two turns of the event loop. */
const WITHOUT_A_TURN = 8

/**
 * When the event loop last ran, for all loops together. Many short loops in a row would block it like one long loop.
 */
let lastTurn = 0

/** Resolves at once, or after a turn of the event loop when the last one was more than 8 ms ago. */
export function cooperator(signal?: AbortSignal): Turn {
  return () => {
    if (performance.now() - lastTurn < WITHOUT_A_TURN) {
      return undefined
    }
    return new Promise<void>((resolve, reject) => {
      setImmediate(() => {
        lastTurn = performance.now()
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
