/** Which directions are looked at: the components of discovered features, and those of one null subspace beside them. */

import type { ChosenHead } from '../../capture/terms/chosen-heads.js'
import type { Side } from '../../spectrum/nulls/control-bases.js'
import type { Result } from '../../store/result.js'
import type { ContrastSubspace } from '../../store/subspace.js'

/** Components of a subspace that are looked at. */
const MOST_COMPONENTS = 8

/** One component of a feature's subspace in one head. */
export interface Component {
  feature: string
  /** Index among the chosen heads. */
  head: number
  /** From 0. */
  index: number
  /** Components that it cannot be told from, itself included, from 0. */
  block: number[]
  /** Its direction on either side, [d]. */
  directions: Record<Side, Float64Array>
  /** The same of the first null subspace, where the result holds one. */
  null?: Record<Side, Float64Array>
}

/** Of features that the test did not discover in a head none; without a test all that have a rank. */
export function chosenComponents(
  result: Result,
  heads: readonly ChosenHead[],
  features: readonly string[],
): Component[] {
  return features.flatMap((feature) =>
    heads.flatMap(({ name }, head) => {
      const subspace = result.head(name).contrast(feature)
      if (subspace.test && !subspace.test.discovered) {
        return []
      }
      return Array.from({ length: Math.min(subspace.rank, MOST_COMPONENTS) }, (_, index): Component => {
        const nulls = nullDirections(subspace, index)
        return {
          feature,
          head,
          index,
          block: blockOf(subspace, index),
          directions: { u: column(subspace.u, subspace, index), v: column(subspace.v, subspace, index) },
          ...(nulls && { null: nulls }),
        }
      })
    }),
  )
}

function nullDirections(subspace: ContrastSubspace, index: number): Record<Side, Float64Array> | undefined {
  const { nulls } = subspace
  if (!nulls || nulls.count === 0) {
    return undefined
  }
  return { u: column(nulls.u, subspace, index), v: column(nulls.v, subspace, index) }
}

/** A column of the first of row-major bases [d, rank]. */
function column(
  basis: Float64Array | Float32Array,
  { headDim: d, rank }: ContrastSubspace,
  index: number,
): Float64Array {
  return Float64Array.from({ length: d }, (_, i) => basis[i * rank + index])
}

function blockOf({ test }: ContrastSubspace, index: number): number[] {
  return test?.blocks.find((block) => block.includes(index)) ?? [index]
}
