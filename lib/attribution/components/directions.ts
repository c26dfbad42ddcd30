/**
 * Chooses the directions to describe: the components of discovered features, and those of one null subspace for
 * comparison.
 */

import type { ChosenHead } from '../../capture/terms/chosen-heads.js'
import type { Side } from '../../spectrum/nulls/control-bases.js'
import type { Result } from '../../store/result.js'
import type { ContrastSubspace } from '../../store/subspace.js'

/** Most components of a subspace that are described. */
const MOST_COMPONENTS = 8

/** One component of a feature's subspace in one head. */
export interface Component {
  feature: string
  /** Index among the chosen heads. */
  head: number
  /** From 0. */
  index: number
  /** Components, from 0, that the data cannot separate from it, itself included. */
  block: number[]
  /** Its direction on either side, [d]. */
  directions: Record<Side, Float64Array>
  /** The same component of the first null subspace, if the result has one. */
  null?: Record<Side, Float64Array>
}

/**
 * Components of the features that the test discovered in a head. Without a test, of all features with a rank above 0.
 */
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
