/**
 * Attribution over a prompt set: the scores of chosen heads, on the queries of the terms, split additively over
 * named features, with the explained fraction and an interval over prompts (design: "Attribution"; paper,
 * figure 10).
 */

import { captureTermRuns } from '../capture/terms/capture-term-runs.js'
import { checkAnalysis } from '../capture/terms/check-analysis.js'
import { type ChosenHead, chosenHeads, requestsBySite } from '../capture/terms/chosen-heads.js'
import { type TermRun, termRuns } from '../capture/terms/term-runs.js'
import { type PromptSetSummary, type Prompts, promptSet } from '../contrast/prompt-set.js'
import { QkError, throwIfAborted } from '../errors.js'
import { bootstrapMean, bootstrapRatio, type Estimate } from '../math/bootstrap.js'
import type { WireTensor } from '../model/inference/session.js'
import { tensorValues } from '../model/inference/values.js'
import type { Model } from '../model/model.js'
import type { HeadSpec } from '../model/sites/heads.js'
import type { Result } from '../store/result.js'
import { checkInteger } from '../validate.js'
import {
  type AttributionFeature,
  type AttributionSides,
  attributeArrays,
  type TableAttribution,
} from './attribute-arrays.js'
import { type AttributionPoints, PointSamples } from './points.js'
import type { SplitMethod } from './split.js'

export interface AttributeOptions {
  /** The subspaces. */
  result: Result
  /** 'all' heads of the result (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /** Contrasts whose subspaces are the features, in the order of `residualize`; default all of the result. */
  features?: readonly string[]
  /** Contrast of the prompts whose terms name the queries; default every contrast's. */
  contrast?: string
  /** How overlap is settled; default 'residualize', the paper's. */
  method?: SplitMethod
  /** Split queries by U (default), keys by V, or both: the table of query feature against key feature. */
  sides?: AttributionSides
  /** Subtract each row's mean, which softmax ignores. */
  centered?: boolean
  /** Prompts of which the rows themselves are returned; default 4. */
  examples?: number
  /**
   * Queries and keys of terms that are kept as points inside the subspaces, at most as many a feature and side;
   * default 200.
   */
  points?: number
  /** Seed of sampled Shapley orders, of intervals, and of the choice of points; default 0. */
  seed?: number
  batchSize?: number
  signal?: AbortSignal
  onProgress?: (progress: { prompts: number; total: number }) => void
}

