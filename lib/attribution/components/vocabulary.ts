/**
 * Finds the tokens of the vocabulary that a direction reads. Every token runs alone, at position 0. The model's
 * embedding of it goes directly into the norm and W_Q or W_K of the direction's layer. This is the projection of the
 * token itself, without what earlier layers add.
 */

import { cooperator } from '../../backend/cooperate.js'
import { batchingFor, runFeeds } from '../../capture/feeds.js'
import type { ChosenHead } from '../../capture/terms/chosen-heads.js'
import { QkError, throwIfAborted } from '../../errors.js'
import { groupBy } from '../../math/group-by.js'
import {
  type ReadSide,
  type ReadsRequest,
  readsGraph,
  type SiteStream,
  siteStreams,
} from '../../model/graphs/reads-graph.js'
import type { NoTap } from '../../model/graphs/stream.js'
import { fixedLength } from '../../model/inference/inputs.js'
import { InferenceSession, type WireTensor } from '../../model/inference/session.js'
import type { Model } from '../../model/model.js'
import type { ResolvedSite } from '../../model/sites/site.js'
import { readableToken } from '../../model/tokenizer/readable.js'
import { ENDS, type Reads, rounded } from './component-tokens.js'
import type { Component } from './directions.js'
import { Extremes } from './extremes.js'

/** Default limit of tokens that are read. */
export const MOST_READ = 65_536
/** Number of tokens per inference. */
const BATCH = 512

/** The tokens read, and the reasons for heads where they could not be determined. */
export interface VocabularyReads {
  /** Tokens of a component, by its index in the list. */
  of(component: number, side: ReadSide): { own?: Reads; null?: Reads } | undefined
  /** By head: what the embeddings went through, in words. */
  through: Record<string, string>
  /** By head: why nothing was read, or not on both sides. */
  unavailable: Record<string, string>
}

/** One direction that is read for. */
interface Direction {
  head: number
  vector: Float64Array
  extremes: Extremes<ReadCandidate>
}

type ReadCandidate = { prompt: number; position: number; text: string }

/** The directions of one side of a site. */
interface SiteReads extends ReadsRequest {
  /** By head of the request. */
  directions: Direction[][]
}

/** Errors: ERR_ABORTED. */
export async function vocabularyReads(
  model: Model,
  chosen: readonly ChosenHead[],
  components: readonly Component[],
  { most, signal }: { most?: number; signal?: AbortSignal },
): Promise<VocabularyReads> {
  const used = [...new Set(components.map(({ head }) => head))].sort((a, b) => a - b)
  const names = used.map((head) => chosen[head].name)
  const nothing = (reason: string): VocabularyReads => {
    return {
      of: () => undefined,
      through: {},
      unavailable: Object.fromEntries(names.map((n) => [n, reason])),
    }
  }
  const ids = model.inputs.find(({ role }) => role === 'ids')
  if (used.length === 0) {
    return nothing('')
  }
  if (!ids || !model.tokenizer) {
    return nothing('the model has no tokenizer')
  }
  const vocabulary = Math.min(model.vocabulary ?? model.tokenizer.size, model.tokenizer.size)
  const length = fixedLength(model.inputs) ?? 1
  if (most === undefined && vocabulary * length > MOST_READ && length > 1) {
    const each = `each of ${vocabulary} tokens alone would take a run of ${length}`
    return nothing(`the model was exported for ${length} tokens at a time: ${each}`)
  }
  const count = Math.min(vocabulary, most ?? MOST_READ)
  const streams = siteStreams(model.graph, ids.name, model.sites)
  const found = new Map<string, Direction>()
  const requests = groupBy(used, (head) => chosen[head].site)
  const sites: SiteReads[] = [...requests].flatMap(([site, heads]) => {
    return (['query', 'key'] as const).flatMap((side): SiteReads[] => {
      const stream = streams.get(site)![side]
      // Keys of cross attention belong to another sequence.
      if ('reason' in stream || (side === 'key' && site.cross)) {
        return []
      }
      const directions = heads.map((head) => directionsOf(components, head, side, found))
      const columns = Math.max(...directions.map((own) => own.length))
      const siteHeads = heads.map((head) => chosen[head].head)
      return [{ site, side, stream, heads: siteHeads, columns, directions }]
    })
  })
  const failed = await readSites(model, sites, count, signal)
  const reads = (component: number, side: ReadSide) => {
    const [own, nulls] = [found.get(`${component} ${side}`), found.get(`${component} ${side} null`)]
    if (!own || failed.has(`${chosen[own.head].site.node} ${side}`)) {
      return undefined
    }
    return { own: readsOf(own), ...(nulls && { null: readsOf(nulls) }) }
  }
  const told = used.map((head) => {
    const { site, name } = chosen[head]
    return { name, ...inWords(site, streams.get(site)!, failed, { count, vocabulary }) }
  })
  const those = (which: 'through' | 'unavailable') =>
    Object.fromEntries(told.flatMap(({ name, [which]: words }) => (words ? [[name, words]] : [])))
  return { of: reads, through: those('through'), unavailable: those('unavailable') }
}

