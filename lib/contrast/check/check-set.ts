/**
 * Checks what a prompt set's ΔC may hold besides the intended feature. Positives and negatives may differ in
 * positions, distances, tokens or lengths. Labels may drift along a sequence or repeat. Units may not be independent.
 * Every imbalance is compared with the null distribution of randomly swapping the sides of whole units.
 */

import { QkError, throwIfAborted } from '../../errors.js'
import { loadTokenizer, type PromptTokenizer } from '../../model/tokenizer/tokenizer.js'
import { checkOptions, checkSeed, counted } from '../../validate.js'
import type { Labels } from '../prompt.js'
import { type PlacedPrompt, type Prompts, promptSet } from '../prompt-set.js'
import { type CheckedPrompt, ContrastSums } from './collect.js'
import { Duplicates } from './duplicates.js'
import { labelFindings } from './label-findings.js'
import { levelOf, measureAll } from './measure.js'
import { type PlacedRun, placeRun } from './place-prompt.js'
import {
  type ContrastCheck,
  DRAWS,
  type Finding,
  LEVEL,
  type MeasureName,
  MINIMAL,
  type PromptSetCheck,
} from './report.js'
import { termFindings } from './term-findings.js'
import { unitFindings } from './unit-findings.js'

/** Options of `checkPromptSet`. */
export interface CheckPromptSetOptions {
  /**
   * Path of a `tokenizer.json`, or `model.tokenizer`. Without a tokenizer, text prompts are compared by characters and
   * words.
   */
  tokenizer?: string | PromptTokenizer
  /** Seed of the null draws and of the sample of units; default 0. */
  seed?: number
  /** Ends the check with ERR_ABORTED. */
  signal?: AbortSignal
  /** Called after every hundredth prompt, and after the last. */
  onProgress?: (done: number, total: number) => void
}

const OPTIONS = {
  tokenizer: true,
  seed: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof CheckPromptSetOptions, true>

/**
 * Reads a prompt set twice, first to validate it, and checks every contrast. Measures use at most 4,000 units of a
 * contrast, sampled by a seeded hash; counts cover the whole set.
 *
 * Errors: ERR_PROMPT, ERR_EMPTY_SET, ERR_POSITION, ERR_MATCH, ERR_TOKENIZER, which name the prompt; ERR_FILE,
 * ERR_TYPE, ERR_ARGUMENT, ERR_ABORTED.
 */
export async function checkPromptSet(
  prompts: Prompts,
  options: CheckPromptSetOptions = {},
): Promise<PromptSetCheck> {
  checkOptions(options, OPTIONS, 'checkPromptSet')
  const { seed = 0, signal, onProgress } = options
  checkSeed(seed)
  const tokenizer =
    typeof options.tokenizer === 'string' ? await loadTokenizer(options.tokenizer) : options.tokenizer
  const set = promptSet(prompts)
  const { source, sha256, prompts: total } = await set.summary(signal)
  const contrasts = new Map<string, ContrastSums>()
  const duplicates = new Duplicates()
  let count = 0
  for await (const placed of set) {
    throwIfAborted(signal)
    duplicates.add(placed)
    await addPrompt(contrasts, placed, count, tokenizer, seed)
    count += 1
    if (count % 100 === 0 || count === total) {
      onProgress?.(count, total)
    }
  }
  const checks: ContrastCheck[] = []
  for (const sums of contrasts.values()) {
    checks.push(await checkContrast(sums, tokenizer, seed, signal))
  }
  const findings = duplicates.findings(count)
  const all = [...findings, ...checks.flatMap((check) => check.findings)]
  return {
    source,
    sha256,
    prompts: count,
    warnings: all.filter(({ level }) => level === 'warning').length,
    seed,
    draws: DRAWS,
    level: LEVEL,
    minimal: MINIMAL,
    findings,
    contrasts: checks,
  }
}

async function addPrompt(
  contrasts: Map<string, ContrastSums>,
  { prompt, rules, where }: PlacedPrompt,
  index: number,
  tokenizer: PromptTokenizer | undefined,
  seed: number,
): Promise<void> {
  const { group, counterfactual } = prompt
  const run = await placeRun(prompt, tokenizer, where)
  const other = counterfactual ? await placeRun(counterfactual, tokenizer, `${where}: counterfactual`) : run
  const unit = group === undefined ? `prompt ${index}` : `group ${group}`
  const checked: CheckedPrompt = { unit, group, where, run, other }
  for (const rule of rules) {
    if (rule.labels) {
      checkLabelCounts(rule.labels, run, where)
    }
    const kind = rule.labels ? 'labels' : rule.counterfactual ? 'counterfactual' : 'terms'
    const key = `${kind} ${rule.contrast}`
    const sums = contrasts.get(key) ?? new ContrastSums(rule.contrast, kind, seed)
    contrasts.set(key, sums)
    sums.add(rule, checked)
  }
}

function checkLabelCounts(labels: Labels, { unit, length }: PlacedRun, where: string): void {
  for (const side of ['query', 'key'] as const) {
    const given = labels[side]
    if (unit === 'tokens' && given !== undefined && given.length !== length) {
      throw new QkError(
        'ERR_PROMPT',
        `${where}: ${given.length} ${side} labels for ${counted(length ?? 0, 'token')}`,
        {
          hint: 'Special tokens count; give them the label null.',
        },
      )
    }
  }
}

async function checkContrast(
  sums: ContrastSums,
  tokenizer: PromptTokenizer | undefined,
  seed: number,
  signal: AbortSignal | undefined,
): Promise<ContrastCheck> {
  const { contrast, rule, prompts, terms, unplacedTerms } = sums
  const records = sums.sample.records()
  const units = records.map(({ differences }) => differences)
  const measures = await measureAll(units, omitted(sums), seed, signal)
  const level = levelOf(measures.length)
  const [unit] = sums.positionUnits
  const positionsIn: ContrastCheck['positionsIn'] = sums.positionUnits.size === 1 ? unit : 'mixed'
  const byName = new Map(measures.map((measure) => [measure.name, measure] as const))
  const from = { sums, units, measures: byName, level, positionsIn, tokenizer }
  const beginnings = records.flatMap(({ beginning }) => beginning ?? [])
  const findings: Finding[] = [
    ...(rule === 'labels' ? labelFindings(from) : termFindings(from)),
    ...unitFindings(sums, beginnings, level, seed),
  ]
  return {
    contrast,
    rule,
    prompts,
    terms,
    units: sums.units,
    sampledUnits: records.length,
    positionsIn,
    unplacedTerms,
    level,
    measures,
    findings,
  }
}

/** Measures to omit. Measures by label add nothing if all terms have one label. */
function omitted(sums: ContrastSums): MeasureName[] {
  return sums.names.labels.size < 2 ? ['position by label', 'token by label'] : []
}
