/** Pipeline stages that run concurrently. */

/**
 * The values of a source, reading one value ahead: the next one is computed while the current one is used. Leaving the
 * loop early, or an error in it, waits for the pending value and ends the source.
 */
export async function* oneAhead<T>(source: AsyncGenerator<T, void>): AsyncGenerator<T, void> {
  const ask = () => {
    const next = source.next()
    // The error is handled when the value is awaited; until then it must not count as unhandled.
    next.catch(() => {})
    return next
  }
  try {
    let next = ask()
    for (;;) {
      const { value, done } = await next
      if (done) {
        return
      }
      next = ask()
      yield value
    }
  } finally {
    await source.return()
  }
}