function directionsOf(
  components: readonly Component[],
  head: number,
  side: ReadSide,
  found: Map<string, Direction>,
): Direction[] {
  const which = side === 'query' ? 'u' : 'v'
  return components.flatMap((component, i) => {
    if (component.head !== head) {
      return []
    }
    const of = (key: string, vector: Float64Array) => {
      const direction = { head, vector, extremes: new Extremes<ReadCandidate>(ENDS) }
      found.set(key, direction)
      return direction
    }
    const own = of(`${i} ${side}`, component.directions[which])
    return component.null ? [own, of(`${i} ${side} null`, component.null[which])] : [own]
  })
}

/**
 * Reads all sites in one pass over the vocabulary. If onnxruntime refuses that, each side of a site is read
 * separately. Returns the reasons of failures, by node and side.
 */
async function readSites(
  model: Model,
  sites: readonly SiteReads[],
  count: number,
  signal?: AbortSignal,
): Promise<Map<string, string>> {
  const failed = new Map<string, string>()
  if (sites.length === 0) {
    return failed
  }
  const attempt = async (some: readonly SiteReads[]): Promise<QkError | undefined> => {
    try {
      await readTogether(model, some, count, signal)
      return undefined
    } catch (error) {
      throwIfAborted(signal)
      if (!(error instanceof QkError) || error.code !== 'ERR_INFERENCE') {
        throw error
      }
      return error
    }
  }
  if (!(await attempt(sites))) {
    return failed
  }
  for (const site of sites) {
    for (const direction of site.directions.flat()) {
      direction.extremes = new Extremes(ENDS)
    }
    const error = await attempt([site])
    if (error) {
      failed.set(`${site.site.node} ${site.side}`, error.message)
    }
  }
  return failed
}

/** Errors: ERR_INFERENCE, ERR_ABORTED. */
async function readTogether(
  model: Model,
  sites: readonly SiteReads[],
  count: number,
  signal?: AbortSignal,
): Promise<void> {
  const graph = readsGraph(model.graph, sites)
  const { weightsFolder } = model.graph.model
  const session = await InferenceSession.open({ bytes: graph.bytes, weightsFolder, threads: model.threads })
  try {
    const inputs = model.inputs.filter(({ name }) => graph.inputs.includes(name))
    const vectors = Object.fromEntries(
      sites.map((site, i) => [graph.outputs[i].directions, directionsTensor(site)]),
    )
    const turn = cooperator(signal)
    const { fixedRuns, mostRuns } = batchingFor(model, BATCH)
    const size = Math.min(BATCH, fixedRuns ?? mostRuns(fixedLength(model.inputs) ?? 1))
    for (let from = 0; from < count; from += size) {
      throwIfAborted(signal)
      const tokens = Array.from({ length: Math.min(size, count - from) }, (_, i) => from + i)
      const runs = tokens.map((id) => ({ kind: 'tokens' as const, ids: [id] }))
      const feeds = runFeeds(inputs, runs, model.tokenizer?.padId ?? 0, fixedRuns)
      const projected = await session.run({ ...feeds, ...vectors }, { signal })
      for (const [i, site] of sites.entries()) {
        takeTokens(model, site, projected[graph.outputs[i].projections], tokens)
        await turn()
      }
    }
  } finally {
    await session.close()
  }
}

