/**
 * Explains why a token attends to others, for single queries: which heads attend to which tokens, how much of each
 * score the discovered features contribute compared with their nulls, and how exchanging the features changes that
 * attention.
 */

import { cooperator, type Turn } from '../backend/cooperate.js'
import { chosenHeads } from '../capture/terms/chosen-heads.js'
import { QkError, throwIfAborted } from '../errors.js'
import { groupBy } from '../math/group-by.js'
import type { AttentionRequest, FollowedSite } from '../model/graphs/attention-graph.js'
import { checkModel, describeUnsupported, type Model } from '../model/model.js'
import { type HeadSpec, parseHeads } from '../model/sites/heads.js'
import { headName, type ResolvedSite } from '../model/sites/site.js'
import { NO_NULL, NULLS_LEFT_OUT } from '../spectrum/nulls/control-bases.js'
import { Result } from '../store/result.js'
import { checkInteger, checkOptions, checkSeed, MOST_CONTROLS } from '../validate.js'
import { captureAttention, type HeadRow } from './attention.js'
import { HeadFeatures } from './feature-parts.js'
import { rowNumbers } from './numbers.js'
import type { ExplainedHead, ExplainedPrompt, ExplanationReport } from './report.js'
import { type ExplainedPrompts, type ExplainedRun, explainedRuns } from './runs.js'
import { pairOf, swappedHeads, termsAt } from './swap-plan.js'
import { makeSwaps, type SiteSwaps } from './swaps.js'

/** Options of `explain`. */
export interface ExplainOptions {
  /** The subspaces. Without a result, only attention is shown. */
  result?: Result
  /** 'all' heads of the model (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /** Contrasts whose subspaces are the features; default all of the result. */
  features?: readonly string[]
  /**
   * The explained position, negative from the end. Default: the query of a prompt's first term, or the last position.
   */
  query?: number
  /** Number of prompts of a set to explain, from the first on; default 4. */
  examples?: number
  /** Most null subspaces of a feature, limited to those in the result; default 20. */
  nulls?: number
  /** Number of random (Haar) subspaces that are exchanged in place of a feature; default 5. */
  randoms?: number
  /** Seed of random subspaces, and of the orders that Shapley samples above six features; default 0. */
  seed?: number
  /** Number of edits per run of the model; default 16. */
  batchSize?: number
  /** Ends the run with ERR_ABORTED. */
  signal?: AbortSignal
  /** Called with the progress; `fraction` includes the layers in which features are exchanged. */
  onProgress?: (progress: { prompts: number; total: number; fraction: number }) => void
}

