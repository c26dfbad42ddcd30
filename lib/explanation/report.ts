/** The return value of `explain`: plain data for the report. */

import type { NullFigures } from '../math/null-limit.js'

/** Explanations of the attention of single queries, prompt by prompt. Plain data that can be written as JSON. */
export interface ExplanationReport {
  /** Path of the model's file. */
  model: string
  /** Seed of random subspaces and of sampled orders. */
  seed: number
  /** The prompts, in their order. */
  prompts: ExplainedPrompt[]
  /** Note that null subspaces are missing for some of the figures. */
  noNull?: string
  /** Warnings: heads that were left out, and those of `Sums`. Absent if there were none. */
  warnings?: string[]
}

/** One prompt and its explained query. */
export interface ExplainedPrompt {
  /** Place of the prompt in its set: file and line, or its id or index. */
  where: string
  /** Token ids, if the prompt is given as tokens. */
  tokens?: number[]
  /**
   * The text of each token, or `#id` if the model has no tokenizer. For a prompt of tensors, the index of each
   * position.
   */
  words: string[]
  /** The position whose attention is explained. */
  query: number
  /** The terms of the prompt, in order. Empty if it has none. */
  terms: ExplainedTerm[]
  /** Every head that could be read, in descending order of the attention on its most attended key. */
  heads: ExplainedHead[]
}

/** A term of a prompt, in positions of the prompt. */
export interface ExplainedTerm {
  /** Name of its contrast. */
  contrast: string
  /** Position of its query. */
  query: number
  /** Positions of its positive keys. */
  positive: number[]
  /** Positions of its negative keys. Empty if these lie in a counterfactual run. */
  negative: number[]
}

/** Attention of the query in one head, and the contributions of features to it. */
export interface ExplainedHead {
  /** Name of the head, as in `L3H0`. */
  head: string
  /** Attention of the query on every position, [tokens]; 0 where it is masked. */
  attention: number[]
  /** Scores at the input of the softmax, [tokens]: scaled, capped and masked. Null where masked. */
  scores: (number | null)[]
  /**
   * The whole pattern, [query][key], to four significant digits. Present for named heads, and for those with a
   * discovered feature.
   */
  pattern?: number[][]
  /** The position with most attention; the first one of a tie. */
  key: number
  /** The contrasts that are discovered in this head, in the order of the result. Absent without a result. */
  features?: ExplainedFeature[]
  /** The part of the centred scores outside all features, [tokens]; 0 where masked. Present with `features`. */
  rest?: number[]
}

/** Contribution of one feature to a query's scores, and the effect of exchanging it. */
export interface ExplainedFeature {
  /** Name of its contrast. */
  contrast: string
  /** Rank of its subspace. */
  rank: number
  /**
   * Its part of the scaled scores, before softcap and mask, [tokens]. The query is split by Shapley values over the
   * features of the head, and the mean over the visible keys is subtracted. Null where masked. All parts and `rest`
   * add up to the centred scores.
   */
  part: (number | null)[]
  /** The part at `key`, compared with that of null subspaces. */
  gain: FeatureGain
  /** Effect of exchanging its coordinates of two keys. Absent if that was not tried, or is not possible. */
  swap?: FeatureSwap
}

/** Contribution of a feature to the score of the most attended key, above its mean over the visible keys. */
export interface FeatureGain {
  /** Contribution of the feature, in the units of the scores. */
  value: number
  /** The whole centred score. */
  total: number
  /** Contribution of null subspaces of its rank in its place. Null if there are none. */
  nulls: NullFigures | null
  /** Whether `value` is above the 95th percentile of the nulls. Null if there are too few. */
  exceedsNull: boolean | null
}

/** Attention of the query, [tokens] each, after exchanging the coordinates of two keys in the span of V. */
export interface FeatureSwap {
  /** The key whose coordinates the target gets. */
  origin: number
  /** The key whose coordinates the origin gets. */
  target: number
  /** With the feature exchanged. */
  after: number[]
  /** Attention with null subspaces of its rank exchanged in its place. Null if there are none. */
  nulls: {
    /** How many there are. */
    count: number
    /** Mean over them of the attention. */
    mean: number[]
    /** Their attention on the target. */
    target: {
      /** Mean over them. */
      mean: number
      /** 95th percentile, of 20 draws the largest. */
      p95: number
    }
  } | null
  /** With random (Haar) subspaces of its rank exchanged. */
  random: {
    /** How many there are. */
    count: number
    /** Mean over them of the attention; empty where there are none. */
    mean: number[]
  }
  /** With the whole keys exchanged. */
  whole: number[]
}
