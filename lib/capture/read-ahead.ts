/** Stages of a pipeline that work beside each other. */

/**
 * The values of a source, where the next one is under way while the last is being used; never more than that one.
 * Leaving the loop early, or an error in it, waits for what is under way and ends the source.
 */
export async function* oneAhead<T>(source: AsyncGenerator<T, void>): AsyncGenerator<T, void> {
  const ask = () => {
    const next = source.next()
    // Its error is met when the value is awaited; until then nobody may be listening.
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
