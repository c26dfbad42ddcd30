/**
 * Attribution over a prompt set: the scores of chosen heads on the queries of the terms, split additively over named
 * features. The explained fraction is reported with an interval over prompts, beside controls (docs/method.md,
 * "Attribution"; paper, figure 10).
 */

import { cooperator, type Turn } from '../backend/cooperate.js'
import { captureTermRuns } from '../capture/terms/capture-term-runs.js'
import { checkAnalysis, samePromptsWarnings } from '../capture/terms/check-analysis.js'
import { type ChosenHead, chosenHeads, requestsBySite } from '../capture/terms/chosen-heads.js'
import { settleSharing, type TermRun, termRuns } from '../capture/terms/term-runs.js'
import { UnknownWords } from '../capture/unknown-words.js'
import { type PromptSetSummary, type Prompts, promptSet } from '../contrast/prompt-set.js'
import { QkError, throwIfAborted } from '../errors.js'
import type { Model } from '../model/model.js'
import type { HeadSpec } from '../model/sites/heads.js'
import { NO_NULL } from '../spectrum/nulls/control-bases.js'
import type { Result } from '../store/result.js'
import { checkChoice, checkFlag, checkInteger, MOST_CONTROLS } from '../validate.js'
import type { AttributionSides } from './attribute-arrays.js'
import { type AttributionComponents, ComponentExtremes } from './components/component-tokens.js'
import { type Component, chosenComponents } from './components/directions.js'
import { vocabularyReads } from './components/vocabulary.js'
import { type AttributedPrompt, type AttributedRow, addExample, exampleRow } from './examples.js'
import type { HeadExplained } from './explained.js'
import { HeadColumns } from './head-columns.js'
import { type AttributionPoints, PointSamples } from './points.js'
import { SPLIT_METHODS, type SplitMethod } from './split.js'
import { ROW_KEYS, type RowKeys, RowReader, siteRows } from './term-rows.js'

/** Options of `attribute`. */
export interface AttributeOptions {
  /** The subspaces. */
  result: Result
  /** 'all' heads of the result (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /** Contrasts whose subspaces are the features, in the order of `residualize`; default: all of the result. */
  features?: readonly string[]
  /** Contrast of the prompts whose terms give the queries; default: the contrasts of the features. */
  contrast?: string
  /**
   * Split between overlapping features; default 'shapley'. Under 'residualize', the paper's method, and
   * 'orthogonalize', the shares depend on the order of the features.
   */
  method?: SplitMethod
  /**
   * Sides to split: queries by U (default), keys by V, or both, which gives the table of query feature against key
   * feature.
   */
  sides?: AttributionSides
  /** Keys of a row: those of the term, its positives and negatives (default), or all that the query attends to. */
  keys?: RowKeys
  /** Subtracts each row's mean over these keys, which softmax ignores; default true. */
  centered?: boolean
  /** Number of random (Haar) subspaces with the features' ranks, as a control; default 10. */
  randoms?: number
  /** Number of prompts whose rows of scores are returned; default 4. */
  examples?: number
  /**
   * Most queries and keys of terms, for each feature and side, that are returned as points inside the subspaces;
   * default 200.
   */
  points?: number
  /**
   * Whether to report the vocabulary tokens that each component reads; needs points and a tokenizer. true (default):
   * of the first 65,536 tokens; a number: of the first so many; false: none. This takes one pass of single tokens
   * through the embedding and the projections.
   */
  reads?: boolean | number
  /** Seed of sampled Shapley orders, of intervals, and of the choice of points; default 0. */
  seed?: number
  /** Prompts in a batch; default 16. Figures change only within rounding. */
  batchSize?: number
  /** Ends the run with ERR_ABORTED. */
  signal?: AbortSignal
  /** Called after each batch with the number of finished prompts and the total. */
  onProgress?: (progress: { prompts: number; total: number }) => void
}

