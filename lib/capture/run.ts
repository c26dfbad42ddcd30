/**
 * Captures queries and keys of a prompt set, batch by batch. While one batch is used, the next one goes through the
 * model, and the one after that is prepared. No other batches are in memory.
 */

import type { PlacedPrompt } from '../contrast/prompt-set.js'
import { throwIfAborted } from '../errors.js'
import { type CapturedOutput, captureGraph, type SiteRequest } from '../model/graphs/capture-graph.js'
import { InferenceSession, type WireTensor } from '../model/inference/session.js'
import type { Model } from '../model/model.js'
import { type Batch, buildBatch, groupPrompts } from './batch.js'
import { findSharing } from './batch-dependence.js'
import { type EncodedPrompt, encodePrompt } from './encode.js'
import { explainFailure } from './explain-failure.js'
import { batchingFor } from './feeds.js'
import { oneAhead } from './read-ahead.js'
import { RowMemory } from './row-memory.js'
import { runSize } from './run-size.js'
import { verifyOnPrompt } from './verify-capture.js'

/** Captured rows of one site: queries [rows, heads, d] and keys [rows, kvHeads, d]. */
export interface CapturedRows {
  q: WireTensor
  k: WireTensor
  /** Factors of the scores of each query, [rows, heads, 1], if they are not constant. */
  factors?: WireTensor
  /**
   * Attention at the entries of the batch's groups, [entries, heads], if it is measured and the pattern was found in
   * the graph.
   */
  attention?: WireTensor
}

/** Position of a batch among all batches of the prompt set, including those that are not run. */
export interface BatchPlace {
  /** Number of the batch, from 0. */
  index: number
  /** Number of prompts of the set up to its end. */
  promptsDone: number
}

/** One batch. Its rows are valid until the next one is requested. */
export interface CapturedBatch extends Batch, BatchPlace {
  /** Captured rows by request. */
  sites: CapturedRows[]
  /** Relative errors by request, from the verification on the first prompt of the set. */
  relativeErrors: number[]
}

export interface CaptureBatchesOptions {
  /** Names of the contrasts; terms refer to them by index. */
  contrasts: readonly string[]
  /** Number of prompts in a batch. */
  batchSize: number
  /** Most bytes of one run of the model; default: half of the machine's memory. */
  memoryLimit?: number
  /** Also measures the attention of each term's query on its positive and its negative keys. */
  attention?: boolean
  /**
   * Whether to run the batch with this number; default: all. Batches and their rows are bitwise the same whichever are
   * chosen.
   */
  takes?: (index: number) => boolean
  /** Whether the sites were verified on these prompts before. `relativeErrors` are then NaN. */
  verified?: boolean
  signal?: AbortSignal
}

/**
 * Runs every prompt and captures the rows that its terms use.
 *
 * Errors: those of prompts (ERR_PROMPT, ERR_POSITION, ERR_MATCH, ERR_EMPTY_SET, with file and line),
 * ERR_CAPTURE_MISMATCH, ERR_MEMORY_LIMIT, ERR_INFERENCE, ERR_ABORTED.
 */
