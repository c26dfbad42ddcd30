/** The terms and label sequences of a group of prompts, with positions replaced by captured rows. */

import type { LabelSequence, TermBatch } from '../backend/backend.js'
import type { EncodedLabels, EncodedPrompt, EncodedTerm } from './encode.js'

export interface BatchTerms {
  terms: TermBatch | undefined
  /** Key scopes are for self attention; in cross attention the key scope is all keys. */
  labels: LabelSequence[]
  /** Unit of exchange of each term and of each label sequence. */
  termUnits: string[]
  labelUnits: string[]
}

/** `queryRow` and `keyRow` map a run and a position to the captured row. */
export function layTerms(
  group: readonly EncodedPrompt[],
  contrasts: readonly string[],
  queryRow: readonly Map<number, number>[],
  keyRow: readonly Map<number, number>[],
): BatchTerms {
  const terms = new TermColumns()
  const labels: LabelSequence[] = []
  const termUnits: string[] = []
  const labelUnits: string[] = []
  let firstRun = 0
  for (const prompt of group) {
    for (const rule of prompt.rules) {
      const contrast = contrasts.indexOf(rule.contrast)
      const own = { query: queryRow[firstRun], key: keyRow[firstRun] }
      const otherRun = firstRun + (rule.counterfactual ? 1 : 0)
      const other = { query: queryRow[otherRun], key: keyRow[otherRun] }
      for (const term of rule.terms ?? []) {
        terms.add(contrast, term, own, other)
        termUnits.push(prompt.unit)
      }
      if (rule.labels) {
        labels.push(layLabels(rule.labels, contrast, own))
        labelUnits.push(prompt.unit)
      }
    }
    firstRun += prompt.runs.length
  }
  return { terms: terms.batch(), labels, termUnits, labelUnits }
}

/** The captured rows of a run, by position. */
interface RunRows {
  query: Map<number, number>
  key: Map<number, number>
}

/** Builds a `TermBatch` term by term. */
class TermColumns {
  readonly #contrast: number[] = []
  readonly #query: number[] = []
  readonly #queryNeg: number[] = []
  readonly #posOffsets = [0]
  readonly #pos: number[] = []
  readonly #negOffsets = [0]
  readonly #neg: number[] = []

  /** Adds a term; `other` holds the rows of the run with its negative half. */
  add(contrast: number, { query, positive, queryNeg, negative }: EncodedTerm, own: RunRows, other: RunRows) {
    this.#contrast.push(contrast)
    this.#query.push(own.query.get(query)!)
    this.#queryNeg.push(other.query.get(queryNeg)!)
    for (const position of positive) {
      this.#pos.push(own.key.get(position)!)
    }
    for (const position of negative) {
      this.#neg.push(other.key.get(position)!)
    }
    this.#posOffsets.push(this.#pos.length)
    this.#negOffsets.push(this.#neg.length)
  }

  /** The batch. Undefined if there were no terms. */
  batch(): TermBatch | undefined {
    if (this.#contrast.length === 0) {
      return undefined
    }
    return {
      contrast: Int32Array.from(this.#contrast),
      query: Int32Array.from(this.#query),
      queryNeg: Int32Array.from(this.#queryNeg),
      posOffsets: Int32Array.from(this.#posOffsets),
      pos: Int32Array.from(this.#pos),
      negOffsets: Int32Array.from(this.#negOffsets),
      neg: Int32Array.from(this.#neg),
    }
  }
}

function layLabels({ query, key, causal }: EncodedLabels, contrast: number, rows: RunRows): LabelSequence {
  const queries = labelledPositions(query)
  const keys = labelledPositions(key)
  return {
    contrast,
    keyScope: causal ? 'before' : 'others',
    queryRows: Int32Array.from(queries, (i) => rows.query.get(i)!),
    queryPositions: Int32Array.from(queries),
    queryLabels: Int32Array.from(queries, (i) => query[i]),
    keyRows: Int32Array.from(keys, (i) => rows.key.get(i)!),
    keyPositions: Int32Array.from(keys),
    keyLabels: Int32Array.from(keys, (i) => key[i]),
  }
}

/** Positions that have a label, ascending. */
export function labelledPositions(labels: Int32Array): number[] {
  return [...labels.keys()].filter((i) => labels[i] >= 0)
}
