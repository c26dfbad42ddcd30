/** Writes results, attributions, interventions, explanations and the paper's figures as one self-contained HTML page. */

import { cooperator } from '../backend/cooperate.js'
import { QkError } from '../errors.js'
import { checkReplaceable, fileStart, writeFileAtomically } from '../store/atomic-file.js'
import { Result } from '../store/result.js'
import { checkEnding } from '../store/saving/formats.js'
import { checkOptions } from '../validate.js'
import { type Named, type ReportParts, reportDocument } from './document.js'
import { checkAttribution } from './documents/attribution-schema.js'
import { checkExplanation } from './documents/explanation-schema.js'
import { checkInterventions } from './documents/interventions-schema.js'
import { checkPaper } from './documents/paper-schema.js'
import { REPORT_START, reportHtml } from './html.js'

const PARTS = {
  results: true,
  attributions: true,
  interventions: true,
  explanations: true,
  papers: true,
} satisfies Record<keyof ReportParts, true>

/**
 * Writes the report and returns its size in bytes. The same parts give the same bytes. Errors: ERR_FILE, ERR_TYPE,
 * ERR_ARGUMENT; nothing is left behind.
 */
export async function writeReport(file: string, parts: ReportParts): Promise<number> {
  checkOptions(parts, PARTS, 'writeReport')
  await checkParts(parts)
  const { results = [], explanations = [], papers = [] } = parts
  if (results.length + explanations.length + papers.length === 0) {
    throw new QkError('ERR_ARGUMENT', 'a report needs at least one result, an explanation, or a paper')
  }
  await checkReportPath(file)
  const html = Buffer.from(await reportHtml(await reportDocument(parts)))
  await writeFileAtomically(file, [html])
  return html.length
}

/** The kinds of parts, with the check of their documents. Results are checked by their class. */
const KINDS = {
  attributions: { check: checkAttribution, from: '`attribute`' },
  interventions: { check: checkInterventions, from: '`intervene`' },
  explanations: { check: checkExplanation, from: '`explain`' },
  papers: { check: checkPaper, from: '`runPaper`' },
} as const

/** Errors: ERR_TYPE, with the place of a value that a page cannot show. */
async function checkParts(parts: ReportParts): Promise<void> {
  const turn = cooperator()
  for (const [kind, list] of Object.entries(parts) as [keyof ReportParts, readonly Named<unknown>[]][]) {
    if (list === undefined) {
      continue
    }
    if (!Array.isArray(list) || !list.every((one) => typeof one?.name === 'string')) {
      throw new QkError('ERR_TYPE', `writeReport takes ${kind} as a list of { name, value }`)
    }
    for (const [i, { value }] of list.entries()) {
      await turn()
      if (kind === 'results') {
        checkResult(value)
      } else {
        const { check, from } = KINDS[kind]
        const misfit = (place: string, problem: string) => {
          const at = `${kind}[${i}].value${place === '' ? '' : `.${place}`}`
          return new QkError('ERR_TYPE', `${at} ${problem}`, { hint: `The value is what ${from} returns.` })
        }
        await check(value, misfit, turn)
      }
    }
  }
}

function checkResult(value: unknown): void {
  if (value instanceof Result) {
    return
  }
  throw new QkError('ERR_TYPE', 'writeReport takes results as { name, value }', {
    hint: 'The value is what `decompose` or `loadResult` returns.',
  })
}

/**
 * Checks that a report can be written here: it never replaces a file of another kind. Errors: ERR_FILE; ERR_ARGUMENT
 * for an ending that pages do not have.
 */
export async function checkReportPath(file: string): Promise<void> {
  await checkReplaceable(file, 'a report of qkspace', async () => {
    const start = (await fileStart(file, REPORT_START.length)).toString('latin1')
    return start === '' || start === REPORT_START
  })
  checkEnding(file, 'a report', ['.html', '.htm'])
}
