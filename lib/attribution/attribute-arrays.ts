/**
 * Attention scores as the sum of what each feature contributes, on plain arrays (figure 10 of arXiv 2602.04752).
 *
 *   K q = sum_f K q_f + K q_rest,    q = sum_f q_f + q_rest
 *
 * and the same with the keys split, or both. How features that overlap share is settled in split.ts.
 */

import { QkError } from '../errors.js'
import { type ArrayInput, readArray, readMask, readQueriesAndKeys } from '../math/arrays.js'
import { type Basis, orthonormalBasis } from '../math/basis.js'
import { scoreRows } from '../math/scores.js'
import {
  checkChoice,
  checkFlag,
  checkInteger,
  checkNumber,
  checkOptions,
  refuseUnknownKeys,
} from '../validate.js'
import {
  applyAdjoint,
  applyOperator,
  SPLIT_METHODS,
  type Split,
  type SplitMethod,
  splitBetween,
} from './split.js'

/** Which side of a score is split: the query, the key, or both at once. */
export type AttributionSides = 'query' | 'key' | 'both'

/** A named feature. Only the span of its columns matters: they need be neither orthonormal nor independent. */
export interface AttributionFeature {
  /** Name of the feature; unique, and not 'rest'. */
  name: string
  /** Query-side columns, [d, r]; needed when queries are split. */
  u?: ArrayInput
  /** Key-side columns, [d, r]; needed when keys are split. */
  v?: ArrayInput
}

/** Options of `attributeArrays`. Arrays are row-major. */
export interface AttributeArraysOptions<S extends AttributionSides = AttributionSides> {
  /** One query row for each score row, [n, d]. */
  q: ArrayInput
  /** The keys of each row, [n, keys, d]. */
  k: ArrayInput
  /** Scores are scale * q . k (default 1). */
  scale?: number
  /** The features, with distinct names. `residualize` and `orthogonalize` follow their order. */
  features: readonly AttributionFeature[]
  /**
   * Split between overlapping features (default 'shapley'; 'residualize' in the order of `features` is the paper's).
   */
  method?: SplitMethod
  /** Sides to split: the queries by `u` (default), the keys by `v`, or both. */
  sides?: S
  /** Subtracts from every row its mean over the unmasked keys, which softmax ignores (default true). */
  centered?: boolean
  /** [n, keys], 1 = visible (default: all). Masked keys count neither in means nor in `explained`. */
  mask?: Uint8Array
  /** Seed of the orders that 'shapley' samples above six features (default 0). */
  seed?: number
  /** Number of sampled orders, even since each comes with its reverse (default 64). Not used up to six features. */
  samples?: number
}

/** Rows are [n, keys], in the units of the scores, masked keys included. */
export interface Attribution {
  /** The scores themselves. */
  total: Float64Array
  /** Parts of the scores by feature. The parts and `rest` add up to `total`. */
  parts: Record<string, Float64Array>
  /** The part of the scores outside all features, [n, keys]: `total` less all `parts`. */
  rest: Float64Array
  /**
   * Explained fraction of each row, [n]: 1 - ||rest||^2 / ||total||^2 over the unmasked keys. NaN if the unmasked
   * total of a row is zero (once centred). Below 0 if the rest is larger than the total.
   */
  explained: Float64Array
}

/** The scores split on both sides: one cell for each query feature and key feature. */
export interface AttributionTable {
  /** The F features in the order given, then 'rest'. */
  names: string[]
  /** Shape [F + 1, F + 1, n, keys], query feature by key feature; all cells add up to `total`. */
  parts: Float64Array
}

/**
 * What `attributeArrays` returns with `sides: 'both'`. Rows are [n, keys], in the units of the scores.
 */
export interface TableAttribution {
  /** The scores themselves, [n, keys], less each row's mean if `centered`. */
  total: Float64Array
  /** The parts of the scores by query feature and key feature. */
  table: AttributionTable
  /** The cell rest by rest. */
  rest: Float64Array
  /**
   * Explained fraction of each row, [n]: 1 - ||R||^2 / ||total||^2 over the unmasked keys. R is the sum of the cells
   * with 'rest' on either side, so this is what the named features explain together. NaN if the unmasked total of a
   * row is zero (once centred).
   */
  explained: Float64Array
}

