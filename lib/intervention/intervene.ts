/**
 * Interventions inside the model. Coordinates of queries or keys are exchanged, replaced or scaled in named subspaces
 * of chosen heads, and the rest of the model runs on. Controls of the same rank are run beside them (docs/method.md,
 * "Intervention"; paper, figures 4, 7 and 9).
 */

import { cooperator } from '../backend/cooperate.js'
import { batchingFor } from '../capture/feeds.js'
import { checkAnalysis, samePromptsWarnings } from '../capture/terms/check-analysis.js'
import { chosenHeads, requestsBySite } from '../capture/terms/chosen-heads.js'
import { settleSharing, type TermRun, termRunBatches, termRuns } from '../capture/terms/term-runs.js'
import { UnknownWords } from '../capture/unknown-words.js'
import { type PromptSetSummary, type Prompts, promptSet } from '../contrast/prompt-set.js'
import { QkError, throwIfAborted } from '../errors.js'
import { type EditGraph, editGraph } from '../model/graphs/edit-graph.js'
import { InferenceSession, type WireTensor } from '../model/inference/session.js'
import type { Model } from '../model/model.js'
import type { HeadSpec } from '../model/sites/heads.js'
import { NO_NULL, NULLS_LEFT_OUT } from '../spectrum/nulls/control-bases.js'
import type { Result } from '../store/result.js'
import { checkChoice, checkInteger, MOST_CONTROLS } from '../validate.js'
import { EDITS, type Edit } from './edit.js'
import { siteFeeds } from './edit-feeds.js'
import { layEdits } from './edit-layout.js'
import { outputsOf } from './edit-measure.js'
import { type InterventionVariant, reportVariant } from './edit-report.js'
import { EditTable, type Measured } from './edit-table.js'
import { editVariants, projectionsOf, type Variant } from './edit-variants.js'
import { meanRows } from './mean-rows.js'

/** Options of `intervene`. */
export interface InterveneOptions {
  /** The subspaces. */
  result: Result
  /** Heads that are edited together: 'all' of the result (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /**
   * Features to edit: each entry is the name of a contrast, or several names whose subspaces are joined. Default:
   * every contrast of the result alone and, if there are several, all together.
   */
  features?: readonly (string | readonly string[])[]
  /**
   * Contrast of the prompts whose terms give origin and target. Default: every feature is edited on the terms of its
   * own contrast, a union on those of all its contrasts.
   */
  contrast?: string
  /**
   * `swap` (default) exchanges the coordinates of origin and target. `patch` gives the origin the coordinates of the
   * target or, in counterfactual prompts, of the donor run. `ablate` sets them to zero or to the mean. `scale`
   * multiplies them by `factor`.
   */
  edit?: Edit
  /** Edits keys (default) or the query. Queries cannot be swapped. */
  side?: 'key' | 'query'
  /** Whether the term's own query (default) or every query sees an edited key. */
  rows?: 'query' | 'all'
  /** Factor for `scale`; default 2. */
  factor?: number
  /** For `ablate`: 'zero' (default), or 'mean' of the positive keys, or of the queries, of this prompt set. */
  to?: 'zero' | 'mean'
  /** Strength of the edit: 0 changes nothing, 1 (default) is the whole edit. */
  strength?: number
  /** Most null subspaces of a feature, as a control; limited to those in the result; default 20. */
  nulls?: number
  /** Number of random (Haar) subspaces of a feature, as a control; default 10. */
  randoms?: number
  /** Seed of random subspaces, targets and intervals; default 0. */
  seed?: number
  /** Name of the model's output to report; default: the one called logits, or the first suitable one. */
  output?: string
  /** Prompts in a batch; default 16. */
  batchSize?: number
  /** Ends the run with ERR_ABORTED. */
  signal?: AbortSignal
  /** Called with the progress; `fraction` includes the runs of the current batch. */
  onProgress?: (progress: { prompts: number; total: number; fraction: number }) => void
}

