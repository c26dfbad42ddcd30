/** Prompts as users write them (design: "A prompt set"), and their rules laid out by contrast. */

/** A token index (negative from the end), or a span of the prompt's text. */
export type Position =
  | number
  | ({ char: [start: number, end: number] } & TokenOfSpan)
  | ({ match: string; nth?: number } & TokenOfSpan)

/** Which token of a span is meant, by default the last; and which text the span is in, by default the first. */
export interface TokenOfSpan {
  token?: 'first' | 'last'
  in?: 'text' | 'pair'
}

export interface Term {
  query: Position
  positive?: Position[]
  negative?: Position[]
  /**
   * What the query and its positive keys are, for the legend of pictures. In a counterfactual: what its query and
   * its negative keys are.
   */
  label?: string
  /** What each negative key is; not in a counterfactual, where `label` says it. */
  negativeLabels?: string[]
}

export type Label = string | number | null

export interface Labels {
  /** One label a position along the query axis; null takes no part. */
  query: Label[]
  /** One label a position along the key axis; the same as `query` when absent. */
  key?: Label[]
  rule?: 'same-label'
  /** Keys before the query only. */
  causal?: boolean
}

/** A tensor of a model whose inputs are not token ids: row `row` of a `.npy` file, or values in place. */
export type TensorSource =
  | { npy: string; row?: number }
  | { data: ArrayLike<number> | BigInt64Array; shape: readonly number[] }

/** Token ids: a list, or an integer array. */
export type TokenIds = readonly number[] | Int32Array | BigInt64Array

/** What a model reads: text, token ids, or tensors. */
export interface PromptSource {
  text?: string
  /** A second text, put behind the first by the tokenizer's own template, as sentence pairs are. */
  pair?: string
  tokens?: TokenIds
  inputs?: Record<string, TensorSource>
}

/** One contrast's rule for one prompt. */
export interface ContrastRule {
  terms?: Term[]
  labels?: Labels
}

/** The prompt with its feature changed, and where the negative half of every term lies in it. */
export interface Counterfactual extends PromptSource, ContrastRule {
  contrasts?: Record<string, ContrastRule>
}

export interface Prompt extends PromptSource, ContrastRule {
  id?: string
  /** Name of the only contrast of this prompt; or `contrasts` for several. */
  contrast?: string
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
  query: Position
  positive: Position[]
  queryNeg: Position
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
  contrast: string
  terms?: PairedTerm[]
  labels?: Labels
  counterfactual: boolean
}
