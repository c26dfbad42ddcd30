/** Reads the files of `qkspace attribute --out`, `intervene --out`, `explain --out` and `qkspace paper`. */

import { readFile } from 'node:fs/promises'
import type { AttributionReport } from '../attribution/attribute.js'
import { cooperator, type Turn } from '../backend/cooperate.js'
import { QkError } from '../errors.js'
import type { ExplanationReport } from '../explanation/report.js'
import type { InterventionReport } from '../intervention/intervene.js'
import type { PaperReport } from '../paper/index.js'
import { type Misfit, misfitOf } from '../store/reading/schema.js'
import { checkAttribution } from './documents/attribution-schema.js'
import { checkExplanation } from './documents/explanation-schema.js'
import { checkInterventions } from './documents/interventions-schema.js'
import { checkPaper } from './documents/paper-schema.js'

const KINDS = {
  attribution: { command: 'attribute --out', option: '--attribution' },
  interventions: { command: 'intervene --out', option: '--interventions' },
  explanation: { command: 'explain --out', option: '--explanation' },
  paper: { command: 'paper', option: '--paper' },
} as const

type Kind = keyof typeof KINDS

type Check = (value: unknown, misfit: Misfit, turn: Turn) => Promise<unknown>

const CHECKS: Record<Kind, Check> = {
  attribution: checkAttribution,
  interventions: checkInterventions,
  explanation: checkExplanation,
  paper: checkPaper,
}

/** Errors: ERR_FILE, ERR_FORMAT. */
export async function readAttribution(file: string): Promise<AttributionReport> {
  return (await readDocument(file, 'attribution')) as AttributionReport
}

/** Errors: ERR_FILE, ERR_FORMAT. */
export async function readInterventions(file: string): Promise<InterventionReport> {
  return (await readDocument(file, 'interventions')) as InterventionReport
}

/** Errors: ERR_FILE, ERR_FORMAT. */
export async function readExplanation(file: string): Promise<ExplanationReport> {
  return (await readDocument(file, 'explanation')) as ExplanationReport
}

/** Errors: ERR_FILE, ERR_FORMAT. */
export async function readPaper(file: string): Promise<PaperReport> {
  return (await readDocument(file, 'paper')) as PaperReport
}

async function readDocument(file: string, wanted: Kind): Promise<unknown> {
  if (typeof file !== 'string') {
    throw new QkError('ERR_TYPE', `a document is named by its path, got ${typeof file}`)
  }
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw new QkError('ERR_FILE', `cannot read ${file}: ${(cause as Error).message}`, { cause })
  })
  const { command, option } = KINDS[wanted]
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new QkError('ERR_FORMAT', `${file} is not a JSON document`, {
      hint: `${option} takes what \`qkspace ${command}\` writes.`,
      cause,
    })
  }
  const kind = kindOf(value)
  if (kind === wanted) {
    checkVersion(file, wanted, value)
    return CHECKS[wanted](
      value,
      misfitOf(file, `The file is damaged, or not as \`qkspace ${command}\` wrote it: write it again.`),
      cooperator(),
    )
  }
  throw new QkError('ERR_FORMAT', `${file} was not written by \`qkspace ${command}\``, {
    hint: kind
      ? `It was written by \`qkspace ${KINDS[kind].command}\`: give it with ${KINDS[kind].option}.`
      : `${option} takes what \`qkspace ${command}\` writes.`,
  })
}

/** Refuses documents of earlier versions, whose figures have no nulls. Errors: ERR_FORMAT. */
function checkVersion(file: string, kind: Kind, value: unknown): void {
  const { heads, variants, figures } = value as { heads: object; variants: object; figures: unknown }
  const earlier = (hint: string) =>
    new QkError('ERR_FORMAT', `${file} was written by an earlier version of qkspace`, { hint })
  const parts = kind === 'attribution' ? heads : kind === 'interventions' ? variants : []
  const isEarlier = (part: unknown) => typeof part === 'object' && part !== null && !('contrasts' in part)
  if (Object.values(parts).some(isEarlier)) {
    throw earlier(
      `Run \`qkspace ${KINDS[kind].command}\` again: figures now stand by contrast, beside their controls.`,
    )
  }
  const isJudged = (one: unknown) =>
    typeof one === 'object' && one !== null && 'verdict' in one && 'decisive' in one
  if (kind === 'paper' && !(Array.isArray(figures) && figures.every(isJudged))) {
    throw earlier(
      'Run `qkspace paper` again: every claim now has a verdict, from figures that stand beside their nulls.',
    )
  }
}

function kindOf(value: unknown): Kind | undefined {
  const is = (key: string, kind: 'object' | 'string') =>
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Record<string, unknown>)[key] === kind &&
    (value as Record<string, unknown>)[key] !== null
  if (is('paper', 'string') && is('figures', 'object') && is('sizes', 'object')) {
    return 'paper'
  }
  const { prompts } = (value ?? {}) as { prompts?: unknown }
  if (Array.isArray(prompts) && prompts.every((p) => Array.isArray(p?.heads) && Array.isArray(p?.words))) {
    return 'explanation'
  }
  if (!is('heads', 'object') || !is('prompts', 'object')) {
    return undefined
  }
  if (is('examples', 'object') && is('features', 'object') && is('method', 'string')) {
    return 'attribution'
  }
  if (is('variants', 'object') && is('edit', 'string')) {
    return 'interventions'
  }
  return undefined
}