const OPTIONS = {
  result: true,
  heads: true,
  features: true,
  query: true,
  examples: true,
  nulls: true,
  randoms: true,
  seed: true,
  batchSize: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof ExplainOptions, true>

/** Most entries of a prompt's whole patterns in a report. */
const MOST_PATTERN = 2 ** 22

/**
 * Explains the attention of one query of each prompt: of a single prompt (`text`, `tokens` or `inputs`), or of the
 * first ones of a prompt set, whose prompts need no contrast.
 *
 * The query's scores are split over the discovered features of a head by Shapley values. As a null, null subspaces
 * replace the feature and are applied to what the other features leave. Features are exchanged between the first
 * positive and the first negative key of their contrast's term at the query. Without such a term, they are exchanged
 * between the two keys with most attention. Unless `heads` names some, this is done in at most six heads of a prompt:
 * those with most attention on the positive keys of the terms, or on a single key. The edit is made in the model's own
 * graph, on the query's row of scores, as by `intervene`.
 *
 * Heads whose scores cannot be followed to their pattern are left out, and named in `warnings`.
 *
 * Errors: those of prompts; ERR_POSITION for a query outside the prompt, ERR_UNKNOWN_HEAD, ERR_UNKNOWN_CONTRAST,
 * ERR_SHAPE for a result of another model, ERR_UNSUPPORTED_MODEL if no head can be followed, ERR_ARGUMENT, ERR_TYPE,
 * ERR_MEMORY_LIMIT, ERR_INFERENCE, ERR_ABORTED.
 */
export async function explain(
  model: Model,
  prompts: ExplainedPrompts,
  options: ExplainOptions = {},
): Promise<ExplanationReport> {
  const settings = settingsOf(model, options)
  const { result, query, examples, seed, nulls, signal } = settings
  const features = result ? featuresOf(model, result, settings) : new Map<string, HeadFeatures>()
  const { requests, warnings } = requestsOf(model, settings.heads, features)
  const { runs, warnings: ofWords } = await explainedRuns(model, prompts, { query, count: examples, signal })
  const left = leaveOutPatterns(requests, runs)
  const plans: SiteSwaps[] = []
  const explained: ExplainedPrompt[] = []
  const turn = cooperator(signal)
  const report = progressOf(settings, runs.length)
  for await (const { rows, operands } of captureAttention(model, requests, runs, signal)) {
    const run = runs[explained.length]
    const { prompt, swaps, unfit } = await explainPrompt(run, rows, features, settings, turn)
    for (const own of operands) {
      const ofSite = swaps.filter(({ site }) => site === own.site)
      if (ofSite.length > 0) {
        plans.push({ run, operands: own, swaps: ofSite })
      }
    }
    if (unfit.length > 0) {
      left.add(`${unfit.join(', ')}: their keys are no positions of the prompt; they are left out`)
    }
    explained.push(prompt)
    report.captured()
  }
  if (result) {
    report.planned(plans.length)
    for (const ofSite of groupBy(plans, ({ operands }) => operands.site).values()) {
      await makeSwaps(model, ofSite, { ...settings, result }, report.swapped)
    }
  }
  report.end()
  const all = [...model.warnings, ...ofWords, ...warnings, ...left]
  return {
    model: model.path,
    seed,
    prompts: explained,
    ...([...features.values()].some(({ lackNulls }) => lackNulls) && {
      noNull: nulls > 0 ? NO_NULL : NULLS_LEFT_OUT,
    }),
    ...(all.length > 0 && { warnings: all }),
  }
}

/** Explains one query, and plans the swaps. */
async function explainPrompt(
  run: ExplainedRun,
  rows: readonly HeadRow[],
  features: ReadonlyMap<string, HeadFeatures>,
  { heads: wanted }: Settings,
  turn: Turn,
) {
  const { where, tokens, query, terms } = run
  const words = run.words ?? Array.from(rows[0].scores, (_, j) => `${j}`)
  const fitting = rows.filter(({ scores }) => scores.length === words.length)
  const shown: { row: HeadRow; head: ExplainedHead }[] = []
  for (const row of fitting) {
    shown.push({ row, head: explainHead(row, features.get(row.name)) })
    await turn()
  }
  const atQuery = termsAt(query, terms)
  const featured = shown.filter(({ head }) => head.features)
  const swaps = swappedHeads(featured, atQuery, wanted !== 'all').flatMap(
    ({ row, head: { features: own } }) =>
      own!.flatMap((feature) => {
        const pair = pairOf(row, query, atQuery, feature.contrast)
        if (!pair) {
          return []
        }
        const give = (swap: typeof feature.swap) => {
          feature.swap = swap
        }
        return [{ site: row.site, head: row.head, name: row.name, contrast: feature.contrast, pair, give }]
      }),
  )
  const prompt: ExplainedPrompt = {
    where,
    ...(tokens && { tokens }),
    words,
    query,
    terms,
    heads: shown.map(({ head }) => head).sort((a, b) => b.attention[b.key] - a.attention[a.key]),
  }
  return { prompt, swaps, unfit: rows.filter((row) => !fitting.includes(row)).map(({ name }) => name) }
}

function explainHead(row: HeadRow, features: HeadFeatures | undefined): ExplainedHead {
  const { name, visible, whole, parts } = row
  const attention = rowNumbers(row.attention)
  const scores = rowNumbers(row.scores).map((x, j) => (visible[j] ? x : null))
  const key = attention.reduce((most, x, j) => (x > attention[most] ? j : most), 0)
  return {
    head: name,
    attention,
    scores,
    ...(whole && { pattern: whole.map((own) => rowNumbers(own, PATTERN_DIGITS)) }),
    key,
    ...(parts && features?.split(row, parts, key)),
  }
}

const PATTERN_DIGITS = 4

/** Features by head, for the requested heads that have any. Errors: as `explain`. */
function featuresOf(model: Model, result: Result, settings: Settings): Map<string, HeadFeatures> {
  const contrasts = settings.features ?? result.contrastNames
  const asked = new Set(
    parseHeads(settings.heads, model.sites).map(({ site, head }) => headName(model.sites[site], head)),
  )
  const found = new Map<string, HeadFeatures>()
  for (const { name } of chosenHeads(model, result, 'all')) {
    const own = HeadFeatures.of(result, name, contrasts, settings)
    if (asked.has(name) && own.features.length > 0) {
      found.set(name, own)
    }
  }
  return found
}

/** Capture requests of each site whose pattern was found. Errors: ERR_UNKNOWN_HEAD, ERR_UNSUPPORTED_MODEL. */
function requestsOf(
  model: Model,
  heads: Settings['heads'],
  features: ReadonlyMap<string, HeadFeatures>,
): { requests: AttentionRequest[]; warnings: string[] } {
  const bySite = [...groupBy(parseHeads(heads, model.sites), ({ site }) => model.sites[site])]
  const requests = bySite.flatMap(([site, refs]): AttentionRequest[] => {
    if (!isFollowed(site)) {
      return []
    }
    const own = refs.map(({ head }) => head)
    const parts = own.filter((head) => features.has(headName(site, head)))
    return [{ site, heads: own, whole: heads === 'all' ? parts : own, parts }]
  })
  const lost = bySite.filter(([site]) => !isFollowed(site))
  const warnings = lost.map(
    ([site]) =>
      `layer ${site.layer}: the axes of its scores could not be followed from product to softmax; it is left out`,
  )
  if (requests.length === 0) {
    throw new QkError('ERR_UNSUPPORTED_MODEL', warnings[0])
  }
  if (heads === 'all') {
    warnings.push(...model.unsupported.map(describeUnsupported))
  }
  return { requests, warnings }
}

function isFollowed(site: ResolvedSite): site is FollowedSite {
  return site.patternAxes !== undefined
}

/** Leaves out whole patterns that would make the report too large, with a warning. */
function leaveOutPatterns(requests: readonly AttentionRequest[], runs: readonly ExplainedRun[]): Set<string> {
  const heads = requests.reduce((sum, { whole }) => sum + whole.length, 0)
  const longest = Math.max(0, ...runs.map(({ tokens }) => tokens?.length ?? 0))
  if (heads * longest ** 2 <= MOST_PATTERN) {
    return new Set()
  }
  for (const request of requests) {
    request.whole = []
  }
  return new Set([
    `the whole patterns of ${heads} heads over ${longest} tokens would make the report too large; they are left out: name fewer heads`,
  ])
}

type Settings = ReturnType<typeof settingsOf>

function settingsOf(model: Model, options: ExplainOptions) {
  checkModel(model, 'explain')
  checkOptions(options, OPTIONS, 'explain')
  const defaults = {
    heads: 'all' as NonNullable<ExplainOptions['heads']>,
    examples: 4,
    nulls: 20,
    randoms: 5,
    seed: 0,
    batchSize: 16,
  }
  const settings = { ...defaults, ...options } as ExplainOptions & typeof defaults
  const { result, features, query, examples, nulls, randoms, seed, batchSize, signal } = settings
  if (result !== undefined && !(result instanceof Result)) {
    throw new QkError('ERR_TYPE', 'result is not a result', {
      hint: 'Give what `decompose` or `loadResult` returns.',
    })
  }
  if (features !== undefined) {
    if (!result) {
      throw new QkError('ERR_ARGUMENT', 'features are contrasts of a result, and none is given')
    }
    if (!Array.isArray(features) || features.length === 0) {
      throw new QkError('ERR_ARGUMENT', 'features is a list of contrasts, not empty')
    }
  }
  if (query !== undefined) {
    checkInteger(query, 'query', Number.MIN_SAFE_INTEGER)
  }
  checkInteger(examples, 'examples', 1)
  checkInteger(nulls, 'nulls', 0, MOST_CONTROLS)
  checkInteger(randoms, 'randoms', 0, MOST_CONTROLS)
  checkSeed(seed)
  checkInteger(batchSize, 'batchSize', 1)
  throwIfAborted(signal)
  return settings
}

/** Half of the progress is capturing, the other half exchanging. */
function progressOf({ onProgress, result }: Settings, total: number) {
  let [captured, swaps, swapped] = [0, 0, 0]
  const tell = (fraction: number) => onProgress?.({ prompts: Math.floor(fraction * total), total, fraction })
  const share = result ? 1 / 2 : 1
  return {
    captured: () => {
      captured += 1
      if (captured < total || result) {
        tell((share * captured) / total)
      }
    },
    planned: (count: number) => {
      swaps = count
    },
    swapped: () => {
      swapped += 1
      if (swapped < swaps) {
        tell(share + ((1 - share) * swapped) / swaps)
      }
    },
    end: () => tell(1),
  }
}