const OPTIONS = {
  result: true,
  heads: true,
  features: true,
  contrast: true,
  edit: true,
  side: true,
  rows: true,
  factor: true,
  to: true,
  strength: true,
  nulls: true,
  randoms: true,
  seed: true,
  output: true,
  batchSize: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof InterveneOptions, true>

/**
 * Effects of edits of queries or keys on attention and output, beside controls. Plain data that can be written as
 * JSON.
 */
export interface InterventionReport {
  /** Path of the model's file. */
  model: string
  /** The prompt set that was read. */
  prompts: PromptSetSummary
  /** Number of edited terms. */
  terms: number
  /** Names of the heads that were edited together. */
  heads: string[]
  /** The edit of the coordinates inside the subspace. */
  edit: Edit
  /** Whether keys or queries were edited. */
  side: 'key' | 'query'
  /** Whether the term's own query, or every query, saw an edited key. */
  rows: 'query' | 'all'
  /** Strength of the edit. */
  strength: number
  /** Seed of random subspaces, targets and intervals. */
  seed: number
  /** All edits: of each feature, then of its controls, and last of the whole heads. */
  variants: InterventionVariant[]
  /** Note that null subspaces are missing for some of the features. */
  noNull?: string
  /** Warnings; absent if there were none. See `Sums`. */
  warnings?: string[]
}

/**
 * Runs the prompts once without an edit, and once for every edit and every draw of its controls, each on the terms
 * that it applies to.
 *
 * Errors: those of prompts and of `Result.head`, ERR_ARGUMENT, ERR_UNSUPPORTED_MODEL, ERR_INFERENCE, ERR_ABORTED.
 */
export async function intervene(
  model: Model,
  prompts: Prompts,
  options: InterveneOptions,
): Promise<InterventionReport> {
  const settings = settingsOf(model, options)
  const { edit, side, rows, factor, strength, seed, batchSize, signal } = settings
  const set = promptSet(prompts)
  const summary = await set.summary(signal)
  const words = new UnknownWords()
  const heads = chosenHeads(model, settings.result, settings.heads)
  const variants = await editVariants(settings.result, heads, settings, signal)
  const requests = requestsBySite(heads)
  const graph = editGraph(model.graph, requests, {
    output: settings.output,
    sequenceFirst: model.sequenceFirst,
  })
  const means = settings.to === 'mean' ? await meanRows(model, prompts, settings, heads) : undefined
  await settleSharing(model, set)
  const { weightsFolder } = model.graph.model
  const session = await InferenceSession.open({ bytes: graph.bytes, weightsFolder, threads: model.threads })
  const tables = variants.map(() => new EditTable(requests.map((r) => r.heads.length)))
  const contrasts = variants.at(-1)!.contrasts
  let terms = 0
  let reached = 0
  try {
    const items = termRuns(model, words.of(set), { contrasts, seed })
    for await (const batch of termRunBatches(model, items, batchSize, ({ contrast }) => contrast)) {
      checkItems(batch, settings)
      terms += batch.length
      const { feeds, slots } = layEdits(
        batch,
        { edit, side, rows, factor },
        model.inputs,
        model.tokenizer?.padId ?? 0,
        batchingFor(model, batchSize).fixedRuns,
      )
      const concerned = [...variants.keys()].filter((v) =>
        variants[v].contrasts.includes(settings.contrast ?? batch[0].contrast),
      )
      const runs = concerned.reduce((sum, v) => sum + variants[v].draws.length, 1)
      const upTo = batch.at(-1)!.prompt + 1
      let done = 0
      const run = async (projections: readonly Float32Array[] | undefined) => {
        throwIfAborted(signal)
        const own = siteFeeds(graph, requests, slots, { side, strength, projections: [projections], means })
        const wanted = Object.entries({ ...feeds, ...own }).filter(([name]) => graph.inputs.includes(name))
        const outputs = await session.run(Object.fromEntries(wanted), { signal })
        done += 1
        const fraction = (reached + (Math.max(0, upTo - reached) * done) / runs) / summary.prompts
        const whole = done === runs ? upTo : reached
        settings.onProgress?.({ prompts: whole, total: summary.prompts, fraction })
        return measured(outputs, graph, batch.length)
      }
      const before = await run(undefined)
      for (const v of concerned) {
        const draws = variants[v].draws.length
        for (let draw = 0; draw < draws; draw++) {
          tables[v].add(batch, before, await run(projectionsOf(variants[v], draw)), { draw, draws })
        }
      }
      reached = Math.max(reached, upTo)
    }
  } finally {
    await session.close()
  }
  if (terms === 0) {
    throw new QkError('ERR_ARGUMENT', `no prompt has terms of ${contrasts.map((c) => `"${c}"`).join(', ')}`, {
      hint: `The prompts' contrasts are ${summary.contrasts.join(', ')}: name one as \`contrast\` to edit features on its terms.`,
    })
  }
  const names = heads.map(({ name }) => name)
  const warnings = [...model.warnings, ...samePromptsWarnings(settings.result, summary), ...words.warnings()]
  const turn = cooperator(signal)
  const reported: InterventionVariant[] = []
  for (const [v, variant] of variants.entries()) {
    const nulls = nullTable(variants, tables, variant)
    reported.push(await reportVariant(variant, tables[v], nulls, names, { seed, turn }))
  }
  return {
    model: model.path,
    prompts: summary,
    terms,
    heads: names,
    edit,
    side,
    rows,
    strength,
    seed,
    variants: reported,
    ...(variants.some((variant) => lacksNull(variants, variant)) && {
      noNull: settings.nulls > 0 ? NO_NULL : NULLS_LEFT_OUT,
    }),
    ...(warnings.length > 0 && { warnings }),
  }
}

/** The null subspaces of a feature, or of a union. */
function nullsOf(variants: readonly Variant[], { features }: Variant): number {
  return variants.findIndex((v) => v.kind === 'null' && v.features.join('\n') === features.join('\n'))
}

/** Their figures, where they were measured. */
function nullTable(variants: readonly Variant[], tables: readonly EditTable[], variant: Variant) {
  const at = nullsOf(variants, variant)
  return at >= 0 && tables[at].prompts.length > 0 ? tables[at] : undefined
}

function lacksNull(variants: readonly Variant[], variant: Variant): boolean {
  return variant.kind === 'features' && nullsOf(variants, variant) < 0
}

type Settings = ReturnType<typeof settingsOf>

function settingsOf(model: Model, options: InterveneOptions) {
  checkAnalysis(model, options, OPTIONS, 'intervene')
  const { result } = options
  const all = result.contrastNames
  const settings = {
    heads: 'all' as InterveneOptions['heads'],
    edit: 'swap' as Edit,
    side: 'key' as const,
    rows: 'query' as const,
    factor: 2,
    to: 'zero' as const,
    strength: 1,
    nulls: 20,
    randoms: 10,
    seed: 0,
    batchSize: 16,
    features: all.length > 1 ? [...all, all] : all,
    ...options,
  } as InterveneOptions & Required<Omit<InterveneOptions, 'contrast' | 'output' | 'signal' | 'onProgress'>>
  checkChoice(settings.edit, 'edit', EDITS)
  checkChoice(settings.side, 'side', ['key', 'query'])
  checkChoice(settings.rows, 'rows', ['query', 'all'])
  checkChoice(settings.to, 'to', ['zero', 'mean'])
  for (const name of ['factor', 'strength'] as const) {
    if (!Number.isFinite(settings[name])) {
      throw new QkError('ERR_ARGUMENT', `${name} is ${settings[name]}, expected a finite number`)
    }
  }
  if (settings.to === 'mean' && settings.edit !== 'ablate') {
    throw new QkError('ERR_ARGUMENT', `to: 'mean' belongs to edit: 'ablate', not to '${settings.edit}'`)
  }
  checkInteger(settings.nulls, 'nulls', 0, MOST_CONTROLS)
  checkInteger(settings.randoms, 'randoms', 0, MOST_CONTROLS)
  checkInteger(settings.seed, 'seed', 0)
  checkInteger(settings.batchSize, 'batchSize', 1)
  if (!Array.isArray(settings.features) || settings.features.length === 0) {
    throw new QkError('ERR_ARGUMENT', 'features is a list of contrasts, not empty')
  }
  if (settings.side === 'query' && settings.edit === 'swap') {
    throw new QkError('ERR_ARGUMENT', 'a query has nothing to be swapped with', {
      hint: "Use edit: 'patch' with counterfactual prompts, or edit keys.",
    })
  }
  throwIfAborted(settings.signal)
  return settings
}

function checkItems(items: readonly TermRun[], { edit, side }: Settings): void {
  for (const { where, target, origin, donor } of items) {
    if (edit === 'swap' && target === undefined) {
      throw new QkError('ERR_PROMPT', `${where}: a swap needs a negative key in the same run`, {
        hint: "Counterfactual prompts serve edit: 'patch'.",
      })
    }
    if (edit === 'patch' && side === 'query' && !donor) {
      throw new QkError('ERR_PROMPT', `${where}: patching a query needs a counterfactual run to take it from`)
    }
    if (target === origin) {
      throw new QkError('ERR_PROMPT', `${where}: the positive key ${origin} is also the negative one`)
    }
  }
}

function measured(outputs: Record<string, WireTensor>, graph: EditGraph, items: number): Measured {
  const patterns = graph.sites.map(({ pattern }) => outputs[pattern].data as Float32Array)
  if (!graph.logits) {
    return { patterns }
  }
  return { patterns, output: outputsOf(outputs[graph.logits].data as Float32Array, items) }
}
