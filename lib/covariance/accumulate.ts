/**
 * Captures queries and keys of a prompt set and accumulates their contrastive covariances: while one batch
 * is accumulated, the next goes through the model, and the one after that is prepared. No more are in memory.
 */

import { totalmem } from 'node:os'
import type { BackendDescription, Estimator } from '../backend/backend.js'
import { type BackendChoice, selectBackend } from '../backend/select.js'
import { type Batch, batchingFor, buildBatch, groupPrompts, type Inference } from '../capture/batch.js'
import { type EncodedPrompt, encodePrompt } from '../capture/encode.js'
import { type PromptSetSummary, type Prompts, promptSet } from '../contrast/prompt-set.js'
import { QkError, throwIfAborted } from '../errors.js'
import { groupBy } from '../math/group-by.js'
import { type CapturedOutput, captureGraph, type SiteRequest } from '../model/graphs/capture-graph.js'
import { verifySites } from '../model/graphs/verify.js'
import { InferenceSession, type WireTensor } from '../model/inference/session.js'
import { Model, toleranceOf } from '../model/model.js'
import { type HeadSpec, parseHeads } from '../model/sites/heads.js'
import { headName, keyHeadOf, type ResolvedSite } from '../model/sites/site.js'
import { checkInteger, checkOptions } from '../validate.js'
import { type LabelsInput, QKCovariance } from './qk-covariance.js'
import type { TensorInput } from './row-tensor.js'

export interface AccumulateOptions {
  /** 'all' (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /** Default 'per-query'. */
  estimator?: Estimator
  backend?: BackendChoice
  /** Prompts in a batch (default 16). Changes results only within rounding, 1e-5 relative. */
  batchSize?: number
  /** Threads of the accumulation, 0 = all. */
  threads?: number
  /** Accept NaN and infinity in queries and keys. */
  allowNonFinite?: boolean
  /** Refuse to need more bytes than this for the covariances; default half of the machine's memory. */
  memoryLimit?: number
  signal?: AbortSignal
  onProgress?: (progress: { prompts: number; total: number }) => void
}

