/**
 * Sums over terms of what a subspace explains and moves on terms that were not used to fit it, beside control
 * subspaces, for one head and contrast.
 */

import { LEAST_ATTENTION } from '../intervention/edit-table.js'
import { randomBasis } from '../math/basis.js'
import { firstColumns } from '../math/columns.js'
import { exceedsNull, nullP95 } from '../math/null-limit.js'
import type { Random } from '../math/random.js'
import type { Controlled, HeldOut } from '../store/held-out.js'
import type { Fit } from './fit-halves.js'

/** If exchanging whole keys moves less attention than this, the keys are the same. */
const NOTHING = 1e-6
/** Number of Haar subspaces beside every subspace. */
const RANDOMS = 10

/** One term: its keys with the query of each, and the attention on origin and target. */
export interface HeldOutTerm {
  /** Keys [keys, d], positive ones first, and the queries that score them, [d] each. */
  keys: readonly Float64Array[]
  queries: readonly Float64Array[]
  /** Index of the target among the keys; the origin is key 0. */
  target: number
  /**
   * Whether the target lies in the other run. The origin then takes its coordinates, and nothing is exchanged back.
   */
  counterfactual: boolean
  /** Factor of the scores on their way to the softmax. NaN if attention cannot be followed. */
  factor: number
  attention: { origin: number; target: number }
}

interface Subspace {
  u: Float64Array
  v: Float64Array
  width: number
}

/** Subspaces of one half: its own, null ones, key components, the mean query, random ones. */
function subspacesOf(fit: Fit, d: number, rank: number, random: Random): Subspace[] {
  const { u, v, nulls, directions } = fit
  const size = d * rank
  const width = directions.keyComponents.length / d
  const components = firstColumns(directions.keyComponents, width, Math.min(rank, width))
  const draws = Array.from({ length: RANDOMS }, () => {
    return { u: randomBasis(d, rank, random).data, v: randomBasis(d, rank, random).data, width: rank }
  })
  return [
    { u, v, width: rank },
    ...Array.from({ length: nulls.count }, (_, b) => ({
      u: nulls.u.subarray(b * size, (b + 1) * size),
      v: nulls.v.subarray(b * size, (b + 1) * size),
      width: rank,
    })),
    { u: components, v: components, width: Math.min(rank, width) },
    { u: directions.meanQuery, v: directions.meanQuery, width: 1 },
    ...draws,
  ]
}

export class HeldOutTally {
  readonly #subspaces: [Subspace[], Subspace[]]
  readonly #nulls: number
  readonly #rest: Float64Array
  readonly #moved: Float64Array
  readonly #deltaP: Float64Array
  readonly #units = new Set<string>()
  #energy = 0
  #origin = 0
  #terms = 0
  #swapped = 0

  constructor(
    halves: readonly [Fit, Fit],
    private readonly d: number,
    rank: number,
    random: Random,
  ) {
    this.#subspaces = [subspacesOf(halves[0], d, rank, random), subspacesOf(halves[1], d, rank, random)]
    this.#nulls = halves[0].nulls.count
    const count = this.#subspaces[0].length + 1
    this.#rest = new Float64Array(count)
    this.#moved = new Float64Array(count)
    this.#deltaP = new Float64Array(count)
  }

  /** Measures a term with the subspaces from the other half of the units. */
  add(term: HeldOutTerm, unit: string, half: 0 | 1): void {
    const { keys, queries, target, counterfactual, factor, attention } = term
    const subspaces = this.#subspaces[1 - half]
    const { d } = this
    this.#units.add(unit)
    this.#terms += 1
    const scores = keys.map((key, j) => dot(queries[j], key, d))
    const energy = centredEnergy(scores)
    this.#energy += energy
    const swaps = Number.isFinite(factor)
    if (swaps) {
      this.#origin += attention.origin
      this.#swapped += 1
    }
    const difference = keys[target].map((x, i) => x - keys[0][i])
    const apply = (index: number, originGain: number, targetGain: number) => {
      const move = shifted(attention, factor * originGain, factor * targetGain, counterfactual)
      this.#moved[index] += move.moved
      this.#deltaP[index] += move.deltaP
    }
    const sides = counterfactual ? [queries[0], queries[target]] : [queries[0]]
    for (const [index, { u, v, width }] of subspaces.entries()) {
      const parts = sides.map((query) => projected(u, width, query, d))
      const rest = scores.map((score, j) => {
        const part = queries[j] === queries[0] ? parts[0] : parts[1]
        return score - dot(part, keys[j], d)
      })
      this.#rest[index] += centredEnergy(rest)
      if (!swaps) {
        continue
      }
      const gain = dot(projected(v, width, queries[0], d), difference, d)
      // In one run, both keys have the same query.
      apply(index, gain, -gain)
    }
    const whole = subspaces.length
    const gain = dot(queries[0], difference, d)
    if (swaps) {
      apply(whole, gain, -gain)
    }
  }