/** A centred row below this fraction of the original scores counts as zero. */
const ROUND_OFF = 8 * Number.EPSILON

const OPTIONS = {
  q: true,
  k: true,
  scale: true,
  features: true,
  method: true,
  sides: true,
  centered: true,
  mask: true,
  seed: true,
  samples: true,
} satisfies Record<keyof AttributeArraysOptions, true>

const FEATURE_KEYS = { name: true, u: true, v: true } satisfies Record<keyof AttributionFeature, true>

/**
 * Splits attention scores between features, exactly additively (to round-off), in float64.
 *
 * Errors (QkError): ERR_TYPE and ERR_SHAPE for arrays that do not fit each other, ERR_NON_FINITE for NaN and
 * infinity, ERR_RANGE for a mask that is not 0 or 1, ERR_ARGUMENT for anything else, unknown options included.
 */
export function attributeArrays(options: AttributeArraysOptions<'query' | 'key'>): Attribution
export function attributeArrays(options: AttributeArraysOptions<'both'> & { sides: 'both' }): TableAttribution
export function attributeArrays(options: AttributeArraysOptions): Attribution | TableAttribution
export function attributeArrays(options: AttributeArraysOptions): Attribution | TableAttribution {
  checkOptions(options, OPTIONS, 'attributeArrays()')
  const sides = checkChoice(options.sides ?? 'query', 'sides', ['query', 'key', 'both'])
  const method = checkChoice(options.method ?? 'shapley', 'method', SPLIT_METHODS)
  const centered = checkFlag(options.centered ?? true, 'centered')
  const scale = checkNumber(options.scale ?? 1, 'scale')
  const seed = checkInteger(options.seed ?? 0, 'seed', 0)
  const samples = checkInteger(options.samples ?? 64, 'samples', 2)
  if (samples % 2 !== 0) {
    throw new QkError(
      'ERR_ARGUMENT',
      `samples is ${samples}, expected an even number: an order and its reverse`,
    )
  }
  const { q, k, n, keys, d } = readQueriesAndKeys(options.q, options.k)
  const mask = readMask(options.mask, n, keys)
  const names = featureNames(options.features)
  const split = (side: 'u' | 'v') =>
    splitBetween(basesOf(options.features, side, d), d, method, { seed, samples })

  const centre = centered ? (row: Float64Array) => centreRows(row, keys, mask) : (row: Float64Array) => row
  const score = (queries: ArrayLike<number>) => scoreRows(queries as Float64Array, k, d, scale)
  const raw = score(q)
  const total = centre(Float64Array.from(raw))
  const explained = (rest: Float64Array) => explainedFraction(raw, total, rest, n, mask)

  if (sides === 'both') {
    const cells = pairs(split('u'), split('v'), q, d).map((queries) => centre(score(queries)))
    const parts = new Float64Array(cells.length * n * keys)
    cells.forEach((cell, i) => {
      parts.set(cell, i * n * keys)
    })
    const unnamed = new Float64Array(n * keys)
    const F = names.length
    cells.forEach((cell, i) => {
      if (i % (F + 1) === F || i >= F * (F + 1)) {
        addTo(unnamed, cell)
      }
    })
    const rest = cells[cells.length - 1]
    return { total, table: { names: [...names, 'rest'], parts }, rest, explained: explained(unnamed) }
  }

  const { parts, rest: restOperator } = split(sides === 'query' ? 'u' : 'v')
  // Keys are never split themselves: q . (M k) = (M^T q) . k.
  const apply = sides === 'query' ? applyOperator : applyAdjoint
  const rows = (operator: Float64Array) => centre(score(apply(operator, q, d)))
  const rest = rows(restOperator)
  return {
    total,
    parts: Object.fromEntries(names.map((name, f) => [name, rows(parts[f])])),
    rest,
    explained: explained(rest),
  }
}

