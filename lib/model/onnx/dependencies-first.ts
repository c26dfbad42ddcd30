/**
 * Items after those that they need, depth first from the first of them on, with a stack of its own: graphs, and chains of
 * calls, may be deeper than the call stack. Throws what `circle` makes of an item that needs itself, `through` another.
 */
export function* dependenciesFirst<T>(
  items: Iterable<T>,
  needs: (item: T) => Iterable<T>,
  circle: (item: T, through: T) => Error,
): Generator<T> {
  const state = new Map<T, 'open' | 'done'>()
  const stack = [...items].reverse()
  while (stack.length > 0) {
    const item = stack[stack.length - 1]
    if (state.has(item)) {
      if (state.get(item) === 'open') {
        yield item
      }
      state.set(item, 'done')
      stack.pop()
      continue
    }
    state.set(item, 'open')
    for (const needed of needs(item)) {
      if (state.get(needed) === 'open') {
        throw circle(needed, item)
      }
      if (!state.has(needed)) {
        stack.push(needed)
      }
    }
  }
}