  /** Undefined where no term was measured. */
  figures(): HeldOut | undefined {
    if (this.#terms === 0) {
      return undefined
    }
    const explained =
      this.#energy > 0 ? this.#controlled(this.#rest.map((rest) => 1 - rest / this.#energy)) : null
    const origin = this.#origin / this.#swapped
    // Keys that are the same in both runs, such as those before a counterfactual's change, exchange nothing.
    const whole = this.#moved[this.#moved.length - 1] / this.#origin
    const differs = Math.abs(whole) > NOTHING
    const able = origin >= LEAST_ATTENTION && differs
    return {
      units: this.#units.size,
      terms: this.#terms,
      explained,
      swap:
        this.#swapped === 0
          ? null
          : {
              origin,
              moved: able ? this.#controlled(this.#moved.map((x) => x / this.#origin)) : null,
              deltaP: differs ? this.#controlled(this.#deltaP.map((x) => x / this.#swapped)) : null,
            },
    }
  }

  #controlled(values: Float64Array): Controlled {
    const draws = this.#nulls
    const nulls = values.subarray(1, 1 + draws)
    const mean = (list: Float64Array) => list.reduce((sum, x) => sum + x, 0) / list.length
    const p95 = nullP95(nulls)
    return {
      value: values[0],
      null: { mean: mean(nulls), p95, draws },
      keyComponents: values[1 + draws],
      meanQuery: values[2 + draws],
      random: mean(values.slice(3 + draws, 3 + draws + RANDOMS)),
      whole: values[values.length - 1],
      exceedsNull: exceedsNull(values[0], p95, draws),
    }
  }
}

function dot(a: Float64Array, b: Float64Array, d: number): number {
  let sum = 0
  for (let i = 0; i < d; i++) {
    sum += a[i] * b[i]
  }
  return sum
}

/** B B^T q of orthonormal columns B [d, width]. */
function projected(columns: Float64Array, width: number, q: Float64Array, d: number): Float64Array {
  const along = new Float64Array(width)
  for (let i = 0; i < d; i++) {
    const x = q[i]
    for (let c = 0; c < width; c++) {
      along[c] += x * columns[i * width + c]
    }
  }
  const out = new Float64Array(d)
  for (let i = 0; i < d; i++) {
    let sum = 0
    for (let c = 0; c < width; c++) {
      sum += along[c] * columns[i * width + c]
    }
    out[i] = sum
  }
  return out
}

function centredEnergy(scores: readonly number[]): number {
  const mean = scores.reduce((sum, x) => sum + x, 0) / scores.length
  return scores.reduce((sum, x) => sum + (x - mean) ** 2, 0)
}

/** The softmax after a change of the scores of origin and target, with all others unchanged. */
function shifted(
  { origin, target }: { origin: number; target: number },
  originGain: number,
  targetGain: number,
  counterfactual: boolean,
): { moved: number; deltaP: number } {
  if (counterfactual) {
    const raised = origin * Math.exp(originGain)
    const after = raised / (1 - origin + raised)
    const lost = Number.isFinite(after) ? origin - after : origin - 1
    return { moved: lost, deltaP: lost }
  }
  const most = Math.max(0, originGain, targetGain)
  const [up, down] = [origin * Math.exp(originGain - most), target * Math.exp(targetGain - most)]
  const total = Math.max(0, 1 - origin - target) * Math.exp(-most) + up + down
  const [originAfter, targetAfter] = [up / total, down / total]
  const [loss, gain] = [origin - originAfter, targetAfter - target]
  const moved =
    Math.sign(loss) === Math.sign(gain) ? Math.sign(loss) * Math.min(Math.abs(loss), Math.abs(gain)) : 0
  const share = (a: number, b: number) => (a + b > 0 ? a / (a + b) : 0.5)
  return { moved, deltaP: share(targetAfter, originAfter) - share(target, origin) }
}