const OPTIONS = {
  heads: true,
  estimator: true,
  backend: true,
  batchSize: true,
  threads: true,
  allowNonFinite: true,
  memoryLimit: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof AccumulateOptions, true>

/** The heads of one site that share a covariance accumulation. */
export interface HeadGroup {
  /** Query heads of the site, in the order of the accumulation's heads. */
  heads: number[]
  covariance: QKCovariance
}

export interface SiteSums {
  site: ResolvedSite
  groups: HeadGroup[]
  /** Verification on the first prompt of the set. */
  relativeError: number
}

/** Accumulated covariances; `decompose` turns them into subspaces. */
export interface Sums {
  model: Model
  prompts: PromptSetSummary
  contrasts: string[]
  estimator: Estimator
  backend: BackendDescription
  sites: SiteSums[]
}

/**
 * Runs every prompt through the model and accumulates the contrasts of the heads asked for.
 *
 * Errors: those of prompts (ERR_PROMPT, ERR_POSITION, ERR_MATCH, ERR_EMPTY_SET, with file and line),
 * ERR_UNKNOWN_HEAD, ERR_MEMORY_LIMIT, ERR_CAPTURE_MISMATCH, ERR_NON_FINITE, ERR_INFERENCE, ERR_ABORTED.
 */
export async function accumulate(
  model: Model,
  prompts: Prompts,
  options: AccumulateOptions = {},
): Promise<Sums> {
  if (!(model instanceof Model)) {
    throw new QkError('ERR_TYPE', 'accumulate takes an opened model', {
      hint: 'await openModel(file) first.',
    })
  }
  checkOptions(options, OPTIONS, 'accumulate')
  const { signal, estimator = 'per-query', batchSize = 16 } = options
  throwIfAborted(signal)
  checkInteger(batchSize, 'batchSize', 1)
  const heads = parseHeads(options.heads ?? 'all', model.sites)
  const set = promptSet(prompts)
  const summary = await set.summary(signal)
  throwIfAborted(signal)
  const plan = planSites(model, heads, summary.contrasts, options)
  const sums: Sums = {
    model,
    prompts: summary,
    contrasts: summary.contrasts,
    estimator,
    backend: selectBackend(options.backend).describe(),
    sites: plan.sites,
  }
  let session: InferenceSession | undefined
  try {
    const batching = batchingFor(model.inputs, batchSize)
    const graph = captureGraph(model.graph, plan.requests)
    const { weightsFolder } = model.graph.model
    const inputs = model.inputs.filter((i) => graph.inputs.includes(i.name))
    const padId = model.tokenizer?.padId ?? 0
    const memory = new RowMemory()

    const encoded = async function* (): AsyncGenerator<EncodedPrompt> {
      for await (const placed of set) yield encodePrompt(model, placed)
    }
    let done = 0
    let captured: Promise<void> = Promise.resolve()
    let added: Promise<void> = Promise.resolve()
    for await (const group of groupPrompts(encoded(), batching)) {
      throwIfAborted(signal)
      if (!session) {
        // Before the capture's own session, so that the weights are in memory once.
        await verifyOn(model, sums, group[0], padId)
        throwIfAborted(signal)
        session = await InferenceSession.open({ bytes: graph.bytes, weightsFolder, threads: model.threads })
      }
      const batch = buildBatch(group, summary.contrasts, inputs, batching, padId)
      const rows = captureBatch(session, batch, graph.outputs, memory, signal)
      const before = captured
      captured = (async () => {
        const [found] = await Promise.all([rows, before])
        await added
        added = addBatch(plan.slices, batch, found.sites, signal).then(() => {
          memory.giveBack(found.results)
          done += batch.prompts
          options.onProgress?.({ prompts: done, total: summary.prompts })
        })
        added.catch(() => {})
      })()
      captured.catch(() => {})
      // One batch is accumulated and one goes through the model while the next is prepared; no more.
      await before
    }
    await captured
    await added
    throwIfAborted(signal)
    return sums
  } catch (error) {
    disposeSums(sums)
    throw error
  } finally {
    await session?.close()
  }
}

/** Frees the native memory of accumulated covariances. */
export function disposeSums(sums: Sums): void {
  for (const { groups } of sums.sites) for (const { covariance } of groups) covariance.dispose()
}

/** Which captured heads feed which accumulation. */
interface Slice {
  /** Index among the captured outputs. */
  output: number
  cross: boolean
  /** First captured query head and key head, and how many. */
  firstHead: number
  heads: number
  firstKey: number
  kvHeads: number
  covariance: QKCovariance
  site: ResolvedSite
  names: string[]
}

interface Plan {
  requests: SiteRequest[]
  sites: SiteSums[]
  slices: Slice[]
}

/**
 * A site whose heads are all wanted is one accumulation. Of other sites only the wanted heads are captured,
 * and the heads of each key head form an accumulation of their own, so that no key is ever repeated.
 */
function planSites(
  model: Model,
  heads: readonly { site: number; head: number }[],
  contrasts: readonly string[],
  options: AccumulateOptions,
): Plan {
  const plan: Plan = { requests: [], sites: [], slices: [] }
  let memoryLimit = options.memoryLimit ?? totalmem() / 2
  for (const [index, refs] of groupBy(heads, (h) => h.site)) {
    const site = model.sites[index]
    const chosen = refs.map((r) => r.head)
    const all = chosen.length === site.heads
    const byKey = groupBy(chosen, (h) => keyHeadOf(site, h))
    const groups = all ? [chosen] : [...byKey.values()]
    const kvHeads = [...byKey.keys()]
    plan.requests.push({ site, heads: all ? undefined : chosen, kvHeads: all ? undefined : kvHeads })
    const sums: SiteSums = { site, groups: [], relativeError: Number.NaN }
    let firstHead = 0
    groups.forEach((group, g) => {
      const covariance = new QKCovariance({
        heads: group.length,
        kvHeads: all ? site.kvHeads : 1,
        headDim: site.headDim,
        contrasts,
        estimator: options.estimator,
        backend: options.backend,
        allowNonFinite: options.allowNonFinite,
        threads: options.threads,
        memoryLimit,
      })
      memoryLimit -= covariance.bytes
      sums.groups.push({ heads: group, covariance })
      plan.slices.push({
        output: plan.requests.length - 1,
        cross: site.cross,
        firstHead,
        heads: group.length,
        firstKey: all ? 0 : g,
        kvHeads: all ? site.kvHeads : 1,
        covariance,
        site,
        names: group.map((h) => headName(site, h)),
      })
      firstHead += group.length
    })
    plan.sites.push(sums)
  }
  return plan
}

/** Queries and keys of one batch, by captured site. */
interface Captured {
  q: WireTensor
  k: WireTensor
}

/** Runs of the model whose memory is kept: of a batch that is accumulated, and of the one after it. */
const MOST_FREE = 2

/**
 * Shared memory for captured rows, used again when their batch has been accumulated. Left to the garbage collector it would pile up, since each batch leaves little else to collect.
 */
class RowMemory {
  readonly #free: Record<string, SharedArrayBuffer>[] = []

  take(): Record<string, SharedArrayBuffer> | undefined {
    return this.#free.pop()
  }

  giveBack(results: readonly Record<string, WireTensor>[]): void {
    for (const tensors of results) {
      if (this.#free.length >= MOST_FREE) return
      const buffers = Object.entries(tensors).map(
        ([name, { data }]) => [name, data.buffer as SharedArrayBuffer] as const,
      )
      this.#free.push(Object.fromEntries(buffers))
    }
  }
}

async function captureBatch(
  session: InferenceSession,
  batch: Batch,
  outputs: readonly CapturedOutput[],
  memory: RowMemory,
  signal: AbortSignal | undefined,
): Promise<{ sites: Captured[]; results: Record<string, WireTensor>[] }> {
  const results: Record<string, WireTensor>[] = []
  for (const inference of batch.inferences) {
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
  const sites = outputs.map(({ q, k }) => ({
    q: joinRows(results.map((r) => r[q])),
    k: joinRows(results.map((r) => r[k])),
  }))
  return { sites, results }
}

/** onnxruntime's complaint, in terms of the prompts that were running. */
function explainFailure(error: unknown, { queries, keys }: Inference): unknown {
  if (!(error instanceof QkError) || error.code !== 'ERR_INFERENCE') return error
  const rows = [...queries, ...keys]
  if (/GatherND|invalid ind|out of bounds/i.test(error.message) && !/idx=/.test(error.message)) {
    const last = rows.reduce((a, b) => (b.position > a.position ? b : a))
    return new QkError(
      'ERR_POSITION',
      `${last.where}: position ${last.position} lies outside the query or key axis of an attention site`,
      { cause: error },
    )
  }
  const where = [...new Set(rows.map((r) => r.where))]
  const among =
    where.length === 1 ? where[0] : `among ${where.length} prompts, ${where[0]} to ${where.at(-1)}`
  return new QkError('ERR_INFERENCE', `${among}: ${error.message}`, {
    cause: error,
    hint: 'A token id beyond the vocabulary, or a prompt longer than the model’s positions? --batch-size 1 names it.',
  })
}

function joinRows(parts: WireTensor[]): WireTensor {
  if (parts.length === 1) return parts[0]
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

async function addBatch(
  slices: readonly Slice[],
  batch: Batch,
  captured: readonly Captured[],
  signal: AbortSignal | undefined,
): Promise<void> {
  await Promise.all(
    slices.map(async (slice) => {
      const { q, k } = captured[slice.output]
      const labels = batch.labels.map(
        (l): LabelsInput => (slice.cross && l.reach === 'others' ? { ...l, reach: 'all' } : l),
      )
      try {
        await slice.covariance.add({
          q: headSlice(q, slice.firstHead, slice.heads),
          k: headSlice(k, slice.firstKey, slice.kvHeads),
          terms: batch.terms,
          labels: labels.length > 0 ? labels : undefined,
          signal,
        })
      } catch (error) {
        throw locateNonFinite(error, slice, batch, q, k)
      }
    }),
  )
}

/** Heads [first, first + count) of captured rows [n, heads, d], as [1, n, count, d]. */
function headSlice({ data, dims, type }: WireTensor, first: number, count: number): TensorInput {
  const [rows, heads] = dims
  const d = dims.slice(2).reduce((a, b) => a * b, 1)
  const view = data as Float32Array | Uint16Array
  return {
    data: first === 0 ? view : view.subarray(first * d),
    dtype: type === 'float16' ? 'f16' : 'f32',
    shape: [1, rows, count, d],
    strides: [rows * heads * d, heads * d, d, 1],
  }
}

/** Says in which prompt, at which position and in which head a value was not finite. */
function locateNonFinite(error: unknown, slice: Slice, batch: Batch, q: WireTensor, k: WireTensor): unknown {
  if (!(error instanceof QkError) || error.code !== 'ERR_NON_FINITE') return error
  const { site } = slice
  for (const [side, tensor] of [
    ['queries', q],
    ['keys', k],
  ] as const) {
    const origins = batch.inferences.flatMap((inference) => inference[side])
    const [rows, heads] = tensor.dims
    const d = tensor.dims.slice(2).reduce((a, b) => a * b, 1)
    const data = tensor.data as Float32Array | Uint16Array
    for (let row = 0; row < rows; row++) {
      for (let at = row * heads * d; at < (row + 1) * heads * d; at++) {
        const finite = tensor.type === 'float16' ? (data[at] & 0x7c00) !== 0x7c00 : Number.isFinite(data[at])
        if (finite) continue
        const { where, position } = origins[row]
        const head = Math.floor((at - row * heads * d) / d)
        const name = side === 'queries' ? `head ${slice.names[head] ?? head}` : `key head ${head}`
        return new QkError(
          'ERR_NON_FINITE',
          `${where}: the ${side} of layer ${site.layer}, ${name}, at position ${position} are not finite`,
          { cause: error, hint: 'Leave the prompt out.' },
        )
      }
    }
  }
  return error
}

/** Contract 3: the capture is refused when scores recomputed from it are not the model's. */
async function verifyOn(model: Model, sums: Sums, prompt: EncodedPrompt, padId: number): Promise<void> {
  const first: EncodedPrompt = { ...prompt, runs: prompt.runs.slice(0, 1), rules: [] }
  const batching = batchingFor(model.inputs, 1)
  const { feeds } = buildBatch([first], sums.contrasts, model.inputs, batching, padId).inferences[0]
  const checked = await verifySites(
    model.graph,
    sums.sites.map(({ site }) => site),
    feeds,
    model.threads,
  ).catch((error) => {
    throw explainFailure(error, { feeds, queries: [{ where: prompt.where, position: 0 }], keys: [] })
  })
  sums.sites.forEach((entry, i) => {
    const { relativeError, finite } = checked[i]
    entry.relativeError = relativeError
    const limit = toleranceOf(entry.site)
    // Rows that are not finite are refused, and named, when they are accumulated.
    if (relativeError <= limit || !finite) return
    const { site } = entry
    throw new QkError(
      'ERR_CAPTURE_MISMATCH',
      `${model.path}: the scores of layer ${site.layer} (node ${site.node}) cannot be recomputed from the ` +
        `captured queries and keys: relative error ${relativeError.toExponential(1)}, allowed ${limit}`,
      { hint: 'Something besides queries and keys enters these scores; leave the layer out.' },
    )
  })
}
