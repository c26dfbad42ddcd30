/** Writes results, attributions, interventions, explanations and the paper's figures as one self-contained HTML page. */

import { QkError } from '../errors.js'
import { checkReplaceable, fileStart, writeFileAtomically } from '../store/atomic-file.js'
import { Result } from '../store/result.js'
import { checkEnding } from '../store/saving/formats.js'
import { checkOptions } from '../validate.js'
import { type ReportParts, reportDocument } from './document.js'
import { REPORT_START, reportHtml } from './html.js'

const PARTS = {
  results: true,
  attributions: true,
  interventions: true,
  explanations: true,
  papers: true,
} satisfies Record<keyof ReportParts, true>

/**
 * Writes the report; its size in bytes. The same parts give the same bytes. Errors: ERR_FILE, ERR_TYPE,
 * ERR_ARGUMENT; nothing is left behind.
 */
export async function writeReport(file: string, parts: ReportParts): Promise<number> {
  checkOptions(parts, PARTS, 'writeReport')
  const { results = [], explanations = [], papers = [] } = parts
  if (results.length + explanations.length + papers.length === 0) {
    throw new QkError('ERR_ARGUMENT', 'a report needs at least one result, an explanation, or a paper')
  }
  if (!results.every(({ value }) => value instanceof Result)) {
    throw new QkError('ERR_TYPE', 'writeReport takes results as { name, value }', {
      hint: 'The value is what `decompose` or `loadResult` returns.',
    })
  }
  await checkReportPath(file)
  const html = Buffer.from(reportHtml(reportDocument(parts)))
  await writeFileAtomically(file, [html])
  return html.length
}

/** Checks that a report may be written here: never over a file that is not one. Errors: ERR_FILE; ERR_ARGUMENT for an ending that is no page's. */
export async function checkReportPath(file: string): Promise<void> {
  await checkReplaceable(file, 'a report of qkspace', async () => {
    const start = (await fileStart(file, REPORT_START.length)).toString('latin1')
    return start === '' || start === REPORT_START
  })
  checkEnding(file, 'a report', ['.html', '.htm'])
}