const OPTIONS = {
  result: true,
  heads: true,
  features: true,
  contrast: true,
  method: true,
  sides: true,
  centered: true,
  examples: true,
  points: true,
  seed: true,
  batchSize: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof AttributeOptions, true>

/** How much of one head's scores the features explain. */
export interface HeadExplained {
  /** Mean over rows of 1 - ||K q_rest||^2 / ||K q||^2. */
  mean: Estimate
  /** The same of all rows together: 1 less the ratio of the sums. */
  energy: Estimate
  /** Mean over rows of each feature's share of the energy of the parts, <part, total> / ||total||^2. */
  share: Record<string, Estimate>
}

/** One row of scores, scaled, before softcap and mask; keys in order. */
export interface AttributedRow {
  head: string
  query: number
  /** [keys] */
  total: number[]
  parts: Record<string, number[]>
  /** With `sides: 'both'`, by query feature and key feature; 'rest' is the last of both. */
  table?: { names: string[]; parts: number[][][] }
  rest: number[]
  explained: number
}

export interface AttributedPrompt {
  where: string
  /** Token ids, of a prompt of tokens. */
  tokens?: number[]
  /** The tokens' own text, where the model has a tokenizer. */
  words?: string[]
  rows: AttributedRow[]
}

export interface AttributionReport {
  model: string
  prompts: PromptSetSummary
  rows: number
  features: string[]
  method: SplitMethod
  sides: AttributionSides
  centered: boolean
  seed: number
  heads: Record<string, HeadExplained>
  examples: AttributedPrompt[]
  /** By feature; where points were asked for. */
  points?: AttributionPoints
}

/**
 * Splits the scores of every term's query. Causal heads are attributed over the keys up to the query, others over
 * all keys of the prompt.
 *
 * Errors: those of prompts and of `Result.head`, ERR_ARGUMENT, ERR_INFERENCE, ERR_ABORTED.
 */
export async function attribute(
  model: Model,
  prompts: Prompts,
  options: AttributeOptions,
): Promise<AttributionReport> {
  const settings = checkOptions(model, options)
  const { result, signal, seed, batchSize, method, sides, centered, points } = settings
  const set = promptSet(prompts)
  const summary = await set.summary(signal)
  const heads = chosenHeads(model, result, settings.heads)
  const features = heads.map((head) => featuresOf(result, head, settings.features, sides))
  const requests = requestsBySite(heads)
  const columns = heads.map(() => new Columns(settings.features))
  const examples: AttributedPrompt[] = []
  const samples = points > 0 ? new PointSamples(heads, settings.features, points, seed) : undefined
  let rows = 0
  const terms = termRuns(model, set, settings)
  const capturing = { batchSize, donors: points > 0, signal }
  for await (const { items, sites } of captureTermRuns(model, requests, terms, capturing)) {
    rows += items.length
    samples?.add(items, sites)
    let h = 0
    requests.forEach(({ heads: own }, r) => {
      const { q, k } = sites[r]
      own.forEach((_, place) => {
        const head = heads[h]
        const found = attributeRows(head, features[h], items, q, k, place, settings)
        columns[h].add(items, found)
        keepExamples(model, examples, items, head, found, settings)
        h += 1
      })
    })
    settings.onProgress?.({ prompts: items.at(-1)!.prompt + 1, total: summary.prompts })
  }
  if (rows === 0)
    throw new QkError('ERR_ARGUMENT', `no prompt has terms of the contrast "${settings.contrast}"`)
  return {
    model: model.path,
    prompts: summary,
    rows,
    ...{ features: [...settings.features], method, sides, centered, seed },
    heads: Object.fromEntries(heads.map(({ name }, i) => [name, columns[i].explained(seed)])),
    examples,
    ...(samples && { points: await samples.clouds(result, signal) }),
  }
}

type Settings = ReturnType<typeof checkOptions>

function checkOptions(model: Model, options: AttributeOptions) {
  checkAnalysis(model, options, OPTIONS, 'attribute')
  const defaults = {
    heads: 'all' as NonNullable<AttributeOptions['heads']>,
    features: options.result.contrastNames as readonly string[],
    method: 'residualize' as SplitMethod,
    sides: 'query' as AttributionSides,
    centered: false,
    examples: 4,
    points: 200,
    seed: 0,
    batchSize: 16,
  }
  const settings = { ...defaults, ...options } as AttributeOptions & typeof defaults
  checkInteger(settings.examples, 'examples', 0)
  checkInteger(settings.points, 'points', 0)
  checkInteger(settings.seed, 'seed', 0)
  checkInteger(settings.batchSize, 'batchSize', 1)
  throwIfAborted(settings.signal)
  return settings
}

function featuresOf(
  result: Result,
  { name, headDim }: ChosenHead,
  names: readonly string[],
  sides: AttributionSides,
): AttributionFeature[] {
  return names.map((contrast) => {
    const { u, v, rank } = result.head(name).contrast(contrast)
    const shape = [headDim, rank]
    return {
      name: contrast,
      ...(sides !== 'key' && { u: { data: u, shape } }),
      ...(sides !== 'query' && { v: { data: v, shape } }),
    }
  })
}

interface Attributed {
  total: Float64Array
  rest: Float64Array
  parts: Record<string, Float64Array>
  table?: TableAttribution['table']
  explained: Float64Array
  mask: Uint8Array
  keys: number
}

/** All items of a batch for one head; `place` is its index among the captured heads. */
function attributeRows(
  { site }: ChosenHead,
  features: readonly AttributionFeature[],
  items: readonly TermRun[],
  q: WireTensor,
  k: WireTensor,
  place: number,
  { method, sides, centered, seed }: Settings,
): Attributed {
  const [queries, keys] = [tensorValues(q), tensorValues(k)]
  const [, positions, heads, d] = q.dims
  const [, length, keyHeads] = k.dims
  const n = items.length
  const rows = new Float64Array(n * d)
  const columns = new Float64Array(n * length * d)
  const mask = new Uint8Array(n * length)
  items.forEach(({ run, query }, r) => {
    const qAt = ((r * positions + query) * heads + place) * d
    rows.set(queries.subarray(qAt, qAt + d), r * d)
    const own = run.kind === 'tokens' && !site.cross ? run.ids.length : length
    const visible = site.causal ? Math.min(own, query + 1) : own
    for (let j = 0; j < length; j++) {
      const kAt = ((r * length + j) * keyHeads + place) * d
      columns.set(keys.subarray(kAt, kAt + d), (r * length + j) * d)
      mask[r * length + j] = Number(j < visible)
    }
  })
  const input = {
    q: { data: rows, shape: [n, d] },
    k: { data: columns, shape: [n, length, d] },
    ...{ scale: site.scale, features, method, centered, mask, seed },
  }
  if (sides !== 'both') return { ...attributeArrays({ ...input, sides }), mask, keys: length }
  const found = attributeArrays({ ...input, sides })
  return { ...found, parts: queryParts(found.table, n * length), mask, keys: length }
}

/** Each query feature's part over all key features: the table's row sums. */
function queryParts({ names, parts }: TableAttribution['table'], cell: number): Record<string, Float64Array> {
  const count = names.length
  return Object.fromEntries(
    names.slice(0, -1).map((name, f) => {
      const sum = new Float64Array(cell)
      for (let g = 0; g < count; g++) {
        const from = (f * count + g) * cell
        for (let i = 0; i < cell; i++) sum[i] += parts[from + i]
      }
      return [name, sum]
    }),
  )
}

/** Figures of one head, row by row. */
class Columns {
  private readonly prompts: number[] = []
  private readonly explainedRows: number[] = []
  private readonly energies: { total: number; rest: number }[] = []
  private readonly shares: Record<string, number[]>

  constructor(features: readonly string[]) {
    this.shares = Object.fromEntries(features.map((name) => [name, []]))
  }

  add(items: readonly TermRun[], { total, parts, explained, mask, keys }: Attributed): void {
    items.forEach(({ prompt }, r) => {
      // A row without any energy has nothing to explain.
      if (Number.isNaN(explained[r])) return
      const along = (values: Float64Array) => {
        let sum = 0
        for (let at = r * keys; at < (r + 1) * keys; at++) if (mask[at]) sum += values[at] * total[at]
        return sum
      }
      const energy = along(total)
      this.prompts.push(prompt)
      this.explainedRows.push(explained[r])
      this.energies.push({ total: energy, rest: (1 - explained[r]) * energy })
      for (const [name, list] of Object.entries(this.shares)) list.push(along(parts[name]) / energy)
    })
  }

  explained(seed: number): HeadExplained {
    const over = { groups: this.prompts, seed }
    const left = bootstrapRatio(
      this.energies.map(({ rest }) => rest),
      this.energies.map(({ total }) => total),
      over,
    )
    return {
      mean: bootstrapMean(this.explainedRows, over),
      energy: { mean: 1 - left.ratio, low: 1 - left.high, high: 1 - left.low },
      share: Object.fromEntries(
        Object.entries(this.shares).map(([name, list]) => [name, bootstrapMean(list, over)]),
      ),
    }
  }
}

/** Adds the rows of the first prompts to their examples. */
function keepExamples(
  model: Model,
  examples: AttributedPrompt[],
  items: readonly TermRun[],
  { name }: ChosenHead,
  { total, rest, parts, table, explained, mask, keys }: Attributed,
  { examples: most }: Settings,
): void {
  items.forEach(({ where, run, query, prompt }, r) => {
    if (prompt >= most) return
    let example = examples.find((e) => e.where === where)
    if (!example) {
      const tokens = run.kind === 'tokens' ? [...run.ids] : undefined
      const words = model.tokenizer && tokens?.map((id) => model.tokenizer!.token(id))
      example = { where, tokens, words, rows: [] }
      examples.push(example)
    }
    const visible = mask.subarray(r * keys, (r + 1) * keys).lastIndexOf(1) + 1
    const row = (values: Float64Array, from = 0) =>
      Array.from(values.subarray(from + r * keys, from + r * keys + visible))
    example.rows.push({
      head: name,
      query,
      total: row(total),
      parts: Object.fromEntries(Object.entries(parts).map(([feature, values]) => [feature, row(values)])),
      ...(table && {
        table: {
          names: table.names,
          parts: table.names.map((_, f) =>
            table.names.map((__, g) => row(table.parts, (f * table.names.length + g) * total.length)),
          ),
        },
      }),
      rest: row(rest),
      explained: explained[r],
    })
  })
}
