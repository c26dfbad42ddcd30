/**
 * What a subspace explains and moves on units that did not fit it, as results keep it
 * (docs/method.md, "Where subspaces are used").
 */

/** A figure of the subspace beside the same of every control. */
export interface Controlled {
  /** The figure of the subspace. */
  value: number
  /** Of null subspaces: mean and 95th percentile over draws. */
  null: {
    /** Mean over the draws. */
    mean: number
    /** 95th percentile of the draws. */
    p95: number
    /** Number of null subspaces. */
    draws: number
  }
  /** Of as many principal components of the keys, of the mean query's direction, of random (Haar) subspaces. */
  keyComponents: number
  /** The figure of the mean query's direction. */
  meanQuery: number
  /** The figure of random (Haar) subspaces of the same rank. */
  random: number
  /** Of the whole head. */
  whole: number
  /** Whether the value is above the null's 95th percentile: otherwise random labels do as well. Null of fewer than 19 draws. */
  exceedsNull: boolean | null
}

/** What a subspace explains and moves on units that did not fit it. */
export interface HeldOut {
  /** Units and terms that were measured. */
  units: number
  /** Terms that were measured. */
  terms: number
  /**
   * Part of the scores' energy over a term's keys, less their mean, that the query's part in the subspace gives:
   * 1 - sum ||rest||^2 / sum ||scores||^2.
   */
  explained: Controlled | null
  /**
   * Attention of the origin (the first positive key) that goes to the target (a negative one) where the two exchange their
   * coordinates in the key-side subspace, as a part of the origin's; of a counterfactual, what the origin loses with the
   * coordinates of the other run's key. Null where the attention could not be measured, or the scores are no factor times q·k.
   */
  swap: {
    /** Mean attention on the origin before. */
    origin: number
    /**
     * Null where there is nothing to move: the origin has less than 0.05 of the attention, or the other key is the same (as
     * that of a causal model's counterfactual which changes what comes later).
     */
    moved: Controlled | null
    /**
     * Change of p = a_target / (a_target + a_origin), or of the origin's attention with the other sign. Null where the
     * other key is the same.
     */
    deltaP: Controlled | null
  } | null
}
