/** Groups prompts into batches: which runs share an inference, and which of their rows the terms use. */

import { groupBy } from '../math/group-by.js'
import { KEY_ROWS, QUERY_ROWS } from '../model/graphs/capture-graph.js'
import { ATTENTION_CELLS } from '../model/graphs/pattern-cells.js'
import { int64Tensor, type ModelInput } from '../model/inference/inputs.js'
import type { WireTensor } from '../model/inference/session.js'
import { attentionGroups, CellPlan, type MeasuredGroup } from './attention-groups.js'
import { type BatchTerms, labelledPositions, layTerms } from './batch-terms.js'
import type { EncodedPrompt, Run } from './encode.js'
import { type Batching, runFeeds } from './feeds.js'

/** One inference of a batch. */
export interface Inference {
  feeds: Record<string, WireTensor>
  /** Captured rows of this inference, in order. */
  queries: RowOrigin[]
  keys: RowOrigin[]
}

/** Origin of a captured row, for messages. */
export interface RowOrigin {
  where: string
  position: number
}

export interface Batch extends BatchTerms {
  prompts: number
  /** Usually one; several for runs of unequal length on a model without a mask. */
  inferences: Inference[]
  /** Attention groups, if attention is measured. */
  attention?: readonly MeasuredGroup[]
}

/** Prompts are sorted by length within windows of this many batches, to reduce padding. */
const WINDOW_BATCHES = 8

/** Groups prompts in a fixed order, which depends only on the prompts and the batching. */
export async function* groupPrompts(
  prompts: AsyncIterable<EncodedPrompt>,
  { size }: Batching,
): AsyncGenerator<EncodedPrompt[]> {
  let window: EncodedPrompt[] = []
  const flush = function* () {
    window.sort((a, b) => lengthKey(a) - lengthKey(b))
    for (let i = 0; i < window.length; i += size) {
      yield window.slice(i, i + size)
    }
    window = []
  }
  for await (const prompt of prompts) {
    window.push(prompt)
    if (window.length >= size * WINDOW_BATCHES) {
      yield* flush()
    }
  }
  yield* flush()
}

function lengthKey({ runs }: EncodedPrompt): number {
  return Math.max(...runs.map(lengthOf))
}

/** Number of tokens. Runs of tensors have no known length. */
function lengthOf(run: Run): number {
  return run.kind === 'tokens' ? run.ids.length : 0
}

/** Arranges a group of prompts as inferences, rows and terms. */
export function buildBatch(
  group: readonly EncodedPrompt[],
  contrasts: readonly string[],
  inputs: readonly ModelInput[],
  batching: Batching,
  padId: number,
  attention = false,
): Batch {
  const runs = group.flatMap((prompt) => prompt.runs.map((run, half) => ({ prompt, run, half })))
  const used = runs.map(({ prompt, half }) => usedPositions(prompt, half))
  // The rows of one inference are contiguous; runs keep their order within it.
  const queryRow = runs.map(() => new Map<number, number>())
  const keyRow = runs.map(() => new Map<number, number>())
  const cells = attention ? new CellPlan(attentionGroups(group, contrasts)) : undefined
  let queryCount = 0
  let keyCount = 0
  const shared = shareInferences(
    runs.map(({ run }) => run),
    batching,
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
      batching.fixedRuns,
    )
    feeds[QUERY_ROWS] = int64Tensor(queryIndex, 3)
    feeds[KEY_ROWS] = int64Tensor(keyIndex, 3)
    if (cells) {
      feeds[ATTENTION_CELLS] = int64Tensor(cells.cellsOf(members), 4)
    }
    return { feeds, queries, keys }
  })
  const terms = layTerms(group, contrasts, queryRow, keyRow)
  return { prompts: group.length, inferences, ...terms, ...(cells && { attention: cells.groups }) }
}

function usedPositions({ rules }: EncodedPrompt, half: number): { queries: number[]; keys: number[] } {
  const queries = new Set<number>()
  const keys = new Set<number>()
  for (const { terms, labels, counterfactual } of rules) {
    const negativeHalf = counterfactual ? 1 : 0
    for (const { query, positive, queryNeg, negative } of terms ?? []) {
      if (half === 0) {
        queries.add(query)
        addAll(keys, positive)
      }
      if (half === negativeHalf) {
        queries.add(queryNeg)
        addAll(keys, negative)
      }
    }
    if (labels) {
      addAll(queries, labelledPositions(labels.query))
      addAll(keys, labelledPositions(labels.key))
    }
  }
  const ascending = (set: Set<number>) => [...set].sort((a, b) => a - b)
  return { queries: ascending(queries), keys: ascending(keys) }
}

function addAll(set: Set<number>, values: Iterable<number>): void {
  for (const value of values) {
    set.add(value)
  }
}

/** Indices of the runs of each inference. */
function shareInferences(runs: readonly Run[], { padded, fixedRuns, mostRuns }: Batching): number[][] {
  const key = (run: Run): string => {
    if (run.kind === 'tokens') {
      return padded ? 'tokens' : `tokens ${run.ids.length}`
    }
    return JSON.stringify(Object.entries(run.tensors).map(([name, { shape }]) => [name, shape]))
  }
  return [...groupBy(runs.keys(), (i) => key(runs[i])).values()].flatMap((group) => {
    const longest = Math.max(...group.map((i) => lengthOf(runs[i])))
    const most = fixedRuns ?? mostRuns(longest)
    return Array.from({ length: Math.ceil(group.length / most) }, (_, i) =>
      group.slice(i * most, (i + 1) * most),
    )
  })
}