/** [heads, d, columns]; heads with fewer directions are padded with zeros. */
function directionsTensor({ site, heads, columns, directions }: SiteReads): WireTensor {
  const d = site.headDim
  const data = new Float32Array(heads.length * d * columns)
  directions.forEach((own, h) => {
    own.forEach(({ vector }, c) => {
      for (let i = 0; i < d; i++) {
        data[(h * d + i) * columns + c] = vector[i]
      }
    })
  })
  return { type: 'float32', dims: [heads.length, d, columns], data }
}

/** Takes projections [heads, runs, columns] of some tokens. */
function takeTokens(
  { tokenizer }: Model,
  { directions, columns }: SiteReads,
  { data, dims }: WireTensor,
  tokens: readonly number[],
): void {
  const values = data as Float32Array
  const [, runs] = dims
  directions.forEach((own, h) => {
    own.forEach(({ extremes }, c) => {
      for (const [b, id] of tokens.entries()) {
        const value = values[(h * runs + b) * columns + c]
        extremes.take(value, () => ({ prompt: 0, position: id, text: readableToken(tokenizer!.token(id)) }))
      }
    })
  })
}

function readsOf({ extremes }: Direction): Reads {
  const { top, bottom } = extremes.ends
  const shown = (list: typeof top) =>
    list.map(({ item, value }) => ({ token: item.text, value: rounded(value) }))
  return { top: shown(top), bottom: shown(bottom) }
}

/** The operations on the embeddings of a head, and what could not be followed, in words. */
function inWords(
  site: ResolvedSite,
  streams: Record<ReadSide, SiteStream | NoTap>,
  failed: ReadonlyMap<string, string>,
  { count, vocabulary }: { count: number; vocabulary: number },
): { through?: string; unavailable?: string } {
  const layer = layerName(site)
  const missing: string[] = []
  const read: { weight: string; stream: SiteStream }[] = []
  for (const [side, weight, noun] of [
    ['query', 'W_Q', 'queries'],
    ['key', 'W_K', 'keys'],
  ] as const) {
    const stream = streams[side]
    const failure = failed.get(`${site.node} ${side}`)
    if (side === 'key' && site.cross) {
      missing.push('its keys are of another sequence')
    } else if ('reason' in stream) {
      missing.push(`its ${noun} ${stream.reason}`)
    } else if (failure) {
      missing.push(`its ${noun}: ${failure}`)
    } else {
      read.push({ weight, stream })
    }
  }
  const unavailable = missing.length > 0 ? { unavailable: missing.join('; ') } : {}
  if (read.length === 0) {
    return unavailable
  }
  const [{ stream }] = read
  const weights = read.map(({ weight }) => weight).join(' and ')
  const norm = stream.norm
    ? `${weights} of ${layer} and the ${stream.norm} before`
    : `${weights} of ${layer}, which read the stream without a norm between`
  const tokens =
    count < vocabulary ? `the first ${count} of ${vocabulary} tokens` : `all ${vocabulary} tokens`
  const from = `the stream in front of ${layerName(stream.from)}, each token alone at position 0`
  return { through: `${norm}; of ${tokens}, from ${from}`, ...unavailable }
}

const layerName = ({ kind, layer }: ResolvedSite) => `${kind ? `${kind}.` : ''}layer ${layer}`
