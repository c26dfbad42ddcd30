/**
 * Figures of a subspace on units that were not used to fit it, as results store them (docs/method.md, "Where
 * subspaces are used").
 */

/** A figure of the subspace beside the same figure of every control. */
export interface Controlled {
  /** The figure of the subspace. */
  value: number
  /** The figure of null subspaces: mean and 95th percentile over draws. */
  null: {
    /** Mean over the draws. */
    mean: number
    /** 95th percentile of the draws. */
    p95: number
    /** Number of null subspaces. */
    draws: number
  }
  /** The figure of principal components of the keys, as many as the rank. */
  keyComponents: number
  /** The figure of the mean query's direction. */
  meanQuery: number
  /** The figure of random (Haar) subspaces of the same rank. */
  random: number
  /** The figure of the whole head. */
  whole: number
  /**
   * Whether the value is above the null's 95th percentile. If not, random labels do as well. Null if there are fewer
   * than 19 draws.
   */
  exceedsNull: boolean | null
}

/** What a subspace explains of the scores and how it moves attention, on units that were not used to fit it. */
export interface HeldOut {
  /** Number of units that were measured. */
  units: number
  /** Number of terms that were measured. */
  terms: number
  /**
   * Explained part of the scores' energy. Scores are taken over the keys of a term, less their mean, and the query is
   * projected on the subspace: 1 - sum ||rest||^2 / sum ||scores||^2.
   */
  explained: Controlled | null
  /**
   * Attention that moves from the origin (the first positive key) to the target (a negative key) when the two
   * exchange their coordinates in the key-side subspace, as a fraction of the origin's attention. For a
   * counterfactual, the attention that the origin loses when it takes the coordinates of the key in the other run.
   * Null if the attention could not be measured, or if the scores are not a factor times q·k.
   */
  swap: {
    /** Mean attention on the origin before the exchange. */
    origin: number
    /**
     * Null if there is nothing to move: the origin has less than 0.05 of the attention, or the other key is the same.
     * In a causal model, the key is the same in a counterfactual that changes only later tokens.
     */
    moved: Controlled | null
    /**
     * Change of p = a_target / (a_target + a_origin). For a counterfactual, the change of the origin's attention with
     * the opposite sign. Null if the other key is the same.
     */
    deltaP: Controlled | null
  } | null
}
