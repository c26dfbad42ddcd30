/** Ranks under the rule `energy` if there is no effect: on the null matrices of a contrast. */

import type { HeadGroup } from '../../covariance/site-plan.js'
import type { Sums } from '../../covariance/sums.js'
import { SumsNullData } from '../rank/null-data.js'
import { svd } from '../svd.js'

export interface EnergyRanksOptions {
  /** Number of null matrices of each head. */
  count: number
  threshold: number
  /** Seed of the exchanges, and of the randomised start of the decomposition; default 0, as in `decompose`. */
  seed?: number
  signal?: AbortSignal
}

/** Ranks by head of the group and draw, of the contrast of that index. Errors: those of `SumsNullData.of`, ERR_ABORTED. */
export async function nullEnergyRanks(
  sums: Sums,
  group: HeadGroup,
  contrast: number,
  { count, threshold, seed = 0, signal }: EnergyRanksOptions,
): Promise<number[][]> {
  if (!group.kept) {
    return []
  }
  const { data } = new SumsNullData(sums, seed).of(group, group.kept, contrast)
  const source = await data.source('effect')
  try {
    const { heads: n, headDim: d } = source
    const heads = Array.from({ length: n }, (_, head) => head)
    const all = await source.matrices(heads, 0, count + 1, signal)
    // Draw 0 is the observed matrix.
    const matrices = all.subarray(n * d * d)
    const { ranks } = await svd(matrices, { n: count * n, rows: d, cols: d, energy: threshold, seed, signal })
    return heads.map((head) => Array.from({ length: count }, (_, draw) => ranks[draw * n + head]))
  } finally {
    source.release()
  }
}
