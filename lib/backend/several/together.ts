/** Calls of several devices that run side by side. */

/**
 * Waits until all calls have ended, whatever becomes of them, so that nothing runs on after an error. Of several errors,
 * that of the first device is thrown: the same one each time.
 */
export async function together<T>(calls: readonly Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(calls)
  return settled.map((result) => {
    if (result.status === 'rejected') {
      throw result.reason
    }
    return result.value
  })
}
