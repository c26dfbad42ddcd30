/**
 * Tests whether the effect in one half of the units holds in the other (docs/method.md, Rank 9). Heads are screened on
 * one half. For heads that pass, the direction found there is tested on the other half, one-sided.
 */

import type { BackendChoice } from '../../backend/select.js'
import { leastPOfSigns } from '../../contrast/unit-limits.js'
import type { UnitKey } from '../../math/unit-hash.js'
import { svd } from '../svd.js'
import type { Hypothesis, NullData, NullSource } from './exchange/null-source.js'
import { halfOf } from './exchange/signs.js'
import { adjustedByRate, atMost } from './false-discovery.js'
import { screen, Tally } from './growing-draws.js'
import { standardError } from './near-ties.js'

/** One direction: found on one half, tested on the other. */
export interface Replica {
  /** One-sided p of sum_u u_A^T D_u v_A on the other half. */
  p: number
  /** u_A^T ΔC_B v_A / s_A, signed. Near 1 if both halves agree. */
  ratio: number
  /** 1.96 standard errors of the ratio, over the units of the other half. */
  error: number
}

export interface Replication extends Replica {
  replicated: boolean
}

const ONE_SIDED_STAGES = [999, 9_999]

export interface HalvesOptions {
  hypothesis: Hypothesis
  alpha: number
  draws: number
  seed: number
  backend?: BackendChoice
  signal?: AbortSignal
}

/**
 * Replicas of every head from the first half to the second, and back. Undefined for heads that did not pass the
 * screen.
 */
export async function replicas(
  data: NullData,
  options: HalvesOptions,
): Promise<[(Replica | undefined)[], (Replica | undefined)[]]> {
  const { hypothesis, seed } = options
  const half = (which: 0 | 1) => (unit: UnitKey) => halfOf(seed, unit) === which
  const first = await data.source(hypothesis, half(0))
  try {
    const second = await data.source(hypothesis, half(1))
    try {
      return [await oneWay(first, second, options), await oneWay(second, first, options)]
    } finally {
      second.release()
    }
  } finally {
    first.release()
  }
}

async function oneWay(
  from: NullSource,
  to: NullSource,
  { alpha, draws, backend, signal }: HalvesOptions,
): Promise<(Replica | undefined)[]> {
  const heads = Array.from({ length: from.heads }, (_, h) => h)
  const found: (Replica | undefined)[] = heads.map(() => undefined)
  const fewest = Math.min(from.units.length, to.units.length)
  if (leastPOfSigns(fewest) > alpha) {
    return found
  }
  const tallies = await screen(from, heads, [draws], signal)
  const passed = heads.filter((h) => tallies[h].p <= alpha)
  if (passed.length === 0) {
    return found
  }
  const d = from.headDim
  const matrices = await from.observed(passed, signal)
  const { u, s, v } = await svd(matrices, { n: passed.length, rows: d, cols: d, rank: 1, backend, signal })
  for (const [i, head] of passed.entries()) {
    const of = (side: Float64Array) => side.slice(i * d, (i + 1) * d)
    const tally = new Tally(0)
    for (const stage of ONE_SIDED_STAGES) {
      const sums = await to.directed(head, of(u), of(v), stage + 1, signal)
      tally.observed = sums[0]
      for (let b = tally.draws + 1; b <= stage; b++) {
        tally.take(to.nullFactor(head) * sums[b])
      }
      if (tally.settled) {
        break
      }
    }
    const each = await to.contributions(head, of(u), of(v), 1, signal)
    const units = to.units.length
    let total = 0
    for (const x of each) {
      total += x
    }
    const error = (1.96 * standardError(each.map((x) => units * x))) / s[i]
    found[head] = { p: tally.p, ratio: total / s[i], error }
  }
  return found
}

/**
 * Union of both directions: Benjamini-Hochberg at alpha / 2 in each direction, over heads that passed its screen. For
 * each head, the direction with the smaller p is kept.
 */
export function replicated(
  forth: readonly (Replica | undefined)[],
  back: readonly (Replica | undefined)[],
  alpha: number,
): (Replication | undefined)[] {
  const accepted = [forth, back].map((list) => {
    const q = adjustedByRate(list.map((replica) => replica?.p ?? Number.NaN))
    return list.map((_, i) => atMost(q[i], alpha / 2))
  })
  return forth.map((one, i) => {
    const other = back[i]
    const best = !other || (one && one.p <= other.p) ? one : other
    return best && { ...best, replicated: accepted[0][i] || accepted[1][i] }
  })
}
