/** Batches: which runs go through the model together, and which of their rows the terms use. */

import type { LabelsInput, TermsInput } from '../covariance/qk-covariance.js'
import { QkError } from '../errors.js'
import { groupBy } from '../math/group-by.js'
import { KEY_ROWS, QUERY_ROWS } from '../model/graphs/capture-graph.js'
import {
  fixedBatch,
  int64Tensor,
  type ModelInput,
  makeArray,
  numberWriter,
  tokenFeeds,
} from '../model/inference/inputs.js'
import type { WireTensor } from '../model/inference/session.js'
import type { EncodedPrompt, Run } from './encode.js'

/** One inference of a batch. */
export interface Inference {
  feeds: Record<string, WireTensor>
  /** Rows that it gives, in order. */
  queries: RowOrigin[]
  keys: RowOrigin[]
}

/** What a captured row was, for messages. */
export interface RowOrigin {
  where: string
  position: number
}

export interface Batch {
  prompts: number
  /** Usually one; several for runs of unequal length on a model without a mask. */
  inferences: Inference[]
  terms: TermsInput | undefined
  /** For self attention; cross attention reaches all keys. */
  labels: LabelsInput[]
}

/** Prompts are sorted by length within windows of this many batches, so that little is padded. */
const WINDOW_BATCHES = 8

export interface Batching {
  /** Prompts in a batch. */
  size: number
  /** Whether runs of unequal length may share an inference. */
  padded: boolean
  /** Runs of every inference, in a model exported for one batch size. */
  fixedRuns?: number
}

/** How a model's inputs let prompts be batched. */
export function batchingFor(inputs: readonly ModelInput[], size: number): Batching {
  return { size, padded: inputs.some((i) => i.role === 'mask'), fixedRuns: fixedBatch(inputs) }
}

/** Groups prompts, in a fixed order that depends only on the prompts and the batching. */
export async function* groupPrompts(
  prompts: AsyncIterable<EncodedPrompt>,
  { size }: Batching,
): AsyncGenerator<EncodedPrompt[]> {
  let window: EncodedPrompt[] = []
  const flush = function* () {
    window.sort((a, b) => lengthKey(a) - lengthKey(b))
    for (let i = 0; i < window.length; i += size) yield window.slice(i, i + size)
    window = []
  }
  for await (const prompt of prompts) {
    window.push(prompt)
    if (window.length >= size * WINDOW_BATCHES) yield* flush()
  }
  yield* flush()
}

function lengthKey({ runs }: EncodedPrompt): number {
  return Math.max(...runs.map((run) => (run.kind === 'tokens' ? run.ids.length : 0)))
}

/** Lays a group of prompts out as inferences, rows and terms. */
export function buildBatch(
  group: readonly EncodedPrompt[],
  contrasts: readonly string[],
  inputs: readonly ModelInput[],
  { padded, fixedRuns }: Batching,
  padId: number,
): Batch {
  const runs = group.flatMap((prompt) => prompt.runs.map((run, half) => ({ prompt, run, half })))
  const used = runs.map(({ prompt, half }) => usedPositions(prompt, half))
  // The rows of one inference are contiguous; runs keep their order within it.
  const queryRow = runs.map(() => new Map<number, number>())
  const keyRow = runs.map(() => new Map<number, number>())
  let queryCount = 0
  let keyCount = 0
  const shared = shareInferences(
    runs.map(({ run }) => run),
    padded,
    fixedRuns,
  )
  const inferences = shared.map((members): Inference => {
    const queries: RowOrigin[] = []
    const keys: RowOrigin[] = []
    const queryIndex: number[] = []
    const keyIndex: number[] = []
    members.forEach((r, b) => {
      const { where } = runs[r].prompt
      for (const position of used[r].queries) {
        queryRow[r].set(position, queryCount++)
        queries.push({ where, position })
        queryIndex.push(b, position, 0)
      }
      for (const position of used[r].keys) {
        keyRow[r].set(position, keyCount++)
        keys.push({ where, position })
        keyIndex.push(b, position, 0)
      }
    })
    const feeds = runFeeds(
      inputs,
      members.map((r) => runs[r].run),
      padId,
      fixedRuns,
    )
    feeds[QUERY_ROWS] = int64Tensor(queryIndex, 3)
    feeds[KEY_ROWS] = int64Tensor(keyIndex, 3)
    return { feeds, queries, keys }
  })
  return { prompts: group.length, inferences, ...layTerms(group, contrasts, queryRow, keyRow) }
}

