/** Captures the attention of the prompts' queries in every head, prompt by prompt in one session. */

import type { Run } from '../capture/encode.js'
import { explainFailure } from '../capture/explain-failure.js'
import { runFeeds } from '../capture/feeds.js'
import { throwIfAborted } from '../errors.js'
import {
  type AttentionOutputs,
  type AttentionRequest,
  attentionGraph,
  type FollowedSite,
} from '../model/graphs/attention-graph.js'
import { QUERY_ROWS } from '../model/graphs/capture-graph.js'
import { fixedBatch, int64Tensor } from '../model/inference/inputs.js'
import { InferenceSession, type WireTensor } from '../model/inference/session.js'
import { tensorValues } from '../model/inference/values.js'
import type { Model } from '../model/model.js'
import { headName, MASKED_BELOW } from '../model/sites/site.js'
import type { ExplainedRun } from './runs.js'

/** The row of one query in one head. All arrays are [keys], only keys of the prompt itself. */
export interface HeadRow {
  name: string
  head: number
  site: FollowedSite
  /** 0 where masked. */
  attention: Float64Array
  /** Scores at the input of the softmax. */
  scores: Float64Array
  visible: boolean[]
  /** [queries][keys] */
  whole?: Float64Array[]
  /** Queries and keys of the scores. */
  parts?: ScoreParts
}

/** The scores of a query before softcap and mask are the products of `q` and the rows of `k`. */
export interface ScoreParts {
  /** [d] */
  q: Float64Array
  /** [keys, d], multiplied by the factors of their scores. */
  k: Float64Array
}

/** Captured queries and keys of a site as in the graph, from which its scores can be recomputed. */
export interface SiteOperands {
  site: FollowedSite
  query: WireTensor
  key: WireTensor
}

export interface CapturedAttention {
  /** By site, head by head. */
  rows: HeadRow[]
  /** Operands of the sites with parts. */
  operands: SiteOperands[]
}

/** Captures one prompt after another. Errors: ERR_INFERENCE, ERR_POSITION, ERR_ABORTED. */
export async function* captureAttention(
  model: Model,
  requests: readonly AttentionRequest[],
  runs: readonly ExplainedRun[],
  signal?: AbortSignal,
): AsyncGenerator<CapturedAttention> {
  const graph = attentionGraph(model.graph, requests)
  const { weightsFolder } = model.graph.model
  const session = await InferenceSession.open({ bytes: graph.bytes, weightsFolder, threads: model.threads })
  try {
    const inputs = model.inputs.filter(({ name }) => graph.inputs.includes(name))
    for (const { where, run, query } of runs) {
      throwIfAborted(signal)
      const feeds = {
        ...runFeeds(inputs, [run], model.tokenizer?.padId ?? 0, fixedBatch(model.inputs)),
        [QUERY_ROWS]: int64Tensor([0, query, 0], 3),
      }
      const found = await session.run(feeds, { signal }).catch((error) => {
        throw explainFailure(error, { feeds, queries: [{ where, position: query }], keys: [] })
      })
      yield {
        rows: requests.flatMap((request, i) => rowsOf(request, graph.sites[i], found, run)),
        operands: requests.flatMap(({ site }, i): SiteOperands[] => {
          const names = graph.sites[i].parts?.operands
          return names ? [{ site, query: found[names.query], key: found[names.key] }] : []
        }),
      }
    }
  } finally {
    await session.close()
  }
}

function rowsOf(
  { site, heads, whole, parts }: AttentionRequest,
  names: AttentionOutputs,
  found: Record<string, WireTensor>,
  run: Run,
): HeadRow[] {
  const keys = found[names.scores].dims[2]
  const length = ownKeys(site, keys, run)
  const [scores, zeros, pattern] = [names.scores, names.zeros, names.pattern].map((name) =>
    tensorValues(found[name]),
  )
  const wholes = names.whole && found[names.whole]
  const made = names.parts && partsOf(site, parts, names.parts, found, length)
  return heads.map((head, h) => {
    const of = (values: Float64Array) => values.slice(h * keys, h * keys + length)
    const own = of(scores)
    // Real scores may be as low as any mask, so they cannot show what is masked.
    const visible = Array.from(of(zeros), (zero, j) => zero > MASKED_BELOW && Number.isFinite(own[j]))
    const [at, part] = [whole.indexOf(head), parts.indexOf(head)]
    return {
      name: headName(site, head),
      head,
      site,
      scores: own,
      visible,
      attention: of(pattern).map((x, j) => (visible[j] ? x : 0)),
      ...(wholes && at >= 0 && { whole: wholeOf(wholes, at, length) }),
      ...(made && part >= 0 && { parts: made[part] }),
    }
  })
}

/** Number of keys of the prompt itself. In a model of fixed length, keys of padding follow them. */
export function ownKeys({ cross }: { cross: boolean }, keys: number, run: Run): number {
  return run.kind === 'tokens' && !cross ? Math.min(keys, run.ids.length) : keys
}

/** The pattern of one head of the first run, [queries][keys], of so many keys. */
function wholeOf(
  { data, dims: [, , queries, keys] }: WireTensor,
  head: number,
  length: number,
): Float64Array[] {
  // Padding on one side is padding on the other side too.
  return Array.from({ length: queries - (keys - length) }, (_, i) => {
    const from = (head * queries + i) * keys
    return Float64Array.from((data as Float32Array).subarray(from, from + length))
  })
}

function partsOf(
  site: FollowedSite,
  heads: readonly number[],
  { q, k, keyHeads, factors }: NonNullable<AttentionOutputs['parts']>,
  found: Record<string, WireTensor>,
  length: number,
): ScoreParts[] {
  const d = site.headDim
  const [, keys, count] = found[k].dims
  const queries = tensorValues(found[q])
  const rows = tensorValues(found[k])
  const scaledBy = factors === undefined ? undefined : tensorValues(found[factors])
  return heads.map((head, h) => {
    const own = new Float64Array(length * d)
    for (let j = 0; j < length; j++) {
      const factor = site.factors.kind === 'constant' ? site.factors.byHead[head] : scaledBy![h * keys + j]
      const from = (j * count + keyHeads[h]) * d
      for (let i = 0; i < d; i++) {
        own[j * d + i] = site.operandScale * factor * rows[from + i]
      }
    }
    return { q: queries.slice(h * d, (h + 1) * d), k: own }
  })
}
