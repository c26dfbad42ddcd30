/**
 * The contribution of each discovered feature of a head to a query's scores, compared with null subspaces in its
 * place.
 */

import { meanLeftBefore, type SampledOrders } from '../attribution/split.js'
import { type Basis, orthonormalBasis, project } from '../math/basis.js'
import { exceedsNull, nullFigures } from '../math/null-limit.js'
import { dotAt } from '../math/scores.js'
import { nullBasis, nullCount } from '../spectrum/nulls/control-bases.js'
import type { ContrastSubspace, Result } from '../store/result.js'
import type { HeadRow, ScoreParts } from './attention.js'
import type { ExplainedFeature } from './report.js'

/** Number of orders that Shapley samples above six features. */
const SAMPLED_ORDERS = 64

/** A feature that is discovered in a head: its rank is above 0. */
interface Feature {
  contrast: string
  subspace: ContrastSubspace
  /** Number of null subspaces that replace it. */
  nulls: number
}

/** Query-side bases of a feature. */
interface FeatureBases {
  u: Basis
  nulls: Basis[]
}

/** The features of one head, on the query side. */
export class HeadFeatures {
  private readonly orders: SampledOrders
  private bases: FeatureBases[] | undefined

  private constructor(
    readonly features: readonly Feature[],
    seed: number,
  ) {
    this.orders = { seed, samples: SAMPLED_ORDERS }
  }

  /** Errors: ERR_UNKNOWN_HEAD, ERR_UNKNOWN_CONTRAST. */
  static of(
    result: Result,
    head: string,
    contrasts: readonly string[],
    { nulls, seed }: { nulls: number; seed: number },
  ): HeadFeatures {
    const all = contrasts.map((contrast): Feature => {
      const subspace = result.head(head).contrast(contrast)
      return { contrast, subspace, nulls: Math.min(nulls, nullCount([subspace])) }
    })
    return new HeadFeatures(
      all.filter(({ subspace }) => subspace.rank > 0),
      seed,
    )
  }

  /** Whether null subspaces are missing for some features. */
  get lackNulls(): boolean {
    return this.features.some(({ nulls }) => nulls === 0)
  }

  /** The parts of the centred scores of a row. Empty if the row sees no key. */
  split(
    { visible }: HeadRow,
    { q, k }: ScoreParts,
    key: number,
  ): { features: Omit<ExplainedFeature, 'swap'>[]; rest: number[] } {
    const d = q.length
    const centred = centredKeys(k, visible, d)
    const score = (query: Float64Array, j: number) => dotAt(query, 0, centred, j * d, d)
    const rest = Float64Array.from(q)
    this.bases ??= this.features.map(basesOf)
    const { bases } = this
    const left = meanLeftBefore(
      bases.map(({ u }) => u),
      q,
      this.orders,
    )
    const total = visible[key] ? score(q, key) : 0
    const features = this.features.map(({ contrast, subspace: { rank } }, f) => {
      const { u, nulls } = bases[f]
      const own = project(u, left[f])
      for (let i = 0; i < d; i++) {
        rest[i] -= own[i]
      }
      const value = score(own, key)
      // The remainder after the other features does not depend on the subspace of this one.
      const figures = nullFigures(nulls.map((basis) => score(project(basis, left[f]), key)))
      return {
        contrast,
        rank,
        part: visible.map((seen, j) => (seen ? score(own, j) : null)),
        gain: {
          value,
          total,
          nulls: figures,
          exceedsNull: figures && exceedsNull(value, figures.p95, figures.count),
        },
      }
    })
    return { features, rest: visible.map((seen, j) => (seen ? score(rest, j) : 0)) }
  }
}

function basesOf({ subspace, nulls }: Feature): FeatureBases {
  const { u, headDim, rank } = subspace
  return {
    u: orthonormalBasis({ data: u, shape: [headDim, rank] }),
    nulls: Array.from({ length: nulls }, (_, draw) => nullBasis(subspace, 'u', draw)),
  }
}

/** Keys [keys, d] less the mean of the visible ones. Zeros for keys that are not visible. */
function centredKeys(k: Float64Array, visible: readonly boolean[], d: number): Float64Array {
  const count = visible.filter(Boolean).length
  const mean = new Float64Array(d)
  visible.forEach((seen, j) => {
    for (let i = 0; seen && i < d; i++) {
      mean[i] += k[j * d + i] / count
    }
  })
  const out = new Float64Array(k.length)
  visible.forEach((seen, j) => {
    for (let i = 0; seen && i < d; i++) {
      out[j * d + i] = k[j * d + i] - mean[i]
    }
  })
  return out
}