export async function* captureBatches(
  model: Model,
  prompts: AsyncIterable<PlacedPrompt>,
  requests: readonly SiteRequest[],
  options: CaptureBatchesOptions,
): AsyncGenerator<CapturedBatch, void> {
  const { contrasts, batchSize, memoryLimit, attention = false, takes = () => true } = options
  const { verified = false, signal } = options
  const graph = captureGraph(model.graph, requests, { attention })
  const inputs = model.inputs.filter(({ name }) => graph.inputs.includes(name))
  const padId = model.tokenizer?.padId ?? 0
  const memory = new RowMemory()
  const size = runSize(model, requests.at(-1)?.site, memoryLimit)

  async function* encoded(): AsyncGenerator<EncodedPrompt, void> {
    for await (const placed of prompts) {
      const prompt = await encodePrompt(model, placed)
      for (const run of prompt.runs) {
        if (run.kind === 'tokens') {
          size.check(run.ids.length, prompt.where)
        }
      }
      yield prompt
    }
  }

  async function* prepared(source: AsyncIterable<EncodedPrompt>): AsyncGenerator<Batch & BatchPlace, void> {
    const batching = batchingFor(model, batchSize, size)
    let index = 0
    let promptsDone = 0
    for await (const group of groupPrompts(source, batching)) {
      throwIfAborted(signal)
      promptsDone += group.length
      if (takes(index)) {
        const batch = buildBatch(group, contrasts, inputs, batching, padId, graph.attention)
        yield { ...batch, index, promptsDone }
      }
      index += 1
    }
  }

  async function* captured(): AsyncGenerator<{ batch: CapturedBatch; results: RunResult[] }, void> {
    const source = encoded()
    const { value: first, done } = await source.next()
    if (done) {
      return
    }
    const sites = requests.map(({ site }) => site)
    // Runs before the capture's own session, so that the weights are in memory only once.
    const relativeErrors = verified ? sites.map(() => Number.NaN) : await verifyOnPrompt(model, sites, first)
    throwIfAborted(signal)
    const { weightsFolder } = model.graph.model
    const session = await InferenceSession.open({ bytes: graph.bytes, weightsFolder, threads: model.threads })
    try {
      const [run] = first.runs
      if (run.kind === 'tokens') {
        await findSharing(model, run.ids, { session, requests, ...graph })
      }
      for await (const batch of oneAhead(prepared(startingWith(first, source)))) {
        const results = await runBatch(session, batch, graph.outputs, memory, signal)
        const joined = (name: string) => joinRows(results.map((r) => r[name]))
        const rows = graph.outputs.map(({ q, k, factors, attention: cells }) => ({
          q: joined(q),
          k: joined(k),
          ...(factors && { factors: joined(factors) }),
          ...(cells && { attention: joined(cells) }),
        }))
        yield { batch: { ...batch, sites: rows, relativeErrors }, results }
      }
    } finally {
      await session.close()
    }
  }

  for await (const { batch, results } of oneAhead(captured())) {
    yield batch
    memory.giveBack(results)
  }
}

async function* startingWith<T>(first: T, rest: AsyncIterable<T>): AsyncGenerator<T, void> {
  yield first
  yield* rest
}

/** Outputs of one inference, by name. */
type RunResult = Record<string, WireTensor>

async function runBatch(
  session: InferenceSession,
  { inferences }: Batch,
  outputs: readonly CapturedOutput[],
  memory: RowMemory,
  signal: AbortSignal | undefined,
): Promise<RunResult[]> {
  const results: RunResult[] = []
  for (const inference of inferences) {
    const { feeds, queries, keys } = inference
    const shapes = Object.fromEntries(
      outputs.flatMap(({ q, k, heads, kvHeads, headDim }) => [
        [q, [queries.length, heads, headDim]],
        [k, [keys.length, kvHeads, headDim]],
      ]),
    )
    try {
      results.push(await session.run(feeds, { shapes, into: memory.take(), signal }))
    } catch (error) {
      throw explainFailure(error, inference)
    }
  }
  return results
}

/** The rows of the inferences of a batch, one after another. */
function joinRows(parts: WireTensor[]): WireTensor {
  if (parts.length === 1) {
    return parts[0]
  }
  const views = parts.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  const shared = new SharedArrayBuffer(views.reduce((n, v) => n + v.length, 0))
  const bytes = new Uint8Array(shared)
  let at = 0
  for (const view of views) {
    bytes.set(view, at)
    at += view.length
  }
  const View = parts[0].data.constructor as new (buffer: SharedArrayBuffer) => ArrayBufferView
  const rows = parts.reduce((n, p) => n + p.dims[0], 0)
  return { type: parts[0].type, dims: [rows, ...parts[0].dims.slice(1)], data: new View(shared) }
}
