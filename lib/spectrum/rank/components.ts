/**
 * Number of components of a head that exceed noise. Each component is tested after the earlier ones are projected out.
 */

import type { BackendChoice } from '../../backend/select.js'
import { firstColumns } from '../../math/columns.js'
import type { NullValues } from '../../store/rank-test.js'
import { svd } from '../svd.js'
import type { NullSource } from './exchange/null-source.js'
import { drawUntil, Tally } from './growing-draws.js'

/** Number of components that are tested in one pass over the rows. */
const TOGETHER = 4

export interface HeadComponents {
  /** p_k of each tested component, non-decreasing. The last may be the first above the level. */
  p: number[]
  /** The null of each tested component. */
  nulls: NullValues[]
  /** Singular vectors of the observed matrix, [d, d], and values, [d]. */
  u: Float64Array
  s: Float64Array
  v: Float64Array
}

/**
 * Tests the components of heads until the first with p above `alpha`. `first` is the tally of the first component of
 * each head.
 */
export async function testComponents(
  source: NullSource,
  heads: readonly number[],
  first: readonly Tally[],
  options: { alpha: number; stages: readonly number[]; backend?: BackendChoice; signal?: AbortSignal },
): Promise<HeadComponents[]> {
  const { alpha, stages, backend, signal } = options
  const d = source.headDim
  const n = heads.length
  const matrices = await source.observed(heads, signal)
  const { u, s, v } = await svd(matrices, { n, rows: d, cols: d, rank: d, backend, signal })
  const found = heads.map(
    (_, h): HeadComponents => ({
      p: [first[h].p],
      nulls: [first[h].nullValues],
      u: u.slice(h * d * d, (h + 1) * d * d),
      s: s.slice(h * d, (h + 1) * d),
      v: v.slice(h * d * d, (h + 1) * d * d),
    }),
  )
  let open = [...heads.keys()].filter((h) => found[h].p[0] <= alpha)
  for (let done = 1; done < d && open.length > 0; done += TOGETHER) {
    const count = Math.min(TOGETHER, d - done)
    const tallies = open.map((h) => {
      const resolution = source.resolution(heads[h])
      return Array.from({ length: count }, () => new Tally(resolution, stages[0]))
    })
    await growComponents(
      source,
      open.map((h) => heads[h]),
      tallies,
      {
        removed: (i) =>
          columnsOf(
            open.map((h) => found[h]),
            i,
            d,
            done + count - 1,
          ),
        alpha,
        stages,
        signal,
      },
    )
    open = open.filter((h, i) => {
      const { p, nulls } = found[h]
      for (const tally of tallies[i]) {
        p.push(Math.max(p[p.length - 1], tally.p))
        nulls.push(tally.nullValues)
        if (p[p.length - 1] > alpha) {
          return false
        }
      }
      return true
    })
  }
  return found
}

interface Growth {
  /** Directions to project out of the heads with these indices. */
  removed(chosen: readonly number[]): { u: Float64Array; v: Float64Array; rank: number }
  alpha: number
  stages: readonly number[]
  signal?: AbortSignal
}

async function growComponents(
  source: NullSource,
  heads: readonly number[],
  tallies: readonly Tally[][],
  { removed, alpha, stages, signal }: Growth,
): Promise<void> {
  let had = 0
  let open = [...heads.keys()]
  for (const stage of stages) {
    if (open.length === 0) {
      return
    }
    await drawUntil(
      source,
      open.map((i) => heads[i]),
      open.map((i) => tallies[i]),
      stage,
      { removed: removed(open), had, signal },
    )
    had = stage
    open = open.filter((i) => undecided(tallies[i], alpha))
  }
}

/** Whether more draws may change p of a component before the first rejected one. */
function undecided(tallies: readonly Tally[], alpha: number): boolean {
  for (const tally of tallies) {
    if (!tally.settled) {
      return true
    }
    if (tally.p > alpha) {
      return false
    }
  }
  return false
}

/** The first `rank` columns of u and v of some heads. */
function columnsOf(found: readonly HeadComponents[], chosen: readonly number[], d: number, rank: number) {
  const pick = (side: 'u' | 'v') => {
    const out = new Float64Array(chosen.length * d * rank)
    chosen.forEach((i, at) => {
      out.set(firstColumns(found[i][side], d, rank), at * d * rank)
    })
    return out
  }
  return { u: pick('u'), v: pick('v'), rank }
}
