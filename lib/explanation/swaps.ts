/**
 * Exchanges coordinates of two keys in the model's own graph, starting from captured queries and keys. The model
 * itself applies softcap, sinks and masks to the changed scores. An edit of a head changes neither its queries and
 * keys nor those of other heads of its layer, so no earlier layer has to run again.
 */

import { throwIfAborted } from '../errors.js'
import { siteFeeds } from '../intervention/edit-feeds.js'
import { layEdits } from '../intervention/edit-layout.js'
import { editVariants, projectionsOf, type Variant, type VariantKind } from '../intervention/edit-variants.js'
import { nullFigures } from '../math/null-limit.js'
import { type EditGraph, editGraph } from '../model/graphs/edit-graph.js'
import { fixedBatch } from '../model/inference/inputs.js'
import { InferenceSession, type WireTensor } from '../model/inference/session.js'
import type { Model } from '../model/model.js'
import { elementTypeOf } from '../model/onnx/node-writer.js'
import type { Side } from '../model/sites/site.js'
import type { Result } from '../store/result.js'
import { ownKeys, type SiteOperands } from './attention.js'
import { rowNumbers } from './numbers.js'
import type { FeatureSwap } from './report.js'
import type { ExplainedRun } from './runs.js'
import type { KeyPair } from './swap-plan.js'

/** A planned exchange of a feature of a head on one prompt; `give` receives its effect. */
export interface PlannedSwap {
  /** Index among the query heads of its site. */
  head: number
  /** Name of the head. */
  name: string
  contrast: string
  pair: KeyPair
  give: (swap: FeatureSwap) => void
}

/** The swaps of one site on one prompt. */
export interface SiteSwaps {
  run: ExplainedRun
  operands: SiteOperands
  swaps: PlannedSwap[]
}

export interface SwapSettings {
  result: Result
  nulls: number
  randoms: number
  seed: number
  batchSize: number
  signal?: AbortSignal
}

/** Makes the swaps of one site, prompt by prompt, `onDone` after each. Errors: ERR_INFERENCE, ERR_ABORTED. */
export async function makeSwaps(
  model: Model,
  planned: readonly SiteSwaps[],
  settings: SwapSettings,
  onDone: () => void,
): Promise<void> {
  const { site, query, key } = planned[0].operands
  const heads = [...new Set(planned.flatMap(({ swaps }) => swaps.map(({ head }) => head)))].sort(
    (a, b) => a - b,
  )
  const given = new Map([
    [site.query.tensor, elementTypeOf(query.type)],
    [site.key.tensor, elementTypeOf(key.type)],
  ])
  const graph = editGraph(model.graph, [{ site, heads }], { output: false, given })
  const { weightsFolder } = model.graph.model
  const session = await InferenceSession.open({ bytes: graph.bytes, weightsFolder, threads: model.threads })
  const variants = new VariantsByFeature(settings)
  try {
    for (const { run, operands, swaps } of planned) {
      for (const { pair, edits } of await editsByPair(swaps, heads, variants)) {
        const place = { run, operands, pair, heads }
        await runEdits(model, { session, graph }, place, edits, settings)
      }
      onDone()
    }
  } finally {
    await session.close()
  }
}

/** An edit of one head; `take` receives the row of attention after it. */
interface HeadEdit {
  projection: () => Float32Array
  take: (row: number[]) => void
}

/** The edits of every head between one pair of keys. Entry i of all heads runs together. */
interface PairEdits {
  pair: KeyPair
  /** By head. */
  edits: HeadEdit[][]
}

async function editsByPair(
  swaps: readonly PlannedSwap[],
  heads: readonly number[],
  variants: VariantsByFeature,
): Promise<PairEdits[]> {
  const byPair = new Map<string, PairEdits>()
  for (const swap of swaps) {
    const { origin, target } = swap.pair
    const name = `${origin} ${target}`
    const own = byPair.get(name) ?? { pair: swap.pair, edits: heads.map(() => []) }
    byPair.set(name, own)
    own.edits[heads.indexOf(swap.head)].push(...editsOf(swap, await variants.of(swap)))
  }
  return [...byPair.values()]
}

/** All edits of one feature. The last of them completes the swap. */
function editsOf({ pair, give }: PlannedSwap, variants: Partial<Record<VariantKind, Variant>>): HeadEdit[] {
  const rows: Partial<Record<VariantKind, number[][]>> = {}
  const edits = (['features', 'null', 'random', 'whole'] as const).flatMap((kind) => {
    const variant = variants[kind]
    rows[kind] = []
    return (variant?.draws ?? []).map((_, draw): HeadEdit => {
      return { projection: () => projectionsOf(variant!, draw)[0], take: (row) => rows[kind]!.push(row) }
    })
  })
  const last = edits[edits.length - 1]
  const { take } = last
  last.take = (row) => {
    take(row)
    const { features, null: nulls, random, whole } = rows as Required<typeof rows>
    const onTarget = nullFigures(nulls.map((own) => own[pair.target]))
    give({
      ...pair,
      after: features[0],
      nulls: onTarget && {
        count: onTarget.count,
        mean: meanRow(nulls),
        target: { mean: onTarget.mean, p95: onTarget.p95 },
      },
      random: { count: random.length, mean: meanRow(random) },
      whole: whole[0],
    })
  }
  return edits
}

