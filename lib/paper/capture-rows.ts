/** The query of every term and the key it attends to, of one head, as rows: what figures 3, 6 and 8 draw. */

import { batchingFor, runFeeds } from '../analysis/batch.js'
import { editItems } from '../analysis/edit-items.js'
import { itemBatches } from '../analysis/edit-layout.js'
import type { Prompt } from '../contrast/prompt.js'
import { promptSet } from '../contrast/prompt-set.js'
import { throwIfAborted } from '../errors.js'
import { fullCaptureGraph } from '../model/capture-graph.js'
import { InferenceSession } from '../model/inference/session.js'
import type { Model } from '../model/model.js'
import { parseHeads } from '../model/sites/heads.js'
import { tensorValues } from '../model/sites/values.js'

export interface CapturedRows {
  d: number
  /** [n, d] */
  q: Float64Array
  /** First positive key of each term, [n, d]. */
  k: Float64Array
  /** Index of each term's prompt, [n]. */
  prompts: number[]
}

const BATCH = 64

/** Terms of one contrast, or of all. Errors: those of prompts, ERR_UNKNOWN_HEAD, ERR_INFERENCE, ERR_ABORTED. */
export async function captureRows(
  model: Model,
  prompts: readonly Prompt[],
  headName: string,
  { contrast, signal }: { contrast?: string; signal?: AbortSignal } = {},
): Promise<CapturedRows> {
  const [{ site: index, head }] = parseHeads(headName, model.sites)
  const site = model.sites[index]
  const keyHead = Math.floor((head * site.kvHeads) / site.heads)
  const graph = fullCaptureGraph(model.graph, [{ site, heads: [head], kvHeads: [keyHead] }], [])
  const [names] = graph.outputs
  const d = site.headDim
  const { weightsFolder } = model.graph.model
  const session = await InferenceSession.open({ bytes: graph.bytes, weightsFolder, threads: model.threads })
  const q: number[] = []
  const k: number[] = []
  const from: number[] = []
  try {
    const inputs = model.inputs.filter(({ name }) => graph.inputs.includes(name))
    const { fixedRuns } = batchingFor(model.inputs, BATCH)
    const terms = editItems(model, promptSet(prompts), { contrast, seed: 0 })
    for await (const items of itemBatches(model, terms, BATCH)) {
      throwIfAborted(signal)
      const runs = items.map(({ run }) => run)
      const feeds = runFeeds(inputs, runs, model.tokenizer?.padId ?? 0, fixedRuns)
      const captured = await session.run(feeds, { signal })
      const add = (rows: number[], name: string, position: (i: number) => number) => {
        const values = tensorValues(captured[name])
        const length = captured[name].dims[1]
        items.forEach((_, i) => {
          const at = (i * length + position(i)) * d
          rows.push(...values.subarray(at, at + d))
        })
      }
      add(q, names.q, (i) => items[i].query)
      add(k, names.k, (i) => items[i].origin)
      from.push(...items.map(({ prompt }) => prompt))
    }
  } finally {
    await session.close()
  }
  return { d, q: Float64Array.from(q), k: Float64Array.from(k), prompts: from }
}
