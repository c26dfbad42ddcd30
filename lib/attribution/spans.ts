/**
 * Splits between subspaces in the coordinates of their union W [d, R], W^T W = I. The operators of split.ts are M_f =
 * W m_f W^T with m_f [R, R], since every M_f vanishes outside the union.
 *
 * Keys are never split themselves: q . (M k) = (M^T q) . k. Every part of a score therefore has the form T(q) . k.
 */

import { type Basis, unionOf } from '../math/basis.js'
import { applyAdjoint, applyOperator, type SplitMethod, splitBetween } from './split.js'

export interface SplitOptions {
  method: SplitMethod
  /** Seed of sampled orders, above six features. */
  seed: number
  samples: number
}

/** The subspaces of one side. */
export class Span {
  private constructor(
    private readonly union: Basis,
    /** m_f of each subspace, transposed. */
    private readonly parts: readonly Float64Array[],
    /** Their sum, transposed. */
    private readonly named: Float64Array,
  ) {}

  /** Of orthonormal bases of vectors of length d. */
  static of(bases: readonly Basis[], d: number, { method, seed, samples }: SplitOptions): Span {
    const union = bases.length === 1 ? bases[0] : unionOf(bases, d)
    const R = union.shape[1]
    const inside = bases.length === 1 ? [identity(R)] : bases.map((basis) => within(union, basis))
    const parts =
      bases.length === 1
        ? inside.map(({ data }) => data)
        : splitBetween(inside, R, method, { seed, samples }).parts
    const named = new Float64Array(R * R)
    for (const part of parts) {
      for (let i = 0; i < R * R; i++) {
        named[i] += part[i]
      }
    }
    return new Span(union, parts, named)
  }

  get rank(): number {
    return this.union.shape[1]
  }

  /** sum_f M_f q, or the part of one subspace. */
  of(q: Float64Array, part?: number): Float64Array {
    return this.lift(applyOperator(this.operator(part), this.coordinates(q), this.rank))
  }

  /** The same of the transposed operators. */
  adjointOf(q: Float64Array, part?: number): Float64Array {
    return this.lift(applyAdjoint(this.operator(part), this.coordinates(q), this.rank))
  }

  /** y . M_f x */
  product(part: number, x: Float64Array, y: Float64Array): number {
    const [from, to] = [this.coordinates(x), this.coordinates(y)]
    return applyOperator(this.parts[part], from, this.rank).reduce((sum, value, i) => sum + value * to[i], 0)
  }

  private operator(part: number | undefined): Float64Array {
    return part === undefined ? this.named : this.parts[part]
  }

  private coordinates(x: Float64Array): Float64Array {
    const { data, shape } = this.union
    const [d, R] = shape
    const out = new Float64Array(R)
    for (let i = 0; i < d; i++) {
      for (let r = 0; r < R; r++) {
        out[r] += x[i] * data[i * R + r]
      }
    }
    return out
  }

  private lift(coordinates: Float64Array): Float64Array {
    const { data, shape } = this.union
    const [d, R] = shape
    const out = new Float64Array(d)
    for (let i = 0; i < d; i++) {
      for (let r = 0; r < R; r++) {
        out[i] += coordinates[r] * data[i * R + r]
      }
    }
    return out
  }
}

/** The split sides: queries, keys, or both. */
export interface Spans {
  query?: Span
  key?: Span
}

/** T(q) of all subspaces together. With both sides, of the parts that are named on both. */
export function namedQuery({ query, key }: Spans, q: Float64Array): Float64Array {
  const left = query ? query.of(q) : q
  return key ? key.adjointOf(left) : left
}

/** T(q) of the part of one subspace; on the query side, if both sides are split. */
export function partQuery({ query, key }: Spans, f: number, q: Float64Array): Float64Array {
  return query ? query.of(q, f) : key!.adjointOf(q, f)
}

/** T(q) of the cell of query subspace f and key subspace g; the index after the last is the rest. */
export function cellQuery(
  { query, key }: Required<Spans>,
  [f, g]: readonly [number, number],
  features: number,
  q: Float64Array,
): Float64Array {
  const left = f < features ? query.of(q, f) : minus(q, query.of(q))
  return g < features ? key.adjointOf(left, g) : minus(left, key.adjointOf(left))
}

/** T(q) . y of the part of one subspace. */
export function partProduct({ query, key }: Spans, f: number, q: Float64Array, y: Float64Array): number {
  return query ? query.product(f, q, y) : key!.product(f, y, q)
}

export function minus(x: Float64Array, y: Float64Array): Float64Array {
  return x.map((value, i) => value - y[i])
}

/** W^T B */
function within(union: Basis, basis: Basis): Basis {
  const [d, R] = union.shape
  const rank = basis.shape[1]
  const data = new Float64Array(R * rank)
  for (let i = 0; i < d; i++) {
    for (let r = 0; r < R; r++) {
      const w = union.data[i * R + r]
      for (let c = 0; c < rank; c++) {
        data[r * rank + c] += w * basis.data[i * rank + c]
      }
    }
  }
  return { data, shape: [R, rank] }
}

function identity(R: number): Basis {
  const data = new Float64Array(R * R)
  for (let i = 0; i < R; i++) {
    data[i * R + i] = 1
  }
  return { data, shape: [R, R] }
}
