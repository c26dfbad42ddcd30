/** The controls of every figure in the tables, and the same measures inside subspaces and their controls. */

import { type Basis, randomBasis, unionBasis } from '../math/basis.js'
import { exceedsNull, type NullFigures, nullFigures } from '../math/null-limit.js'
import { seededRandom } from '../math/random.js'
import { keyBasis, meanQueryBasis, nullBasis, nullCount, type Side } from '../spectrum/nulls/control-bases.js'
import type { ContrastSubspace } from '../store/result.js'
import type { Cell } from './figure.js'

/** Controls of one figure. Null if a control does not apply or was not measured. */
export interface Controls {
  nulls: NullFigures | null
  /** As many key principal components as the subspace has dimensions. */
  keys: number | null
  meanQuery: number | null
  /** Random (Haar) subspaces of the same rank, their mean. */
  random: number | null
}

export const CONTROL_COLUMNS = [
  'null mean',
  'null p95',
  'null draws',
  'key components',
  'mean query',
  'random',
  'above null',
]

export function controlCells(value: number | null, { nulls, keys, meanQuery, random }: Controls): Cell[] {
  return [
    nulls?.mean ?? null,
    nulls?.p95 ?? null,
    nulls?.count ?? 0,
    keys,
    meanQuery,
    random,
    nulls === null ? null : exceedsNull(value, nulls.p95, nulls.count),
  ]
}

/** For rows that are controls themselves. */
export const NO_CONTROLS: Cell[] = CONTROL_COLUMNS.map(() => null)

export interface Inside {
  value: number
  controls: Controls
}

/**
 * What is measured inside the union of subspaces, and inside the controls of the same rank. `bases` side by side: the
 * union of features `u` (queries) or `v` (keys).
 */
export function measuredInside<M extends string>(
  features: readonly ContrastSubspace[],
  side: Side,
  { randoms, seed }: { randoms: number; seed: number },
  measure: (basis: Basis) => Record<M, number>,
): Record<M, Inside> {
  const union = unionOfFeatures(features, side)
  const [d, rank] = union.shape
  const own = measure(union)
  const random = seededRandom(seed)
  const draws = (count: number, basis: (draw: number) => Basis) =>
    Array.from({ length: count }, (_, draw) => measure(basis(draw)))
  const nulls = draws(nullCount(features), (draw) =>
    unionBasis(features.map((feature) => nullBasis(feature, side, draw))),
  )
  const drawn = draws(randoms, () => randomBasis(d, rank, random))
  const single = (basis: Basis | undefined) => basis && measure(basis)
  const keys = single(keyBasis(features, rank))
  const meanQuery = single(meanQueryBasis(features))
  const of = (name: M): Inside => ({
    value: own[name],
    controls: {
      nulls: nullFigures(nulls.map((found) => found[name])),
      keys: keys?.[name] ?? null,
      meanQuery: meanQuery?.[name] ?? null,
      random: nullFigures(drawn.map((found) => found[name]))?.mean ?? null,
    },
  })
  return Object.fromEntries(Object.keys(own).map((name) => [name, of(name as M)])) as Record<M, Inside>
}

export function unionOfFeatures(features: readonly ContrastSubspace[], side: Side): Basis {
  return unionBasis(
    features.map(({ [side]: data, headDim, rank }) => ({ data, shape: [headDim, rank] as const })),
  )
}
