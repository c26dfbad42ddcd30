/** Captures the query of every term and the key it attends to, for one head, as rows for figures 3, 6 and 8. */

import { captureTermRuns } from '../capture/terms/capture-term-runs.js'
import { termRuns } from '../capture/terms/term-runs.js'
import type { Prompt } from '../contrast/prompt.js'
import { promptSet } from '../contrast/prompt-set.js'
import type { WireTensor } from '../model/inference/session.js'
import { tensorValues } from '../model/inference/values.js'
import type { Model } from '../model/model.js'
import { parseHeads } from '../model/sites/heads.js'

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
  const d = site.headDim
  const q: number[] = []
  const k: number[] = []
  const from: number[] = []
  const terms = termRuns(model, promptSet(prompts), {
    ...(contrast !== undefined && { contrasts: [contrast] }),
    seed: 0,
  })
  const requests = [{ site, heads: [head] }]
  for await (const { items, sites } of captureTermRuns(model, requests, terms, {
    batchSize: BATCH,
    signal,
  })) {
    const add = (rows: number[], tensor: WireTensor, position: (i: number) => number) => {
      const values = tensorValues(tensor)
      const length = tensor.dims[1]
      items.forEach((_, i) => {
        const at = (i * length + position(i)) * d
        rows.push(...values.subarray(at, at + d))
      })
    }
    add(q, sites[0].q, (i) => items[i].query)
    add(k, sites[0].k, (i) => items[i].origin)
    from.push(...items.map(({ prompt }) => prompt))
  }
  return { d, q: Float64Array.from(q), k: Float64Array.from(k), prompts: from }
}
