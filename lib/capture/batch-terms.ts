/** The terms and label sequences of a group of prompts, with positions replaced by captured rows. */

import type { LabelSequence, TermBatch } from '../backend/backend.js'
import type { EncodedPrompt } from './encode.js'

export interface BatchTerms {
  terms: TermBatch | undefined
  /** For self attention; the scope of cross attention is all keys. */
  labels: LabelSequence[]
  /** Unit of exchange of each term and of each label sequence. */
  termUnits: string[]
  labelUnits: string[]
}

/** `queryRow` and `keyRow` tell, for each run, the captured row of a position. */
export function layTerms(
  group: readonly EncodedPrompt[],
  contrasts: readonly string[],
  queryRow: readonly Map<number, number>[],
  keyRow: readonly Map<number, number>[],
): BatchTerms {
  const contrast: number[] = []
  const query: number[] = []
  const queryNeg: number[] = []
  const pos: number[] = []
  const neg: number[] = []
  const posOffsets = [0]
  const negOffsets = [0]
  const labels: LabelSequence[] = []
  const termUnits: string[] = []
  const labelUnits: string[] = []
  let firstRun = 0
  for (const prompt of group) {
    for (const rule of prompt.rules) {
      const index = contrasts.indexOf(rule.contrast)
      const other = firstRun + (rule.counterfactual ? 1 : 0)
      for (const term of rule.terms ?? []) {
        contrast.push(index)
        termUnits.push(prompt.unit)
        query.push(queryRow[firstRun].get(term.query)!)
        queryNeg.push(queryRow[other].get(term.queryNeg)!)
        for (const p of term.positive) {
          pos.push(keyRow[firstRun].get(p)!)
        }
        for (const p of term.negative) {
          neg.push(keyRow[other].get(p)!)
        }
        posOffsets.push(pos.length)
        negOffsets.push(neg.length)
      }
      if (rule.labels) {
        labelUnits.push(prompt.unit)
        labels.push(layLabels(rule.labels, index, queryRow[firstRun], keyRow[firstRun]))
      }
    }
    firstRun += prompt.runs.length
  }
  const terms =
    contrast.length === 0
      ? undefined
      : {
          contrast: Int32Array.from(contrast),
          query: Int32Array.from(query),
          queryNeg: Int32Array.from(queryNeg),
          posOffsets: Int32Array.from(posOffsets),
          pos: Int32Array.from(pos),
          negOffsets: Int32Array.from(negOffsets),
          neg: Int32Array.from(neg),
        }
  return { terms, labels, termUnits, labelUnits }
}

function layLabels(
  { query, key, causal }: { query: Int32Array; key: Int32Array; causal: boolean },
  contrast: number,
  queryRow: Map<number, number>,
  keyRow: Map<number, number>,
): LabelSequence {
  const labelled = (labels: Int32Array) => [...labels.keys()].filter((i) => labels[i] >= 0)
  const queries = labelled(query)
  const keys = labelled(key)
  return {
    contrast,
    keyScope: causal ? 'before' : 'others',
    queryRows: Int32Array.from(queries, (i) => queryRow.get(i)!),
    queryPositions: Int32Array.from(queries),
    queryLabels: Int32Array.from(queries, (i) => query[i]),
    keyRows: Int32Array.from(keys, (i) => keyRow.get(i)!),
    keyPositions: Int32Array.from(keys),
    keyLabels: Int32Array.from(keys, (i) => key[i]),
  }
}
