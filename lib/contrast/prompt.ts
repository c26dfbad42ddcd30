/** Prompts as users write them (docs/prompt-sets.md), and their rules laid out by contrast. */

/** A token index (negative from the end), or a span of the prompt's text. */
export type Position =
  | number
  | ({
      /** Start and end in the text, in UTF-16 units; the end is not included. */
      char: [start: number, end: number]
    } & TokenOfSpan)
  | ({
      /** Text to find in the prompt. */
      match: string
      /** Which occurrence is meant, from 0; needed where there are several. */
      nth?: number
    } & TokenOfSpan)

/** Which token of a span is meant, by default the last; and which text the span is in, by default the first. */
export interface TokenOfSpan {
  /** The first or the last token of the span; default the last. */
  token?: 'first' | 'last'
  /** The text that the span is in; default `text`. */
  in?: 'text' | 'pair'
}

/** A query, keys that carry the feature as the query does, and keys that do not. */
export interface Term {
  /** Where the query is. */
  query: Position
  /** Keys that carry the feature. */
  positive?: Position[]
  /** Keys that do not carry it, with everything else held constant. */
  negative?: Position[]
  /**
   * What the query and its positive keys are, for the legend of pictures. In a counterfactual: what its query and
   * its negative keys are.
   */
  label?: string
  /** What each negative key is; not in a counterfactual, where `label` says it. */
  negativeLabels?: string[]
}

/** A label of a position: the same label means the same value of the feature. Null takes no part. */
export type Label = string | number | null

/**
 * A label-matched contrast: every labelled position is a query. Its positives are the keys with the
 * same label, its negatives those with another one.
 */
export interface Labels {
  /** One label a position along the query axis; null takes no part. */
  query: Label[]
  /** One label a position along the key axis; the same as `query` when absent. */
  key?: Label[]
  /** What makes a key positive; there is one rule. */
  rule?: 'same-label'
  /** Keys before the query only. */
  causal?: boolean
}

/** A tensor of a model whose inputs are not token ids: row `row` of a `.npy` file, or values in place. */
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

/** What a model reads: text, token ids, or tensors. */
export interface PromptSource {
  /** Text for the model's tokenizer. */
  text?: string
  /** A second text, put behind the first by the tokenizer's own template, as sentence pairs are. */
  pair?: string
  /** Token ids, in place of a text. */
  tokens?: TokenIds
  /** Tensors by the name of the model's input, in place of tokens. */
  inputs?: Record<string, TensorSource>
}

/** What the keys of a contrast are, in words that a sentence can take: "the answer's box", "another box". */
export interface KeyNames {
  /** The positive keys. */
  positive: string
  /** The negative keys. */
  negative: string
}

/** One contrast's rule for one prompt. */
export interface ContrastRule {
  /** What reports call the keys of the contrast; the first prompt that says it counts. */
  keyNames?: KeyNames
  /** Explicit terms; or `labels`. */
  terms?: Term[]
  /** Labels of all positions. */
  labels?: Labels
}

/** The prompt with its feature changed, and where the negative half of every term lies in it. */
export interface Counterfactual extends PromptSource, ContrastRule {
  /** The negative half of each contrast, by its name. */
  contrasts?: Record<string, ContrastRule>
}

/** One prompt and its contrasts, as a line of a prompt set holds them. */
export interface Prompt extends PromptSource, ContrastRule {
  /** Name of the prompt in messages; unique in its set. */
  id?: string
  /** Name of the only contrast of this prompt; or `contrasts` for several. */
  contrast?: string
  /** The rule of each contrast, by its name. */
  contrasts?: Record<string, ContrastRule>
  /** The run that gives the negative half of every term. */
  counterfactual?: Counterfactual
  /**
   * What the model should answer at the query of the terms: the text that follows, of which the first token
   * counts, or a token id or class. Interventions report it; by default they take the token at the origin.
   */
  answer?: string | number
  /** Prompts that share material, for tests that permute whole groups. */
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
  /** Of the query and the positive keys. */
  label?: string
  /** Of the query of a counterfactual's half. */
  labelNeg?: string
  /** One a negative key. */
  negativeLabels?: string[]
}

/** A rule whose two halves are side by side; `counterfactual` says that the negative half is of the second run. */
export interface TermRule {
  /** Name of the contrast. */
  contrast: string
  /** What reports call the keys of the contrast. */
  keyNames?: KeyNames
  /** Explicit terms; or `labels`. */
  terms?: PairedTerm[]
  /** Labels of all positions. */
  labels?: Labels
  /** Whether the negative half is of the second run. */
  counterfactual: boolean
}
