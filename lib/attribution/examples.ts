/** Rows of scores that are kept as they are, of the first prompts, to be looked at. */

import type { TermRun } from '../capture/terms/term-runs.js'
import type { Model } from '../model/model.js'
import type { AttributedRows } from './attribute-rows.js'

/** One row of scores, scaled, before softcap and mask; keys in order. */
export interface AttributedRow {
  head: string
  query: number
  /** [keys] */
  total: number[]
  parts: Record<string, number[]>
  /** With `sides: 'both'`, by query feature and key feature; 'rest' is the last of both. */
  table?: { names: string[]; parts: number[][][] }
  rest: number[]
  explained: number
}

export interface AttributedPrompt {
  where: string
  /** Token ids, of a prompt of tokens. */
  tokens?: number[]
  /** The tokens' own text, where the model has a tokenizer. */
  words?: string[]
  rows: AttributedRow[]
}

/** Adds the rows of the first `most` prompts to their examples. */
export function keepExamples(
  model: Model,
  examples: AttributedPrompt[],
  items: readonly TermRun[],
  head: string,
  { total, rest, parts, table, explained, mask, keys }: AttributedRows,
  most: number,
): void {
  items.forEach(({ where, run, query, prompt }, r) => {
    if (prompt >= most) return
    let example = examples.find((e) => e.where === where)
    if (!example) {
      const tokens = run.kind === 'tokens' ? [...run.ids] : undefined
      const words = model.tokenizer && tokens?.map((id) => model.tokenizer!.token(id))
      example = { where, tokens, words, rows: [] }
      examples.push(example)
    }
    const visible = mask.subarray(r * keys, (r + 1) * keys).lastIndexOf(1) + 1
    const row = (values: Float64Array, from = 0) =>
      Array.from(values.subarray(from + r * keys, from + r * keys + visible))
    example.rows.push({
      head,
      query,
      total: row(total),
      parts: Object.fromEntries(Object.entries(parts).map(([feature, values]) => [feature, row(values)])),
      ...(table && {
        table: {
          names: table.names,
          parts: table.names.map((_, f) =>
            table.names.map((__, g) => row(table.parts, (f * table.names.length + g) * total.length)),
          ),
        },
      }),
      rest: row(rest),
      explained: explained[r],
    })
  })
}
