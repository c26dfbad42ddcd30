/** Calls of several devices that run side by side. */

import { onAbort } from '../../errors.js'

/**
 * Starts all calls and waits until each has ended, whatever becomes of the others. If one fails, the others are stopped,
 * and the first error that is not theirs is thrown.
 */
export async function together<T>(
  signal: AbortSignal | undefined,
  calls: readonly ((signal: AbortSignal) => Promise<T>)[],
): Promise<T[]> {
  const stop = new AbortController()
  const release = onAbort(signal, () => stop.abort(signal?.reason))
  if (signal?.aborted) {
    stop.abort(signal.reason)
  }
  const errors: unknown[] = []
  try {
    const results = await Promise.all(
      calls.map(async (start) => {
        try {
          return await start(stop.signal)
        } catch (error) {
          errors.push(error)
          stop.abort()
          return undefined
        }
      }),
    )
    if (errors.length > 0) {
      throw errors[0]
    }
    return results as T[]
  } finally {
    release()
  }
}
