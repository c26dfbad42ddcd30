/** The document behind the report's page: results without their bases, and the analyses made with them. */

import type { AttributionReport } from '../attribution/attribute.js'
import { cooperator, type Turn } from '../backend/cooperate.js'
import type { ExplanationReport } from '../explanation/report.js'
import type { InterventionReport } from '../intervention/intervene.js'
import type { PaperReport } from '../paper/index.js'
import type { HeadInfo, Result, ResultInfo } from '../store/result.js'
import { versions } from '../versions.js'

/** A value with its name on the page, usually that of its file. */
export interface Named<T> {
  /** The name on the page. */
  name: string
  /** The value. */
  value: T
}

/** Parts of a page that `writeReport` writes. */
export interface ReportParts {
  /** Results. A page needs at least one result, an explanation, or a paper. */
  results?: readonly Named<Result>[]
  /** What `attribute` returns. */
  attributions?: readonly Named<AttributionReport>[]
  /** What `intervene` returns. */
  interventions?: readonly Named<InterventionReport>[]
  /** What `explain` returns: attention of single prompts. */
  explanations?: readonly Named<ExplanationReport>[]
  /** What `runPaper` returns. */
  papers?: readonly Named<PaperReport>[]
}

export interface ReportDocument {
  format: 'qkspace-report'
  formatVersion: 2
  versions: Record<string, string>
  results: (Omit<ResultInfo, 'heads'> & {
    name: string
    heads: Record<string, Record<string, HeadInfo & { s: number[]; spectrum?: number[]; nulls?: number }>>
  })[]
  attributions: (AttributionReport & { name: string })[]
  interventions: (InterventionReport & { name: string })[]
  explanations: (ExplanationReport & { name: string })[]
  papers: (PaperReport & { name: string })[]
  /** Sentences on what was left out of the page. */
  leftOut?: string[]
}

/** Builds the document. The event loop runs in between if results have many heads. Errors: none. */
export async function reportDocument({
  results = [],
  attributions = [],
  interventions = [],
  explanations = [],
  papers = [],
}: ReportParts): Promise<ReportDocument> {
  const turn = cooperator()
  const ofResults: ReportDocument['results'] = []
  for (const { name, value } of results) {
    ofResults.push({ ...value.info, name, heads: await spectra(value, turn) })
  }
  return {
    format: 'qkspace-report',
    formatVersion: 2,
    versions: { ...versions() },
    results: ofResults,
    attributions: attributions.map(({ name, value }) => ({ ...value, name })),
    interventions: interventions.map(({ name, value }) => ({ ...value, name })),
    explanations: explanations.map(({ name, value }) => ({ ...value, name })),
    papers: papers.map(({ name, value }) => ({ ...value, name })),
  }
}

/**
 * All parts of a result that are not matrices, by head and contrast. Bases would make the page many times as large.
 */
async function spectra(result: Result, turn: Turn): Promise<ReportDocument['results'][number]['heads']> {
  const heads: ReportDocument['results'][number]['heads'] = {}
  for (const head of result.headNames) {
    await turn()
    const contrasts = result.head(head).contrastNames.map((name) => {
      const { s, spectrum, nulls } = result.head(head).contrast(name)
      const figures = {
        ...result.info.heads[head][name],
        s: Array.from(s),
        ...(spectrum && { spectrum: Array.from(spectrum, (x) => Number(x.toPrecision(5))) }),
        ...(nulls && { nulls: nulls.count }),
      }
      return [name, figures] as const
    })
    heads[head] = Object.fromEntries(contrasts)
  }
  return heads
}
