/** Complete rows of scores of the first prompts, for inspection. */

import type { TermRun } from '../capture/terms/term-runs.js'
import type { Model } from '../model/model.js'
import { explainedBy, totalOf } from './explained.js'
import { cellQuery, minus, partQuery, type Spans } from './spans.js'
import { meanOf, type RowSegment, rowScores, type TermRow } from './term-rows.js'

/** One row of scores, scaled, before softcap and mask; keys in order. */
export interface AttributedRow {
  /** Name of the head, as in `L0H1`. */
  head: string
  /** Contrast of the term that the query belongs to. */
  contrast: string
  /** Position of the query in the prompt, from 0. */
  query: number
  /**
   * Scores of every key that the query may attend to, [keys]. Centred rows are less their mean over the row's keys.
   */
  total: number[]
  /** The part of each feature in every score, by the feature's name, each [keys]. */
  parts: Record<string, number[]>
  /** With `sides: 'both'`, parts by query feature and key feature; 'rest' is the last of both. */
  table?: {
    /** The features in their order, then 'rest'. */
    names: string[]
    /** Scores by query feature, key feature and key. */
    parts: number[][][]
  }
  /** The part outside all features, [keys]. */
  rest: number[]
  /** Explained fraction of the scores of the row's keys. Null if those are all equal. */
  explained: number | null
}

/** A prompt of the report with the split of its scores. */
export interface AttributedPrompt {
  /** Place of the prompt in its set: file and line, or its id or index. */
  where: string
  /** Token ids, if the prompt is given as tokens. */
  tokens?: number[]
  /** Text of each token, if the model has a tokenizer. */
  words?: string[]
  /** The rows of scores of the prompt's terms, head by head. */
  rows: AttributedRow[]
}

/** Adds the row of a term to its prompt's example. */
export function addExample(model: Model, examples: AttributedPrompt[], item: TermRun, row: AttributedRow) {
  const { where, run } = item
  let example = examples.find((e) => e.where === where)
  if (!example) {
    const tokens = run.kind === 'tokens' ? [...run.ids] : undefined
    const words = model.tokenizer && tokens?.map((id) => model.tokenizer!.token(id))
    example = { where, tokens, words, rows: [] }
    examples.push(example)
  }
  example.rows.push(row)
}

/** Splits the row of a term: `whole` with all keys, and `row` with the chosen keys. */
export function exampleRow(
  head: string,
  { contrast, query }: TermRun,
  { whole, row }: { whole: RowSegment; row: TermRow },
  { spans, features, centered }: { spans: Spans; features: readonly string[]; centered: boolean },
): AttributedRow {
  const split = (replace: (q: Float64Array) => Float64Array) => {
    const scores = rowScores([whole], replace)
    const shift = centered ? meanOf(rowScores(row, replace)) : 0
    return Array.from(scores, (x) => x - shift)
  }
  const { total, energy } = totalOf(row, centered)
  const parts = features.map((_, f) => split((q) => partQuery(spans, f, q)))
  const { query: left, key: right } = spans
  const cell = (f: number, g: number) =>
    split((q) => cellQuery({ query: left!, key: right! }, [f, g], features.length, q))
  const names = [...features, 'rest']
  const table = left && right && names.map((_, f) => names.map((__, g) => cell(f, g)))
  const taken = (q: Float64Array) => (left ? left.of(q) : right!.adjointOf(q))
  return {
    head,
    contrast,
    query,
    total: split((q) => q),
    parts: Object.fromEntries(features.map((name, f) => [name, parts[f]])),
    ...(table && { table: { names, parts: table } }),
    rest: table ? table[features.length][features.length] : split((q) => minus(q, taken(q))),
    explained: energy === 0 ? null : explainedBy(spans, row, total, energy, centered),
  }
}
