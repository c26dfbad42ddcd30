/** Seeded random numbers, so that results can be reproduced from their seed. */

export interface Random {
  /** Uniform in [0, 1). */
  next(): number
  /** Uniform in {0, ..., n - 1}. */
  below(n: number): number
  /** Standard normal. */
  normal(): number
  pick<T>(items: readonly T[]): T
  /** `count` different items, in random order. */
  sample<T>(items: readonly T[], count: number): T[]
}

/** Generator of 2^32 states (mulberry32 by Tommy Ettinger), good enough for prompts and probes. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (n: number) => Math.floor(next() * n)
  return {
    next,
    below,
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    pick: (items) => items[below(items.length)],
    sample: (items, count) => {
      const pool = [...items]
      for (let i = 0; i < count; i++) {
        const j = i + below(pool.length - i)
        const moved = pool[i]
        pool[i] = pool[j]
        pool[j] = moved
      }
      return pool.slice(0, count)
    },
  }
}
