/** What a test of rank says of one contrast of one head, as results keep it (docs/method.md, Rank). */

/** Largest singular values of draws of the null. */
export interface NullValues {
  /** Mean of the null's largest singular values. */
  mean: number
  /** Their standard deviation. */
  sd: number
  /** Their 95th percentile. */
  p95: number
}

/** What the test of rank says of one contrast of one head. */
export interface RankTest {
  /** Whether queries and keys were centred first: is there any ΔC (`effect`), or one that depends on both? */
  hypothesis: 'effect' | 'interaction'
  /** P-values of the first component under both hypotheses; null where one cannot be tested. */
  p: {
    /** P-value of the hypothesis `effect`. */
    effect: number | null
    /** P-value of the hypothesis `interaction`. */
    interaction: number | null
  }
  /** False discovery rate at which this head is discovered, over all heads and contrasts (Benjamini-Hochberg). */
  q: number
  /** The same under any dependence between heads (Benjamini-Yekutieli). */
  qAnyDependence: number
  /** p adjusted for the largest of all heads and contrasts (step-down max-T of the shared draws). */
  pMaximum: number
  /**
   * Whether `q` is at most the level that was asked for. Where the limit of draws came first, `pMaximum` at most that
   * level is enough.
   */
  discovered: boolean
  /** Draws that would be needed to decide, where the limit of draws came first. */
  unresolvedNeeds?: number
  /** Largest singular value, and what those of the null are: mean, standard deviation, 95th percentile. */
  statistic: number
  /** Largest singular values of the draws. */
  null: NullValues
  /** p extrapolated by a gamma distribution; never decides. Null where there is none. */
  extrapolatedP: number | null
  /** Draws of the null that this head had. */
  draws: number
  /** Units that were exchanged. */
  units: number
  /** Components at the level of discovered heads, alpha R / m; 0 where the head is not discovered. */
  rank: number
  /** Components at alpha itself. */
  unadjustedRank: number
  /** The level of `rank`. */
  level: number
  /** p_k of each component that was tested; the last may be the first above alpha. */
  componentP: number[]
  /**
   * What each of `componentP` was compared with: the largest singular values of the draws after the components before it
   * were taken out of every draw, in the units of the singular values (of `interaction` with its factor). The figures are
   * those of the first draws, as of `null`, which is the first of them. Absent in results of earlier versions.
   */
  componentNull?: NullValues[]
  /** Components that cannot be told apart, by index; a single direction means something only in a block of one. */
  blocks: number[][]
  /** Of the first component, from one half of the units to the other; null where it did not pass on either half. */
  replication: {
    /** Whether the component of either half passed the test on the other half. */
    replicated: boolean
    /** P-value in the other half. */
    p: number
    /** Strength of the component in the other half over that in its own half, signed; near 1 where both show the same. */
    ratio: number
    /** 1.96 standard errors of the ratio. */
    error: number
  } | null
}