function meanRow(rows: readonly number[][]): number[] {
  const [first] = rows
  if (!first) {
    return []
  }
  return rowNumbers(first.map((_, j) => rows.reduce((sum, row) => sum + row[j], 0) / rows.length))
}

/** The variants of each head and feature, made once. */
class VariantsByFeature {
  private readonly known = new Map<string, Partial<Record<VariantKind, Variant>>>()

  constructor(private readonly settings: SwapSettings) {}

  async of({ name, contrast }: PlannedSwap): Promise<Partial<Record<VariantKind, Variant>>> {
    const key = `${name}\n${contrast}`
    let found = this.known.get(key)
    if (!found) {
      const { result, nulls, randoms, seed } = this.settings
      const { headDim } = result.head(name).contrast(contrast)
      const options = { side: 'key' as const, features: [contrast], nulls, randoms, seed }
      const variants = await editVariants(result, [{ name, headDim }], options, this.settings.signal)
      found = Object.fromEntries(variants.map((variant) => [variant.kind, variant]))
      this.known.set(key, found)
    }
    return found
  }
}

interface Place {
  run: ExplainedRun
  operands: SiteOperands
  pair: KeyPair
  heads: readonly number[]
}

/** Runs copies of the prompt through the graph together, each with the next edit of every head. */
async function runEdits(
  model: Model,
  { session, graph }: { session: InferenceSession; graph: EditGraph },
  { run, operands, pair, heads }: Place,
  edits: readonly HeadEdit[][],
  { batchSize, signal }: SwapSettings,
): Promise<void> {
  const { site, query, key } = operands
  const fixed = fixedBatch(model.inputs)
  const axes = { query: batchAxis(site.query), key: batchAxis(site.key) }
  const together = fixed === undefined && axes.query >= 0 && axes.key >= 0 ? batchSize : 1
  const count = Math.max(...edits.map((own) => own.length))
  for (let from = 0; from < count; from += together) {
    throwIfAborted(signal)
    const draws = Array.from({ length: Math.min(together, count - from) }, (_, i) => from + i)
    const items = draws.map(() => ({ where: run.where, run: run.run, query: run.query, ...pair }))
    const shape = { edit: 'swap' as const, side: 'key' as const, rows: 'query' as const, factor: 1 }
    const { feeds, slots } = layEdits(items, shape, model.inputs, model.tokenizer?.padId ?? 0, fixed)
    const byDraw = draws.map((draw) => edits.map((own) => own[draw]?.projection()))
    const change = {
      side: 'key' as const,
      strength: 1,
      // The first slot changes nothing; two slots of each item follow.
      projections: [undefined, ...byDraw.flatMap((byHead) => [byHead, byHead])],
    }
    const all: Record<string, WireTensor> = {
      ...feeds,
      ...siteFeeds(graph, [{ site, heads }], slots, change),
      [site.query.tensor]: repeated(query, axes.query, draws.length),
      [site.key.tensor]: repeated(key, axes.key, draws.length),
    }
    const wanted = Object.entries(all).filter(([name]) => graph.inputs.includes(name))
    const found = await session.run(Object.fromEntries(wanted), { signal })
    const { data, dims } = found[graph.sites[0].pattern]
    const keys = dims[2]
    const length = ownKeys(site, keys, run.run)
    draws.forEach((draw, i) => {
      edits.forEach((own, h) => {
        const at = (i * heads.length + h) * keys
        own[draw]?.take(rowNumbers((data as Float32Array).subarray(at, at + length)))
      })
    })
  }
}

/** The axis along which runs are concatenated, each with all of its heads. -1 if there is none. */
function batchAxis({ axes }: Side): number {
  return axes.findIndex((axis) => axis === 'batch' || axis === 'fold')
}

/** A tensor repeated `count` times along an axis. */
function repeated(tensor: WireTensor, axis: number, count: number): WireTensor {
  if (count === 1) {
    return tensor
  }
  const { type, dims } = tensor
  const data = tensor.data as Float32Array
  const inner = dims.slice(axis).reduce((a, b) => a * b, 1)
  const outer = data.length / inner
  const View = data.constructor as new (length: number) => Float32Array
  const out = new View(data.length * count)
  for (let o = 0; o < outer; o++) {
    const block = data.subarray(o * inner, (o + 1) * inner)
    for (let c = 0; c < count; c++) {
      out.set(block, (o * count + c) * inner)
    }
  }
  return { type, dims: dims.map((size, i) => (i === axis ? size * count : size)), data: out }
}
