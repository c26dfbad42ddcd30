/**
 * Control bases for features: null subspaces, principal components of the keys, the mean query (docs/method.md, "Where
 * subspaces are used"). Several features together are a union, on the side `u` (queries) or `v` (keys).
 */

import { type Basis, orthonormalBasis } from '../../math/basis.js'
import type { ContrastSubspace } from '../../store/result.js'

export type Side = 'u' | 'v'

/** Note in place of a null that a result does not have. */
export const NO_NULL = 'no null: the result was made without null subspaces'

/** Note in place of a null that was not requested. */
export const NULLS_LEFT_OUT = 'no null: null subspaces were left out'

/** Number of null subspaces that all features have. 0 if a feature has none. Features of rank 0 need none. */
export function nullCount(features: readonly ContrastSubspace[]): number {
  const counts = features.filter(({ rank }) => rank > 0).map(({ nulls }) => nulls?.count ?? 0)
  return counts.length === 0 ? 0 : Math.min(...counts)
}

/** Null subspace `draw` of a feature. It has no columns if the feature has none. */
export function nullBasis({ headDim: d, rank, nulls }: ContrastSubspace, side: Side, draw: number): Basis {
  if (rank === 0 || !nulls) {
    return { data: new Float64Array(0), shape: [d, 0] }
  }
  const size = d * rank
  const data = nulls[side].subarray(draw * size, (draw + 1) * size)
  return orthonormalBasis({ data, shape: [d, rank] })
}

/**
 * The first `rank` principal components of the features' keys, taken from the features in turn. Undefined if the
 * result has none.
 */
export function keyBasis(features: readonly ContrastSubspace[], rank: number): Basis | undefined {
  const d = features[0].headDim
  const kept = features.flatMap(({ directions }) => directions?.keyComponents ?? [])
  if (rank === 0 || kept.length === 0) {
    return undefined
  }
  const found: Float64Array[] = []
  const widest = Math.max(...kept.map((components) => components.length / d))
  for (let c = 0; c < widest && found.length < rank; c++) {
    for (const components of kept) {
      const width = components.length / d
      if (c < width && found.length < rank) {
        addDirection(found, column(components, width, c))
      }
    }
  }
  return fromColumns(found, d)
}

/** The direction of the features' mean queries, each with the same weight. Undefined if the result has none. */
export function meanQueryBasis(features: readonly ContrastSubspace[]): Basis | undefined {
  const d = features[0].headDim
  const kept = features.flatMap(({ directions }) => directions?.meanQuery ?? [])
  if (kept.length === 0) {
    return undefined
  }
  const sum = new Float64Array(d)
  for (const own of kept) {
    for (let i = 0; i < d; i++) {
      sum[i] += own[i]
    }
  }
  return orthonormalBasis({ data: sum, shape: [d, 1] })
}

function column(matrix: Float64Array, width: number, c: number): Float64Array {
  return Float64Array.from({ length: matrix.length / width }, (_, i) => matrix[i * width + c])
}

/** Adds the part of a unit vector outside the earlier ones, unless it is only round-off. */
function addDirection(found: Float64Array[], vector: Float64Array): void {
  for (let pass = 0; pass < 2; pass++) {
    for (const earlier of found) {
      const along = earlier.reduce((sum, x, i) => sum + x * vector[i], 0)
      for (let i = 0; i < vector.length; i++) {
        vector[i] -= along * earlier[i]
      }
    }
    const length = Math.hypot(...vector)
    if (length < 1e-3) {
      return
    }
    for (let i = 0; i < vector.length; i++) {
      vector[i] /= length
    }
  }
  found.push(vector)
}

function fromColumns(columns: readonly Float64Array[], d: number): Basis {
  const rank = columns.length
  const data = Float64Array.from({ length: d * rank }, (_, at) => columns[at % rank][Math.floor(at / rank)])
  return { data, shape: [d, rank] }
}