/**
 * The queries whose scores with the keys are the cells of the table: M_g^T (M_f q), query feature f by key feature g.
 */
function pairs(onQueries: Split, onKeys: Split, q: ArrayLike<number>, d: number): Float64Array[] {
  return [...onQueries.parts, onQueries.rest].flatMap((left) => {
    const part = applyOperator(left, q, d)
    return [...onKeys.parts, onKeys.rest].map((right) => applyAdjoint(right, part, d))
  })
}

function featureNames(features: readonly AttributionFeature[]): string[] {
  if (!Array.isArray(features)) {
    throw new QkError('ERR_TYPE', 'features must be an array of { name, u, v }')
  }
  const names: string[] = []
  features.forEach((feature: AttributionFeature, i) => {
    if (!feature || typeof feature !== 'object') {
      throw new QkError('ERR_TYPE', `features[${i}] must be { name, u, v }`)
    }
    refuseUnknownKeys(feature, FEATURE_KEYS, `features[${i}]`)
    const { name } = feature
    if (typeof name !== 'string' || name === '') {
      throw new QkError('ERR_TYPE', `features[${i}].name must be a string that is not empty`)
    }
    if (name === 'rest') {
      throw new QkError('ERR_ARGUMENT', `features[${i}].name is 'rest', the name of what no feature takes`, {
        hint: 'give the feature another name',
      })
    }
    if (names.includes(name)) {
      throw new QkError('ERR_ARGUMENT', `features has '${name}' twice`)
    }
    names.push(name)
  })
  return names
}

function basesOf(features: readonly AttributionFeature[], side: 'u' | 'v', d: number): Basis[] {
  return features.map((feature, i) => {
    const where = `features[${i}].${side}`
    const columns = feature[side]
    if (columns === undefined) {
      throw new QkError('ERR_ARGUMENT', `${where} of '${feature.name}' is missing`, {
        hint: `give its ${side === 'u' ? 'query' : 'key'}-side columns [d, r], or choose other sides`,
      })
    }
    return orthonormalBasis(readArray(columns, where, { d, r: undefined }), where, d)
  })
}

/** Subtracts the mean over the unmasked keys from each row, in place. A fully masked row stays as it is. */
function centreRows(rows: Float64Array, keys: number, mask?: Uint8Array): Float64Array {
  for (let start = 0; start < rows.length; start += keys) {
    let [sum, count] = [0, 0]
    for (let i = start; i < start + keys; i++) {
      if (mask === undefined || mask[i] === 1) {
        sum += rows[i]
        count++
      }
    }
    if (count > 0) {
      for (let i = start; i < start + keys; i++) {
        rows[i] -= sum / count
      }
    }
  }
  return rows
}

/** 1 - ||rest||^2 / ||total||^2 by row; a total that is round-off of the uncentred scores `raw` counts as zero. */
function explainedFraction(
  raw: Float64Array,
  total: Float64Array,
  rest: Float64Array,
  n: number,
  mask?: Uint8Array,
): Float64Array {
  const keys = raw.length / n
  return new Float64Array(n).map((_, row) => {
    const visible: number[] = []
    for (let i = row * keys; i < (row + 1) * keys; i++) {
      if (mask === undefined || mask[i] === 1) {
        visible.push(i)
      }
    }
    const largest = visible.reduce((most, i) => Math.max(most, Math.abs(raw[i])), 0)
    // Divided by the largest score, so that no square overflows or underflows.
    const energy = (rows: Float64Array) => visible.reduce((sum, i) => sum + (rows[i] / largest) ** 2, 0)
    const all = largest === 0 ? 0 : energy(total)
    return all <= visible.length * ROUND_OFF ** 2 ? Number.NaN : 1 - energy(rest) / all
  })
}

function addTo(sum: Float64Array, values: Float64Array): void {
  for (let i = 0; i < sum.length; i++) {
    sum[i] += values[i]
  }
}
