/**
 * Yields every item after the items that it needs: a depth-first topological sort. The sort keeps its own stack,
 * since graphs and chains of calls may be deeper than the call stack. If an item needs itself, directly or through
 * others, the sort throws `circle(item, through)`, where `through` is the item that closes the cycle.
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
