/**
 * Tests whether a row depends on the rest of its batch. It may depend on the padding of shorter prompts (convolutions
 * over positions, an ignored mask), or on the other prompts (values quantised by the range of the whole batch). The
 * test runs a prompt of the set alone and with others, and its result is stored with the model.
 */

import { captureGraph, KEY_ROWS, QUERY_ROWS, type SiteRequest } from '../model/graphs/capture-graph.js'
import { ATTENTION_CELLS } from '../model/graphs/pattern-cells.js'
import { fixedBatch, fixedLength, int64Tensor, tokenFeeds } from '../model/inference/inputs.js'
import { InferenceSession, type WireTensor } from '../model/inference/session.js'
import { tensorValues } from '../model/inference/values.js'
import { type Model, toleranceOf } from '../model/model.js'
import { verifiedTokens } from './run-size.js'

/** How prompts may share a batch: padded to one length, only with prompts of their own length, or not at all. */
export type Sharing = 'padded' | 'equal length' | 'alone'

const known = new WeakMap<Model, Sharing>()

/** The known sharing of a model. Models without a mask are never padded. */
export function sharingOf(model: Model): Sharing {
  return known.get(model) ?? (hasMask(model) ? 'padded' : 'equal length')
}

const hasMask = (model: Model) => model.inputs.some(({ role }) => role === 'mask')

/** A session's inputs and outputs for the rows of all positions of some tokens. */
interface RowSource {
  session: InferenceSession
  /** Names of the model's inputs that are needed. */
  inputs: readonly string[]
  outputs: readonly { q: string; k: string }[]
  requests: readonly SiteRequest[]
  /** Whether the graph takes `ATTENTION_CELLS`. */
  attention: boolean
}

/**
 * Runs the test, once per model, on the tokens of a prompt. Prompts of tensors cannot be tested. Errors:
 * ERR_INFERENCE.
 */
export async function findSharing(
  model: Model,
  tokens: readonly number[],
  source?: RowSource,
): Promise<void> {
  if (known.has(model) || tokens.length < 2 || fixedBatch(model.inputs) !== undefined) {
    return
  }
  const own = source ?? (await openSource(model))
  try {
    known.set(model, await trySharing(model, verifiedTokens(model, model.sites, tokens), own))
  } finally {
    if (!source) {
      await own.session.close()
    }
  }
}

async function openSource(model: Model): Promise<RowSource> {
  const requests = model.sites.map((site) => ({ site }))
  const graph = captureGraph(model.graph, requests)
  const { weightsFolder } = model.graph.model
  const session = await InferenceSession.open({
    bytes: graph.bytes,
    weightsFolder,
    threads: model.threads,
    once: true,
  })
  return { session, ...graph, requests }
}

async function trySharing(model: Model, tokens: readonly number[], source: RowSource): Promise<Sharing> {
  const whole = [...tokens]
  const alone = await rowsOfFirst(model, [whole], source)
  const company = await rowsOfFirst(model, [whole, [...whole].reverse()], source)
  if (!alike(alone, company, source)) {
    return 'alone'
  }
  if (!hasMask(model)) {
    return 'equal length'
  }
  // A model of fixed length pads every prompt alike.
  if (fixedLength(model.inputs) !== undefined) {
    return 'padded'
  }
  const half = whole.slice(0, Math.ceil(whole.length / 2))
  const short = await rowsOfFirst(model, [half], source)
  const padded = await rowsOfFirst(model, [half, whole], source)
  return alike(short, padded, source) ? 'padded' : 'equal length'
}

/** Queries and keys of every position of the first of several prompts, by site. */
async function rowsOfFirst(
  model: Model,
  prompts: readonly (readonly number[])[],
  { session, inputs, outputs, attention }: RowSource,
): Promise<Float64Array[]> {
  const needed = model.inputs.filter(({ name }) => inputs.includes(name))
  const rows = int64Tensor(
    prompts[0].flatMap((_, position) => [0, position, 0]),
    3,
  )
  const feeds: Record<string, WireTensor> = {
    ...tokenFeeds(needed, prompts, model.tokenizer?.padId ?? 0),
    [QUERY_ROWS]: rows,
    [KEY_ROWS]: rows,
    ...(attention && { [ATTENTION_CELLS]: int64Tensor([0, 0, 0, 0], 4) }),
  }
  const found = await session.run(feeds)
  return outputs.flatMap(({ q, k }) => [tensorValues(found[q]), tensorValues(found[k])])
}

function alike(a: readonly Float64Array[], b: readonly Float64Array[], { requests }: RowSource): boolean {
  return a.every((values, i) => {
    let [difference, total] = [0, 0]
    values.forEach((x, j) => {
      difference += (x - b[i][j]) ** 2
      total += x ** 2
    })
    // Rows that are not finite are reported where they are used.
    return !(difference > toleranceOf(requests[Math.floor(i / 2)].site) ** 2 * total)
  })
}
