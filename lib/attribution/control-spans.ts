/** The features of a head and their controls: null subspaces, key components, the mean query, random subspaces. */

import type { Turn } from '../backend/cooperate.js'
import { type Basis, orthonormalBasis, randomBasis } from '../math/basis.js'
import { seededRandom } from '../math/random.js'
import { keyBasis, meanQueryBasis, nullBasis, nullCount, type Side } from '../spectrum/nulls/control-bases.js'
import type { ContrastSubspace } from '../store/result.js'
import type { AttributionSides } from './attribute-arrays.js'
import { Span, type Spans, type SplitOptions } from './spans.js'

/** Features that are split together, and their controls. All are split by the same method. */
export interface ControlledSpans {
  /** Rank of the union of the features on the split side; of the larger one if both are split. */
  rank: number
  real: Spans
  /** Null subspaces by draw: draw b holds subspace b of every feature. Empty if the result has none. */
  nulls: Spans[]
  /** As many key components as the union has dimensions. */
  keys?: Spans
  meanQuery?: Spans
  /** Haar subspaces of the features' ranks. */
  randoms: Spans[]
}

export interface ControlOptions extends SplitOptions {
  sides: AttributionSides
  randoms: number
}

/** Yields to the event loop between draws through `turn`. */
export async function controlledSpans(
  features: readonly ContrastSubspace[],
  d: number,
  options: ControlOptions,
  turn: Turn,
): Promise<ControlledSpans> {
  const { sides, randoms, seed } = options
  const random = seededRandom(seed)
  const spansOf = (bases: (side: Side) => Basis[]): Spans => ({
    ...(sides !== 'key' && { query: Span.of(bases('u'), d, options) }),
    ...(sides !== 'query' && { key: Span.of(bases('v'), d, options) }),
  })
  const several = async (count: number, make: (draw: number) => Spans) => {
    const found: Spans[] = []
    for (let draw = 0; draw < count; draw++) {
      found.push(make(draw))
      await turn()
    }
    return found
  }
  const real = spansOf((side) =>
    features.map((feature) => orthonormalBasis({ data: feature[side], shape: [d, feature.rank] })),
  )
  const rank = Math.max(real.query?.rank ?? 0, real.key?.rank ?? 0)
  const single = (basis: Basis | undefined) => basis && spansOf(() => [basis])
  const keys = single(features.length > 0 ? keyBasis(features, rank) : undefined)
  const meanQuery = single(features.length > 0 ? meanQueryBasis(features) : undefined)
  return {
    rank,
    real,
    nulls: await several(nullCount(features), (draw) =>
      spansOf((side) => features.map((feature) => nullBasis(feature, side, draw))),
    ),
    ...(keys && { keys }),
    ...(meanQuery && { meanQuery }),
    randoms: await several(rank > 0 ? randoms : 0, () =>
      spansOf(() => features.map((feature) => randomBasis(d, feature.rank, random))),
    ),
  }
}