const OPTIONS = {
  result: true,
  heads: true,
  features: true,
  contrast: true,
  method: true,
  sides: true,
  keys: true,
  centered: true,
  randoms: true,
  examples: true,
  points: true,
  reads: true,
  seed: true,
  batchSize: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof AttributeOptions, true>

/** The part of the scores that the features explain, head by head. Plain data that can be written as JSON. */
export interface AttributionReport {
  /** Path of the model's file. */
  model: string
  /** The prompt set that was read. */
  prompts: PromptSetSummary
  /** Number of rows of scores: one for each query of a term. */
  rows: number
  /** The contrasts whose subspaces are the features, in their order. */
  features: string[]
  /** Method for overlapping features. */
  method: SplitMethod
  /** Order of the features, if the method depends on one. */
  order?: string[]
  /** Which side of the scores was split. */
  sides: AttributionSides
  /** The keys of each row. */
  keys: RowKeys
  /** Whether each row's mean over its keys was subtracted. */
  centered: boolean
  /** Seed of sampled orders, of intervals and of the choice of points. */
  seed: number
  /** Explained scores by the name of the head, as in `L0H1`. */
  heads: Record<string, HeadExplained>
  /** The first prompts with their rows of scores, as many as `examples` asked for. */
  examples: AttributedPrompt[]
  /** Note that null subspaces are missing for some of the figures. */
  noNull?: string
  /** Points by feature, if points were requested. */
  points?: AttributionPoints
  /**
   * Tokens that each component of a feature reads, for heads in which the feature was discovered. Present if points
   * were requested and the model takes tokens.
   */
  components?: AttributionComponents
  /** By head: the operations between the vocabulary's embeddings and `reads`, in words. */
  readsThrough?: Record<string, string>
  /** By head: why `reads` is absent, or missing on one side. */
  readsUnavailable?: Record<string, string>
  /** Warnings; absent if there were none. See `Sums`. */
  warnings?: string[]
}

/**
 * Splits the scores of every term's query.
 *
 * Errors: those of prompts and of `Result.head`, ERR_ARGUMENT, ERR_INFERENCE, ERR_ABORTED.
 */
export async function attribute(
  model: Model,
  prompts: Prompts,
  options: AttributeOptions,
): Promise<AttributionReport> {
  const settings = settingsOf(model, options)
  const { result, signal, seed, batchSize, method, sides, keys, centered, points, features } = settings
  const set = promptSet(prompts)
  const summary = await set.summary(signal)
  const words = new UnknownWords()
  const turn = cooperator(signal)
  const heads = chosenHeads(model, result, settings.heads)
  const columns: HeadColumns[] = []
  for (const { name, headDim } of heads) {
    const subspaces = features.map((feature) => result.head(name).contrast(feature))
    columns.push(await HeadColumns.of(subspaces, headDim, settings, turn))
  }
  const requests = requestsBySite(heads)
  const examples: AttributedPrompt[] = []
  const show = (item: TermRun, row: AttributedRow) => addExample(model, examples, item, row)
  const samples = points > 0 ? new PointSamples(model, heads, features, points, seed) : undefined
  const components = points > 0 && model.takesTokens ? chosenComponents(result, heads, features) : []
  const contrasts = settings.contrast === undefined ? features : [settings.contrast]
  const own = features.filter((name) => contrasts.includes(name) && summary.contrasts.includes(name))
  const extremes = new ComponentExtremes(model, heads, components, new Set(own), batchSize)
  let rows = 0
  const terms = termRuns(model, words.of(set), { contrasts, seed })
  const capturing = { batchSize, donors: points > 0 || keys === 'term', signal }
  await settleSharing(model, set)
  for await (const { items, sites } of captureTermRuns(model, requests, terms, capturing)) {
    rows += items.length
    samples?.add(items, sites)
    extremes.begin(items)
    let donors = items.length
    const donorOf = items.map(({ donor }) => (donor && capturing.donors ? donors++ : undefined))
    let h = 0
    for (const [r, { heads: own }] of requests.entries()) {
      const captured = siteRows(sites[r])
      await extremes.add(r, captured, turn)
      for (const place of own.keys()) {
        const reader = new RowReader(heads[h], captured, place)
        const head = { name: heads[h].name, reader, column: columns[h] }
        await splitRows(head, { items, donorOf }, settings, show, turn)
        h++
      }
    }
    settings.onProgress?.({ prompts: items.at(-1)!.prompt + 1, total: summary.prompts })
  }
  if (rows === 0) {
    throw new QkError('ERR_ARGUMENT', `no prompt has terms of ${contrasts.map((c) => `"${c}"`).join(', ')}`, {
      hint: `The prompts' contrasts are ${summary.contrasts.join(', ')}: name one as \`contrast\` to measure features on its terms.`,
    })
  }
  const warnings = [...model.warnings, ...samePromptsWarnings(settings.result, summary), ...words.warnings()]
  const ordered = features.length > 1 && method !== 'shapley'
  return {
    model: model.path,
    prompts: summary,
    rows,
    features: [...features],
    method,
    ...(ordered && { order: [...features] }),
    sides,
    keys,
    centered,
    seed,
    heads: await explainedByHead(heads, columns, seed, turn),
    examples,
    ...(columns.some(({ lacksNull }) => lacksNull) && { noNull: NO_NULL }),
    ...(samples && { points: await samples.clouds(result, turn, signal) }),
    ...(components.length > 0 &&
      (await componentsOf(model, heads, components, extremes, { ...settings, turn }))),
    ...(warnings.length > 0 && { warnings }),
  }
}

/** Splits one head's rows of scores, one per term; `show` receives those of the first prompts. */
async function splitRows(
  { name, reader, column }: { name: string; reader: RowReader; column: HeadColumns },
  { items, donorOf }: { items: readonly TermRun[]; donorOf: readonly (number | undefined)[] },
  { keys, examples, features, centered }: ReturnType<typeof settingsOf>,
  show: (item: TermRun, row: AttributedRow) => void,
  turn: () => Promise<void> | undefined,
): Promise<void> {
  for (const [i, item] of items.entries()) {
    const row = reader.row(item, i, donorOf[i], keys)
    column.add(item, row)
    if (item.prompt < examples) {
      const both = { row, whole: reader.whole(item, i) }
      show(item, exampleRow(name, item, both, { spans: column.spans, features, centered }))
    }
    await turn()
  }
}

/** Errors: ERR_ABORTED. */
async function componentsOf(
  model: Model,
  heads: readonly ChosenHead[],
  components: readonly Component[],
  extremes: ComponentExtremes,
  { reads, signal, turn }: { reads: boolean | number; signal?: AbortSignal; turn: Turn },
): Promise<Pick<AttributionReport, 'components' | 'readsThrough' | 'readsUnavailable'>> {
  if (reads === false || reads === 0 || !model.tokenizer) {
    return { components: await extremes.report(() => undefined, turn) }
  }
  const most = reads === true ? undefined : reads
  const { of, through, unavailable } = await vocabularyReads(model, heads, components, { most, signal })
  const some = (words: Record<string, string>) => Object.keys(words).length > 0
  return {
    components: await extremes.report(of, turn),
    ...(some(through) && { readsThrough: through }),
    ...(some(unavailable) && { readsUnavailable: unavailable }),
  }
}

async function explainedByHead(
  heads: readonly ChosenHead[],
  columns: readonly HeadColumns[],
  seed: number,
  turn: Turn,
): Promise<Record<string, HeadExplained>> {
  const found: Record<string, HeadExplained> = {}
  for (const [h, { name }] of heads.entries()) {
    found[name] = await columns[h].report(seed, turn)
  }
  return found
}

function settingsOf(model: Model, options: AttributeOptions) {
  checkAnalysis(model, options, OPTIONS, 'attribute')
  const defaults = {
    heads: 'all' as NonNullable<AttributeOptions['heads']>,
    features: options.result.contrastNames as readonly string[],
    method: 'shapley' as SplitMethod,
    sides: 'query' as AttributionSides,
    keys: 'term' as RowKeys,
    centered: true,
    randoms: 10,
    examples: 4,
    points: 200,
    reads: true as boolean | number,
    seed: 0,
    batchSize: 16,
    samples: SAMPLED_ORDERS,
  }
  const settings = { ...defaults, ...options } as AttributeOptions & typeof defaults
  checkChoice(settings.method, 'method', SPLIT_METHODS)
  checkChoice(settings.sides, 'sides', ['query', 'key', 'both'])
  checkChoice(settings.keys, 'keys', ROW_KEYS)
  checkFlag(settings.centered, 'centered')
  checkInteger(settings.randoms, 'randoms', 0, MOST_CONTROLS)
  checkInteger(settings.examples, 'examples', 0)
  checkInteger(settings.points, 'points', 0)
  if (typeof settings.reads === 'number') {
    checkInteger(settings.reads, 'reads', 0)
  } else if (typeof settings.reads !== 'boolean') {
    throw new QkError('ERR_TYPE', `reads must be true, false or a number of tokens, got ${settings.reads}`)
  }
  checkInteger(settings.seed, 'seed', 0)
  checkInteger(settings.batchSize, 'batchSize', 1)
  throwIfAborted(settings.signal)
  return settings
}

/** Orders that 'shapley' samples above six features. */
const SAMPLED_ORDERS = 64
