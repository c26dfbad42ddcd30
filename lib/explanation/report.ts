/** What `explain` returns: plain data, which the report draws. */

import type { NullFigures } from '../math/null-limit.js'

/** Why single queries attend where they do, prompt by prompt. It is plain data and can be written as JSON. */
export interface ExplanationReport {
  /** Path of the model's file. */
  model: string
  /** Seed of random subspaces and of sampled orders. */
  seed: number
  /** The prompts, in their order. */
  prompts: ExplainedPrompt[]
  /** Said where null subspaces are missing for some of the figures. */
  noNull?: string
  /** What may be wrong without being an error, where there is such: heads that were left out, and as in `Sums`. */
  warnings?: string[]
}

/** One prompt and the query that is explained in it. */
export interface ExplainedPrompt {
  /** Where the prompt stands in its set: file and line, or its id or index. */
  where: string
  /** Token ids, of a prompt of tokens. */
  tokens?: number[]
  /**
   * The text of each token; `#id` where the model has no tokenizer, and the index of a position of a prompt of tensors.
   */
  words: string[]
  /** The position whose attention is explained. */
  query: number
  /** The terms of the prompt, in their order; empty where it has none. */
  terms: ExplainedTerm[]
  /** Every head that could be read, that of most attention on a single key first. */
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
  /** Positions of its negative keys; empty where these lie in a counterfactual run. */
  negative: number[]
}

/** What the query attends to in one head, and what of it features make up. */
export interface ExplainedHead {
  /** Name of the head, as in `L3H0`. */
  head: string
  /** Attention of the query on every position, [tokens]; 0 where it is masked. */
  attention: number[]
  /** Scores as they enter the softmax, [tokens]: scaled, capped and masked; null where masked. */
  scores: (number | null)[]
  /**
   * The whole pattern, [query][key], to four significant digits: of heads that were named, and of those with a discovered
   * feature.
   */
  pattern?: number[][]
  /** The position of most attention; the first of equals. */
  key: number
  /** With a result: the contrasts that are discovered in this head, in the order of the result. */
  features?: ExplainedFeature[]
  /** The part of the centred scores that no feature holds, [tokens]; 0 where masked. Beside `features`. */
  rest?: number[]
}

/** What one feature makes up of a query's scores, and what exchanging it does. */
export interface ExplainedFeature {
  /** Name of its contrast. */
  contrast: string
  /** Rank of its subspace. */
  rank: number
  /**
   * Its part of the scaled scores, before softcap and mask, [tokens]: of the query, by Shapley over the features of the
   * head, less its mean over the keys that are visible; null where masked. All parts and `rest` add up to the scores.
   */
  part: (number | null)[]
  /** The part at `key`, beside that of null subspaces. */
  gain: FeatureGain
  /** What exchanging its coordinates of two keys does; absent where that was not tried, or cannot be. */
  swap?: FeatureSwap
}

/** What a feature adds to the score of the most attended key, above the mean over the visible keys. */
export interface FeatureGain {
  /** Of the feature, in the units of the scores. */
  value: number
  /** Of all that the score is made of. */
  total: number
  /** The same of null subspaces of its rank in its place; null where there are none. */
  nulls: NullFigures | null
  /** Whether `value` is above the 95th percentile of the nulls; null where there are too few. */
  exceedsNull: boolean | null
}

/** Attention of the query, [tokens] each, when coordinates of two keys in the span of V are exchanged. */
export interface FeatureSwap {
  /** The key whose coordinates the target gets. */
  origin: number
  /** The key whose coordinates the origin gets. */
  target: number
  /** With the feature exchanged. */
  after: number[]
  /** With null subspaces of its rank exchanged in its place; null where there are none. */
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
