/** Result of the rank test for one contrast of one head, as stored (docs/method.md, Rank). */

/** Largest singular values of draws of the null. */
export interface NullValues {
  /** Mean of the null's largest singular values. */
  mean: number
  /** Their standard deviation. */
  sd: number
  /** Their 95th percentile. */
  p95: number
}

/** Result of the rank test for one contrast of one head. */
export interface RankTest {
  /**
   * Question that the test answers. `effect`: is there any ΔC? `interaction`: does a part of ΔC depend on queries and
   * keys together? Under `interaction`, both are centred first.
   */
  hypothesis: 'effect' | 'interaction'
  /** P-values of the first component under both hypotheses. Null if a hypothesis cannot be tested. */
  p: {
    /** P-value of the hypothesis `effect`. */
    effect: number | null
    /** P-value of the hypothesis `interaction`. */
    interaction: number | null
  }
  /**
   * Smallest false discovery rate at which this head is discovered, over all heads and contrasts
   * (Benjamini-Hochberg).
   */
  q: number
  /** The same rate, valid under any dependence between heads (Benjamini-Yekutieli). */
  qAnyDependence: number
  /** p adjusted for the maximum over all heads and contrasts (step-down max-T over shared draws). */
  pMaximum: number
  /**
   * Whether `q` is at most the requested level. If the limit of draws was reached first, `pMaximum` at most that
   * level is enough.
   */
  discovered: boolean
  /** Draws that a decision would need, if the limit of draws was reached first. */
  unresolvedNeeds?: number
  /** Largest singular value: the statistic of the test. */
  statistic: number
  /** Largest singular values of the null draws. */
  null: NullValues
  /** p extrapolated with a gamma distribution. It never decides a test. Null if there is no extrapolation. */
  extrapolatedP: number | null
  /** Number of null draws for this head. */
  draws: number
  /** Number of units that were exchanged. */
  units: number
  /** Number of components at the level of discovered heads, alpha R / m. 0 if the head is not discovered. */
  rank: number
  /** Number of components at level alpha, without correction. */
  unadjustedRank: number
  /** Level at which `rank` was chosen. */
  level: number
  /** p_k of every tested component. The last may be the first above alpha. */
  componentP: number[]
  /**
   * The null of each entry of `componentP`: the largest singular values of the draws, after the earlier components
   * were removed from every draw. The units are those of the singular values; under `interaction` they include its
   * factor. Only the first draws are used, as in `null`, which is the first entry. Absent in results of earlier
   * versions.
   */
  componentNull?: NullValues[]
  /**
   * Blocks of components, by index, whose directions cannot be separated. A single direction is meaningful only in a
   * block of one.
   */
  blocks: number[][]
  /**
   * Replication of the first component between the two halves of the units. Null if it passed on neither half.
   */
  replication: {
    /** Whether the component of either half passed the test on the other half. */
    replicated: boolean
    /** P-value in the other half. */
    p: number
    /**
     * Signed ratio of the component's strength in the other half to that in its own half. Near 1 if both halves
     * agree.
     */
    ratio: number
    /** 1.96 standard errors of the ratio. */
    error: number
  } | null
}
