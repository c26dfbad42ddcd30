/** Reads what `qkspace attribute --out` and `qkspace intervene --out` wrote. */

import { readFile } from 'node:fs/promises'
import type { AttributionReport } from '../analysis/attribute.js'
import type { InterventionReport } from '../analysis/intervene.js'
import { QkError } from '../errors.js'

const KINDS = {
  attribution: { command: 'attribute', option: '--attribution' },
  interventions: { command: 'intervene', option: '--interventions' },
} as const

type Kind = keyof typeof KINDS

/** Errors: ERR_FILE, ERR_FORMAT. */
export async function readAttribution(file: string): Promise<AttributionReport> {
  return (await readDocument(file, 'attribution')) as AttributionReport
}

/** Errors: ERR_FILE, ERR_FORMAT. */
export async function readInterventions(file: string): Promise<InterventionReport> {
  return (await readDocument(file, 'interventions')) as InterventionReport
}

async function readDocument(file: string, wanted: Kind): Promise<unknown> {
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw new QkError('ERR_FILE', `cannot read ${file}: ${(cause as Error).message}`, { cause })
  })
  const { command, option } = KINDS[wanted]
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new QkError('ERR_FORMAT', `${file} is not a JSON document`, {
      hint: `${option} takes what \`qkspace ${command} --out\` writes.`,
      cause,
    })
  }
  const kind = kindOf(value)
  if (kind === wanted) return value
  throw new QkError('ERR_FORMAT', `${file} was not written by \`qkspace ${command} --out\``, {
    hint: kind
      ? `It was written by \`qkspace ${KINDS[kind].command}\`: give it with ${KINDS[kind].option}.`
      : `${option} takes what \`qkspace ${command} --out\` writes.`,
  })
}

function kindOf(value: unknown): Kind | undefined {
  const is = (key: string, kind: 'object' | 'string') =>
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Record<string, unknown>)[key] === kind &&
    (value as Record<string, unknown>)[key] !== null
  if (!is('heads', 'object') || !is('prompts', 'object')) return undefined
  if (is('examples', 'object') && is('features', 'object') && is('method', 'string')) return 'attribution'
  if (is('variants', 'object') && is('edit', 'string')) return 'interventions'
  return undefined
}
