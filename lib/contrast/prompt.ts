/** Prompts as users write them (docs/prompt-sets.md), and their rules by contrast. */

/** A token index (negative from the end), or a span of the prompt's text. */
export type Position =
  | number
  | ({
      /** Start and end in the text, in UTF-16 units; the end is exclusive. */
      char: [start: number, end: number]
    } & TokenOfSpan)
  | ({
      /** Text to find in the prompt. */
      match: string
      /** Index of the occurrence, from 0; required if there are several. */
      nth?: number
    } & TokenOfSpan)

/** Which token of a span is used, by default the last, and which text the span is in, by default the first. */
export interface TokenOfSpan {
  /** The first or the last token of the span; default the last. */
  token?: 'first' | 'last'
  /** The text that the span is in; default `text`. */
  in?: 'text' | 'pair'
}

/** A query, keys that carry the feature as the query does, and keys that do not. */
export interface Term {
  /** Position of the query. */
  query: Position
  /** Keys that carry the feature. */
  positive?: Position[]
  /** Keys that do not carry it, with everything else equal. */
  negative?: Position[]
  /**
   * Label of the query and its positive keys, for the legends of plots. In a counterfactual: label of its query and
   * its negative keys.
   */
  label?: string
  /** Label of each negative key. Not used in a counterfactual, where `label` gives it. */
  negativeLabels?: string[]
}

/** Label of a position: equal labels mean equal values of the feature. Positions with the label null are ignored. */
export type Label = string | number | null

/**
 * A label-matched contrast: every labelled position is a query. Its positives are the keys with the same label, its
 * negatives the keys with another label.
 */
export interface Labels {
  /** One label per position along the query axis; null is ignored. */
  query: Label[]
  /** One label per position along the key axis; default: the same as `query`. */
  key?: Label[]
  /** The rule for positive keys; there is only one. */
  rule?: 'same-label'
  /** Whether the key scope is limited to keys before the query. */
  causal?: boolean
}

/** A tensor for a model whose inputs are not token ids: row `row` of a `.npy` file, or inline values. */
export type TensorSource =
  | {
      /** Path of a `.npy` file. */
      npy: string
      /** Row along the first axis of the file; default the whole array. */
      row?: number
    }
  | {
      /** The values, row-major. */
      data: ArrayLike<number> | BigInt64Array
      /** Sizes of the axes, outermost first. */
      shape: readonly number[]
    }

/** Token ids: a list, or an integer array. */
export type TokenIds = readonly number[] | Int32Array | BigInt64Array

/** Input of the model: text, token ids, or tensors. */
export interface PromptSource {
  /** Text for the model's tokenizer. */
  text?: string
  /** A second text, which the tokenizer's own template appends to the first, as in sentence pairs. */
  pair?: string
  /** Token ids, in place of a text. */
  tokens?: TokenIds
  /** Tensors by the name of the model's input, in place of tokens. */
  inputs?: Record<string, TensorSource>
}

/** Names of a contrast's keys that fit into a sentence: "the answer's box", "another box". */
export interface KeyNames {
  /** The positive keys. */
  positive: string
  /** The negative keys. */
  negative: string
}

/** One contrast's rule for one prompt. */
export interface ContrastRule {
  /** Names of the contrast's keys in reports; the first prompt that gives them counts. */
  keyNames?: KeyNames
  /** Explicit terms; or `labels`. */
  terms?: Term[]
  /** Labels of all positions. */
  labels?: Labels
}

/** The prompt with its feature changed, and the positions of the negative half of every term in it. */
export interface Counterfactual extends PromptSource, ContrastRule {
  /** The negative half of each contrast, by its name. */
  contrasts?: Record<string, ContrastRule>
}

/** One prompt and its contrasts: one line of a prompt set. */
export interface Prompt extends PromptSource, ContrastRule {
  /** Name of the prompt in messages; unique in its set. */
  id?: string
  /** Name of the only contrast of this prompt; or `contrasts` for several. */
  contrast?: string
  /** The rule of each contrast, by its name. */
  contrasts?: Record<string, ContrastRule>
  /** The run that holds the negative half of every term. */
  counterfactual?: Counterfactual
  /**
   * Expected answer at the query of the terms: the text that follows, of which the first token counts, or a token id
   * or class. Interventions report its logit. Default: the token at the origin.
   */
  answer?: string | number
  /** Group of prompts that share material. Tests exchange whole groups. */
  group?: string
}

/** The two halves of a term, side by side. */
export interface PairedTerm {
  /** The query of the positive half. */
  query: Position
  /** Keys of the positive half. */
  positive: Position[]
  /** The query of the negative half; in a counterfactual, of the second run. */
  queryNeg: Position
  /** Keys of the negative half; in a counterfactual, of the second run. */
  negative: Position[]
  /** Label of the query and the positive keys. */
  label?: string
  /** Label of the query in the counterfactual. */
  labelNeg?: string
  /** One label per negative key. */
  negativeLabels?: string[]
}

/** A rule with both halves of every term; `counterfactual` says that the negative half is in the second run. */
export interface TermRule {
  /** Name of the contrast. */
  contrast: string
  /** Names of the contrast's keys in reports. */
  keyNames?: KeyNames
  /** Explicit terms; or `labels`. */
  terms?: PairedTerm[]
  /** Labels of all positions. */
  labels?: Labels
  /** Whether the negative half is in the second run. */
  counterfactual: boolean
}
