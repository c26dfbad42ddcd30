/** What a test of rank draws from: contributions of units that sum to a matrix, and that matrix under exchanges. */

import type { UnitKey } from '../../../math/unit-hash.js'
import type { SideMoments } from './side-moments.js'

/**
 * `effect`: is there any ΔC? `interaction`: is there one once queries and keys are centred, which then depends on the
 * query and on the key (docs/method.md, Rank 4)?
 */
export type Hypothesis = 'effect' | 'interaction'

/** What rounding to f32 may leave of a sum of products that cancel, in units of sum |q||k|. */
export const ROUNDING = 2 ** -19

/** Singular directions that are taken out, u and v [heads asked for, d, rank]. */
export interface Removed {
  u: Float64Array
  v: Float64Array
  rank: number
}

export interface ValuesRequest {
  /** Heads by index, in this order. */
  heads: readonly number[]
  /** Draws [from, to); draw 0 is what was observed. `from` is a multiple of 32. */
  from: number
  to: number
  removed?: Removed
  /** Values a draw: value j is after the first rank - (components - 1) + j directions have been taken out. */
  components: number
  signal?: AbortSignal
}

export interface NullSource {
  readonly heads: number
  readonly headDim: number
  /** In ascending order. */
  readonly units: readonly UnitKey[]
  /** What a head's null values are multiplied by before they are compared. */
  nullFactor(head: number): number
  /** Singular values up to this are rounding errors of a head's D, not evidence. */
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
   * Sums over units of u^T D_u v in draws 0 to `draws` - 1, for a one-sided test of one direction, [draws]; draw 0 is what
   * was observed.
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
  /** What the rows of a head are without any contrast, to make controls of. */
  sides(head: number): Promise<SideMoments>
  /** Frees what is held on a device. */
  release(): void
}

/** Whatever makes sources of some of its units, as a replication needs them. */
export interface NullData {
  readonly heads: number
  readonly headDim: number
  readonly units: readonly UnitKey[]
  /** The smallest p that any number of draws can reach: one over the arrangements that differ. */
  readonly leastP: number
  /** Whether the test assumes that units contribute symmetrically about zero. */
  readonly assumesSymmetry: boolean
  /** A source of the units for which `keep` holds, all by default; blocks of a sequence stay together. */
  source(hypothesis: Hypothesis, keep?: (unit: UnitKey) => boolean): Promise<NullSource>
}
