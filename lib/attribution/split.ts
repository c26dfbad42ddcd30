/**
 * How a vector is split between features whose subspaces overlap.
 *
 * A split is linear: part f of x is M_f x, and the rest is R x = x - sum_f M_f x. With P_f the projector on the span
 * of feature f, and ~P_f that on what its span has outside all earlier ones:
 *
 *   residualize      M_f = P_f (I - P_{f-1}) ... (I - P_1)
 *   orthogonalize    M_f = ~P_f
 *   shapley          M_f = the mean over all orders of P_f prod (I - P_g), g before f in the order
 *
 * The operators (d x d) are found once, by splitting the unit vectors, and applied to any number of vectors.
 */

import { type Basis, project, unionOf, withoutSpan } from '../math/basis.js'
import { seededRandom } from '../math/random.js'

/**
 * How a vector is split between features whose subspaces overlap. `residualize` gives each feature, in
 * order, the projection of what earlier ones left (arXiv 2602.04752). `orthogonalize` gives it what its
 * span has outside the spans of all earlier ones. `shapley` is the mean of `residualize` over all
 * orders (Shapley 1953).
 */
export type SplitMethod = 'residualize' | 'orthogonalize' | 'shapley'

export const SPLIT_METHODS: readonly SplitMethod[] = ['residualize', 'orthogonalize', 'shapley']

/** Shapley values are exact for at most this many features, and sampled for more. */
export const MOST_EXACT_FEATURES = 6

/** Orders that Shapley samples above six features: an even number, each with its reverse. */
export interface SampledOrders {
  seed: number
  samples: number
}

export interface Split {
  /** M_f of each feature, transposed, [d, d]: row i is M_f e_i. */
  parts: Float64Array[]
  /** R, transposed. */
  rest: Float64Array
}

/** Orders are sampled for shapley only, and only above six features. */
export function splitBetween(
  bases: readonly Basis[],
  d: number,
  method: SplitMethod,
  orders: SampledOrders,
): Split {
  const parts =
    method === 'residualize'
      ? inOrder(bases, d)
      : method === 'orthogonalize'
        ? withoutEarlier(bases, d)
        : meanLeftBefore(bases, identity(d), orders).map((left, f) => project(bases[f], left))
  const rest = identity(d)
  for (const part of parts) {
    add(rest, -1, part)
  }
  return { parts, rest }
}

/** M x of rows x [n, d], for M transposed. */
export function applyOperator(transposed: Float64Array, rows: ArrayLike<number>, d: number): Float64Array {
  const out = new Float64Array(rows.length)
  for (let start = 0; start < rows.length; start += d) {
    for (let i = 0; i < d; i++) {
      const x = rows[start + i]
      if (x !== 0) {
        for (let j = 0; j < d; j++) {
          out[start + j] += x * transposed[i * d + j]
        }
      }
    }
  }
  return out
}

/** M^T x of rows x [n, d], for M transposed: y . (M k) = (M^T y) . k. */
export function applyAdjoint(transposed: Float64Array, rows: ArrayLike<number>, d: number): Float64Array {
  const out = new Float64Array(rows.length)
  for (let start = 0; start < rows.length; start += d) {
    for (let i = 0; i < d; i++) {
      let sum = 0
      for (let j = 0; j < d; j++) {
        sum += transposed[i * d + j] * rows[start + j]
      }
      out[start + i] = sum
    }
  }
  return out
}

function inOrder(bases: readonly Basis[], d: number): Float64Array[] {
  const left = identity(d)
  return bases.map((basis) => {
    const part = project(basis, left)
    add(left, -1, part)
    return part
  })
}

function withoutEarlier(bases: readonly Basis[], d: number): Float64Array[] {
  const outside: Basis[] = []
  return bases.map((basis) => {
    outside.push(withoutSpan(basis, unionOf(outside, d)))
    return project(outside[outside.length - 1], identity(d))
  })
}

/**
 * The mean remainder of `rows` [n, d] after the features before each one, over all or the sampled orders. Under
 * 'shapley' the part of feature f is P_f of entry f, which does not depend on f's own subspace.
 */
export function meanLeftBefore(
  bases: readonly Basis[],
  rows: Float64Array,
  { seed, samples }: SampledOrders,
): Float64Array[] {
  return bases.length <= MOST_EXACT_FEATURES
    ? meanOverOrders(bases, rows)
    : meanOverSample(bases, rows, seed, samples)
}

/**
 * Exact, over sets instead of orders: L_S, what is left after the features of S, averaged over the orders of S, is
 * the mean over f in S of (I - P_f) L_{S - f}; and S comes before f in |S|! (F - 1 - |S|)! of F! orders.
 */
function meanOverOrders(bases: readonly Basis[], rows: Float64Array): Float64Array[] {
  const F = bases.length
  const means = bases.map(() => new Float64Array(rows.length))
  const left = new Map<number, Float64Array>([[0, rows]])
  // A set is a bit mask. Its subsets are smaller numbers, so L_S is complete before it is used.
  for (let set = 0; set < 2 ** F; set++) {
    const current = left.get(set) as Float64Array
    const size = bases.filter((_, f) => set & (1 << f)).length
    for (let f = 0; f < F; f++) {
      if (set & (1 << f)) {
        continue
      }
      add(means[f], (factorial(size) * factorial(F - 1 - size)) / factorial(F), current)
      const larger = set | (1 << f)
      const sum = left.get(larger) ?? new Float64Array(rows.length)
      left.set(larger, sum)
      add(sum, 1 / (size + 1), current)
      add(sum, -1 / (size + 1), project(bases[f], current))
    }
    left.delete(set)
  }
  return means
}

/** The mean over a seeded sample of orders, each with its reverse, which balances the advantage of being early. */
function meanOverSample(
  bases: readonly Basis[],
  rows: Float64Array,
  seed: number,
  samples: number,
): Float64Array[] {
  const random = seededRandom(seed)
  const features = bases.map((_, f) => f)
  const means = bases.map(() => new Float64Array(rows.length))
  for (let pair = 0; pair < samples / 2; pair++) {
    const order = random.sample(features, features.length)
    for (const sequence of [order, [...order].reverse()]) {
      const left = Float64Array.from(rows)
      for (const f of sequence) {
        add(means[f], 1 / samples, left)
        add(left, -1, project(bases[f], left))
      }
    }
  }
  return means
}

function identity(d: number): Float64Array {
  const out = new Float64Array(d * d)
  for (let i = 0; i < d; i++) {
    out[i * d + i] = 1
  }
  return out
}

function add(to: Float64Array, factor: number, from: Float64Array): void {
  for (let i = 0; i < to.length; i++) {
    to[i] += factor * from[i]
  }
}

function factorial(n: number): number {
  return n < 2 ? 1 : n * factorial(n - 1)
}
