/**
 * The null distribution of an imbalance: the sides of whole units swapped at random.
 *
 * With D_u the sum of a unit's differences, a vector over features, a draw is `sum_u e_u D_u` with e_u = +1 or -1.
 * The p-value compares `sum_f (sum_u e_u D_uf)^2`, whose mean is `sum_u |D_u|^2` for flips and for any independent
 * units of mean 0 alike, be their differences skewed or not. The size is a total variation distance,
 * `|sum_u D_u|_1 / (2 W)`, W the total weight; for one feature it is `|sum_u D_u| / W`.
 */

import { cooperator } from '../../../backend/cooperate.js'
import { seededRandom } from '../../../math/random.js'
import type { UnitVector } from './differences.js'

export interface FlipTest {
  /** Total variation distance. With a single feature, the magnitude of the mean. */
  size: number
  /** Mean of `size` over the draws. */
  chance: number
  /** 99th percentile of `size` over the draws. */
  chance99: number
  p: number
  /** Number of units in the test: the first ones, as many as the budget allows. */
  units: number
}

/** Most entries in the sum of a draw; 2,000 draws of so many take about half a second. */
const MOST_ENTRIES = 200_000

/** Tolerance for ties, which rounding may break. */
const TIE = 1e-9

export interface FlipOptions {
  /** Whether all differences are at feature 0. The size is then the magnitude of their mean. */
  single: boolean
  draws: number
  seed: number
  signal?: AbortSignal
}

/** Tests units that come in random order. Errors: ERR_ABORTED. */
export async function flipTest(
  vectors: readonly UnitVector[],
  { single, draws, seed, signal }: FlipOptions,
): Promise<FlipTest> {
  const { offsets, features, values, weight, width } = packed(vectors)
  const units = offsets.length - 1
  const norm = single ? weight : 2 * weight
  const random = seededRandom(seed)
  const turn = cooperator(signal)
  const sums = new Float64Array(width)
  const draw = (flip: boolean) => {
    sums.fill(0)
    let bits = 0
    for (let u = 0; u < units; u++) {
      if (u % 32 === 0) {
        bits = flip ? Math.floor(random.next() * 4294967296) : 0
      }
      const sign = bits & 1 ? -1 : 1
      bits >>>= 1
      for (let i = offsets[u]; i < offsets[u + 1]; i++) {
        sums[features[i]] += sign * values[i]
      }
    }
    let absolute = 0
    let squares = 0
    for (const sum of sums) {
      absolute += Math.abs(sum)
      squares += sum * sum
    }
    return { size: absolute / norm, squares }
  }
  const observed = draw(false)
  const sizes = new Float64Array(draws)
  let exceeding = 0
  for (let b = 0; b < draws; b++) {
    await turn()
    const { size, squares } = draw(true)
    sizes[b] = size
    if (squares >= observed.squares * (1 - TIE)) {
      exceeding += 1
    }
  }
  sizes.sort()
  return {
    size: observed.size,
    chance: sizes.reduce((a, b) => a + b, 0) / draws,
    chance99: sizes[Math.floor(0.99 * draws)],
    p: (1 + exceeding) / (1 + draws),
    units,
  }
}

/** Sparse rows stored one after another, with features renumbered from 0. */
function packed(vectors: readonly UnitVector[]) {
  let entries = 0
  const used: UnitVector[] = []
  for (const vector of vectors) {
    entries += vector.entries.size
    if (entries > MOST_ENTRIES && used.length > 0) {
      break
    }
    used.push(vector)
  }
  const columns = new Map<number, number>()
  const offsets = [0]
  const features: number[] = []
  const values: number[] = []
  let weight = 0
  for (const vector of used) {
    weight += vector.weight
    for (const [feature, value] of vector.entries) {
      const column = columns.get(feature) ?? columns.size
      columns.set(feature, column)
      features.push(column)
      values.push(value)
    }
    offsets.push(features.length)
  }
  return {
    offsets: Int32Array.from(offsets),
    features: Int32Array.from(features),
    values: Float64Array.from(values),
    weight,
    width: columns.size,
  }
}
