/**
 * Attribution over a prompt set: the scores of chosen heads, on the queries of the terms, split additively over
 * named features, with the explained fraction and an interval over prompts (design: "Attribution"; paper,
 * figure 10).
 */

import { captureTermRuns } from '../capture/terms/capture-term-runs.js'
import { checkAnalysis } from '../capture/terms/check-analysis.js'
import { type ChosenHead, chosenHeads, requestsBySite } from '../capture/terms/chosen-heads.js'
import { settleSharing, termRuns } from '../capture/terms/term-runs.js'
import { UnknownWords } from '../capture/unknown-words.js'
import { type PromptSetSummary, type Prompts, promptSet } from '../contrast/prompt-set.js'
import { QkError, throwIfAborted } from '../errors.js'
import type { Model } from '../model/model.js'
import type { HeadSpec } from '../model/sites/heads.js'
import type { Result } from '../store/result.js'
import { checkInteger } from '../validate.js'
import type { AttributionFeature, AttributionSides } from './attribute-arrays.js'
import { attributeRows } from './attribute-rows.js'
import { type AttributedPrompt, keepExamples } from './examples.js'
import { ExplainedColumns, type HeadExplained } from './explained.js'
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
  /** What may be wrong without being an error, where there is such: see `Sums`. */
  warnings?: string[]
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
  const settings = settingsOf(model, options)
  const { result, signal, seed, batchSize, method, sides, centered, points } = settings
  const set = promptSet(prompts)
  const summary = await set.summary(signal)
  const words = new UnknownWords()
  const heads = chosenHeads(model, result, settings.heads)
  const features = heads.map((head) => featuresOf(result, head, settings.features, sides))
  const requests = requestsBySite(heads)
  const columns = heads.map(() => new ExplainedColumns(settings.features))
  const examples: AttributedPrompt[] = []
  const samples = points > 0 ? new PointSamples(heads, settings.features, points, seed) : undefined
  let rows = 0
  const terms = termRuns(model, words.of(set), settings)
  const capturing = { batchSize, donors: points > 0, signal }
  await settleSharing(model, set)
  for await (const { items, sites } of captureTermRuns(model, requests, terms, capturing)) {
    rows += items.length
    samples?.add(items, sites)
    let h = 0
    requests.forEach(({ heads: own }, r) => {
      own.forEach((_, place) => {
        const head = heads[h]
        const found = attributeRows(head, features[h], items, sites[r], place, settings)
        columns[h].add(items, found)
        keepExamples(model, examples, items, head.name, found, settings.examples)
        h += 1
      })
    })
    settings.onProgress?.({ prompts: items.at(-1)!.prompt + 1, total: summary.prompts })
  }
  if (rows === 0)
    throw new QkError('ERR_ARGUMENT', `no prompt has terms of the contrast "${settings.contrast}"`)
  const warnings = [...model.warnings, ...words.warnings()]
  return {
    model: model.path,
    prompts: summary,
    rows,
    ...{ features: [...settings.features], method, sides, centered, seed },
    heads: Object.fromEntries(heads.map(({ name }, i) => [name, columns[i].explained(seed)])),
    examples,
    ...(samples && { points: await samples.clouds(result, signal) }),
    ...(warnings.length > 0 && { warnings }),
  }
}

function settingsOf(model: Model, options: AttributeOptions) {
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
