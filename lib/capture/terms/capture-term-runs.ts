/** Captures queries and keys at every position of the items' runs, batch by batch. */

import { throwIfAborted } from '../../errors.js'
import { tokenCaptureGraph } from '../../model/graphs/capture-graph.js'
import { InferenceSession, type WireTensor } from '../../model/inference/session.js'
import type { Model } from '../../model/model.js'
import { keyHeadOf, type ResolvedSite } from '../../model/sites/site.js'
import { batchingFor, runFeeds } from '../feeds.js'
import { type TermRun, termRunBatches } from './term-runs.js'

/**
 * Queries and keys of one site, with a key head for every query head: both [runs, tokens, heads, d]. The runs of the
 * items come first; with `donors`, those of their counterfactuals follow.
 */
export interface CapturedPositions {
  q: WireTensor
  k: WireTensor
  /** Factors of the scores, [runs, heads, tokens, tokens], if they are not constant and were found in the graph. */
  factors?: WireTensor
}

/** Errors: those of the items, ERR_INFERENCE, ERR_ABORTED. */
export async function* captureTermRuns(
  model: Model,
  requests: readonly { site: ResolvedSite; heads: readonly number[] }[],
  items: AsyncIterable<TermRun>,
  { batchSize, donors = false, signal }: { batchSize: number; donors?: boolean; signal?: AbortSignal },
): AsyncGenerator<{ items: TermRun[]; sites: CapturedPositions[] }> {
  const graph = tokenCaptureGraph(
    model.graph,
    requests.map(({ site, heads }) => ({ site, heads, kvHeads: heads.map((h) => keyHeadOf(site, h)) })),
  )
  const { weightsFolder } = model.graph.model
  const session = await InferenceSession.open({ bytes: graph.bytes, weightsFolder, threads: model.threads })
  try {
    const inputs = model.inputs.filter(({ name }) => graph.inputs.includes(name))
    const { fixedRuns } = batchingFor(model, batchSize)
    for await (const batch of termRunBatches(model, items, batchSize)) {
      throwIfAborted(signal)
      const own = batch.map(({ run }) => run)
      const runs = donors ? [...own, ...batch.flatMap(({ donor }) => donor?.run ?? [])] : own
      const feeds = runFeeds(inputs, runs, model.tokenizer?.padId ?? 0, fixedRuns)
      const captured = await session.run(feeds, { signal })
      yield {
        items: batch,
        sites: graph.outputs.map(({ q, k, factors }) => ({
          q: captured[q],
          k: captured[k],
          ...(factors && { factors: captured[factors] }),
        })),
      }
    }
  } finally {
    await session.close()
  }
}
