/**
 * Fits subspaces of discovered heads on either half of the units, so that they can be measured on the other half, with
 * their controls (docs/method.md, "Where subspaces are used").
 */

import type { HeadGroup } from '../covariance/site-plan.js'
import type { Sums } from '../covariance/sums.js'
import { firstColumns } from '../math/columns.js'
import { mapInPairs } from '../math/pairs.js'
import { headName, type ResolvedSite } from '../model/sites/site.js'
import { type NullsOptions, nullSubspaces, plainDirections } from '../spectrum/nulls/controls.js'
import type { Hypothesis } from '../spectrum/rank/exchange/null-source.js'
import { halfOf } from '../spectrum/rank/exchange/signs.js'
import { SumsNullData } from '../spectrum/rank/null-data.js'
import { svd } from '../spectrum/svd.js'
import type { NullSubspaces, PlainDirections } from '../store/controls.js'
import type { Result } from '../store/result.js'

/** The fit on one half of the units. */
export interface Fit {
  /** Bases [d, rank], orthonormal columns. */
  u: Float64Array
  v: Float64Array
  nulls: NullSubspaces
  directions: PlainDirections
}

/** A discovered head and contrast. */
export interface FittedHead {
  name: string
  site: ResolvedSite
  /** Index among the query heads of its site. */
  head: number
  contrast: string
  /** The rank from all units. */
  rank: number
  /** Fits by half of the units. */
  halves: [Fit, Fit]
}

export interface FitOptions extends NullsOptions {
  hypothesis: Hypothesis
}

/** Errors: ERR_FILE, ERR_ABORTED, those of backends. */
export async function fitHalves(sums: Sums, result: Result, options: FitOptions): Promise<FittedHead[]> {
  const nullData = new SumsNullData(sums, options.seed)
  const found: FittedHead[] = []
  for (const { site, groups } of sums.sites) {
    for (const group of groups) {
      for (const [c, contrast] of sums.contrasts.entries()) {
        const heads = group.heads.flatMap((head, place) => {
          const { rank } = result.head(headName(site, head)).contrast(contrast)
          return rank > 0 ? [{ name: headName(site, head), head: place, rank }] : []
        })
        if (heads.length === 0) {
          continue
        }
        const fits = await mapInPairs([0, 1] as const, (half) => {
          return fitHalf(nullData, group, c, half, heads, options)
        })
        heads.forEach(({ name, head, rank }, i) => {
          const halves: [Fit, Fit] = [fits[0][i], fits[1][i]]
          found.push({ name, site, head: group.heads[head], contrast, rank, halves })
        })
      }
    }
  }
  return found
}

async function fitHalf(
  nullData: SumsNullData,
  group: HeadGroup,
  contrast: number,
  half: 0 | 1,
  heads: readonly { head: number; rank: number }[],
  options: FitOptions,
): Promise<Fit[]> {
  const { hypothesis, seed, backend, signal } = options
  const { data } = nullData.of(group, group.kept!, contrast)
  const source = await data.source(hypothesis, (unit) => halfOf(seed, unit) === half)
  try {
    const nulls = await nullSubspaces(source, heads, options)
    const directions = await plainDirections(source, heads, options)
    const d = source.headDim
    // Draw 0 is the observed matrix.
    const observed = await source.matrices(
      heads.map(({ head }) => head),
      0,
      1,
      signal,
    )
    const most = Math.max(...heads.map(({ rank }) => rank))
    const sizes = { n: heads.length, rows: d, cols: d, rank: most }
    const { u, v, maxRank } = await svd(observed, { ...sizes, backend, seed, signal })
    return heads.map(({ rank }, i): Fit => {
      const columns = (basis: Float64Array) => {
        // A half of exchangeable sequences with too few different lengths cannot be fitted.
        if (maxRank < rank) {
          return new Float64Array(d * rank)
        }
        return firstColumns(basis.subarray(i * d * maxRank, (i + 1) * d * maxRank), maxRank, rank)
      }
      return { u: columns(u), v: columns(v), nulls: nulls[i], directions: directions[i] }
    })
  } finally {
    source.release()
  }
}