function usedPositions({ rules }: EncodedPrompt, half: number): { queries: number[]; keys: number[] } {
  const queries = new Set<number>()
  const keys = new Set<number>()
  for (const { terms, labels, counterfactual } of rules) {
    for (const term of terms ?? []) {
      if (half === 0) {
        queries.add(term.query)
        for (const p of term.positive) keys.add(p)
      }
      if (half === (counterfactual ? 1 : 0)) {
        queries.add(term.queryNeg)
        for (const p of term.negative) keys.add(p)
      }
    }
    labels?.query.forEach((label, i) => {
      if (label >= 0) queries.add(i)
    })
    labels?.key.forEach((label, i) => {
      if (label >= 0) keys.add(i)
    })
  }
  const ascending = (set: Set<number>) => [...set].sort((a, b) => a - b)
  return { queries: ascending(queries), keys: ascending(keys) }
}

/** Indices of the runs of each inference. */
function shareInferences(runs: readonly Run[], padded: boolean, most = runs.length): number[][] {
  const key = (run: Run): string => {
    if (run.kind === 'tokens') return padded ? 'tokens' : `tokens ${run.ids.length}`
    return JSON.stringify(Object.entries(run.tensors).map(([name, { shape }]) => [name, shape]))
  }
  return [...groupBy(runs.keys(), (i) => key(runs[i])).values()].flatMap((group) =>
    Array.from({ length: Math.ceil(group.length / most) }, (_, i) => group.slice(i * most, (i + 1) * most)),
  )
}

/**
 * The inputs of runs of one kind, padded to the longest. A model that was exported for one batch size gets the
 * first run again, as often as it takes.
 */
export function runFeeds(
  inputs: readonly ModelInput[],
  given: readonly Run[],
  padId: number,
  fixedRuns = given.length,
): Record<string, WireTensor> {
  const again = Array.from({ length: Math.max(0, fixedRuns - given.length) }, () => given[0])
  const runs = [...given, ...again]
  if (runs[0].kind === 'tokens') {
    const ids = runs.map((run) => (run.kind === 'tokens' ? run.ids : []))
    return tokenFeeds(inputs, ids, padId)
  }
  const feeds: Record<string, WireTensor> = {}
  for (const input of inputs) {
    const tensors = runs.map((run) => {
      if (run.kind !== 'inputs')
        throw new QkError('ERR_INTERNAL', 'runs of different kinds share an inference')
      return run.tensors[input.name]
    })
    const { shape } = tensors[0]
    const size = shape.reduce((a, b) => a * b, 1)
    const data = makeArray(input, runs.length * size)
    const write = numberWriter(data, input.type)
    tensors.forEach(({ values }, b) => {
      for (let i = 0; i < size; i++) write(b * size + i, values[i])
    })
    feeds[input.name] = { type: input.type, dims: [runs.length, ...shape], data }
  }
  return feeds
}

function layTerms(
  group: readonly EncodedPrompt[],
  contrasts: readonly string[],
  queryRow: readonly Map<number, number>[],
  keyRow: readonly Map<number, number>[],
): Pick<Batch, 'terms' | 'labels'> {
  const contrast: number[] = []
  const query: number[] = []
  const queryNeg: number[] = []
  const pos: number[] = []
  const neg: number[] = []
  const posOffsets = [0]
  const negOffsets = [0]
  const labels: LabelsInput[] = []
  let firstRun = 0
  for (const prompt of group) {
    for (const rule of prompt.rules) {
      const index = contrasts.indexOf(rule.contrast)
      const other = firstRun + (rule.counterfactual ? 1 : 0)
      for (const term of rule.terms ?? []) {
        contrast.push(index)
        query.push(queryRow[firstRun].get(term.query)!)
        queryNeg.push(queryRow[other].get(term.queryNeg)!)
        for (const p of term.positive) pos.push(keyRow[firstRun].get(p)!)
        for (const p of term.negative) neg.push(keyRow[other].get(p)!)
        posOffsets.push(pos.length)
        negOffsets.push(neg.length)
      }
      if (rule.labels) {
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
  return { terms, labels }
}

function layLabels(
  { query, key, causal }: { query: Int32Array; key: Int32Array; causal: boolean },
  contrast: number,
  queryRow: Map<number, number>,
  keyRow: Map<number, number>,
): LabelsInput {
  const labelled = (labels: Int32Array) => [...labels.keys()].filter((i) => labels[i] >= 0)
  const queries = labelled(query)
  const keys = labelled(key)
  return {
    contrast,
    reach: causal ? 'before' : 'others',
    queryRows: Int32Array.from(queries, (i) => queryRow.get(i)!),
    queryPositions: Int32Array.from(queries),
    queryLabels: Int32Array.from(queries, (i) => query[i]),
    keyRows: Int32Array.from(keys, (i) => keyRow.get(i)!),
    keyPositions: Int32Array.from(keys),
    keyLabels: Int32Array.from(keys, (i) => key[i]),
  }
}
