/**
 * The interface of draws of a rank test: contributions of units that sum to a matrix, and that matrix under exchanges.
 */

import type { UnitKey } from '../../../math/unit-hash.js'
import type { SideMoments } from './side-moments.js'

/**
 * `effect`: is there any ΔC? `interaction`: is there a ΔC after queries and keys are centred, which then depends on
 * both together (docs/method.md, Rank 4)?
 */
export type Hypothesis = 'effect' | 'interaction'

/** Rounding error of a cancelling sum of products in f32, in units of sum |q||k|. */
export const ROUNDING = 2 ** -19

/** Singular directions to project out, u and v [requested heads, d, rank]. */
export interface Removed {
  u: Float64Array
  v: Float64Array
  rank: number
}

export interface ValuesRequest {
  /** Heads by index, in the order of the results. */
  heads: readonly number[]
  /** Draws [from, to); draw 0 is the observed one. `from` is a multiple of 32. */
  from: number
  to: number
  removed?: Removed
  /**
   * Values per draw: value j is computed after the first rank - (components - 1) + j directions are projected out.
   */
  components: number
  signal?: AbortSignal
}

export interface NullSource {
  readonly heads: number
  readonly headDim: number
  /** Units in ascending order. */
  readonly units: readonly UnitKey[]
  /** Factor by which a head's null values are multiplied before comparison. */
  nullFactor(head: number): number
  /** Singular values up to this limit are rounding errors of a head's D. */
  resolution(head: number): number
  /** D, the sum of all contributions, [heads asked for, d, d]. */
  observed(heads: readonly number[], signal?: AbortSignal): Promise<Float64Array>
  /** Largest singular values, [heads asked for, draws, components]. */
  values(request: ValuesRequest): Promise<Float64Array>
  /** u^T D_u v of every unit, for each pair of columns of u and v [d, columns] of a head: [columns, units]. */
  contributions(
    head: number,
    u: Float64Array,
    v: Float64Array,
    columns: number,
    signal?: AbortSignal,
  ): Promise<Float64Array>
  /**
   * Sums over units of u^T D_u v in draws 0 to `draws` - 1, for a one-sided test of one direction, [draws]. Draw 0 is
   * the observed one.
   */
  directed(
    head: number,
    u: Float64Array,
    v: Float64Array,
    draws: number,
    signal?: AbortSignal,
  ): Promise<Float64Array>
  /** D of draws [from, to), [draws, heads asked for, d, d]; `from` is a multiple of 32. */
  matrices(heads: readonly number[], from: number, to: number, signal?: AbortSignal): Promise<Float64Array>
  /** Moments of a head's rows without any contrast, for controls. */
  sides(head: number): Promise<SideMoments>
  /** Frees device memory. */
  release(): void
}

/** Makes sources of subsets of its units, as replication needs them. */
export interface NullData {
  readonly heads: number
  readonly headDim: number
  readonly units: readonly UnitKey[]
  /** The smallest p that any number of draws can reach: one over the number of distinct arrangements. */
  readonly leastP: number
  /** Whether the test assumes that units contribute symmetrically about zero. */
  readonly assumesSymmetry: boolean
  /** A source of the units for which `keep` is true, all by default. Blocks of a sequence stay together. */
  source(hypothesis: Hypothesis, keep?: (unit: UnitKey) => boolean): Promise<NullSource>
}
