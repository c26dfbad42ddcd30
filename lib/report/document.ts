/** The document that the report's page draws from: results without their bases, and what was tested with them. */

import type { AttributionReport } from '../attribution/attribute.js'
import type { ExplanationReport } from '../explanation/report.js'
import type { InterventionReport } from '../intervention/intervene.js'
import type { PaperReport } from '../paper/index.js'
import type { HeadInfo, Result, ResultInfo } from '../store/result.js'
import { versions } from '../versions.js'

/** Something with the name that the page shows it under, as a rule that of its file. */
export interface Named<T> {
  /** The name that the page shows. */
  name: string
  /** The thing itself. */
  value: T
}

/** What `writeReport` puts on a page. */
export interface ReportParts {
  /** At least one, an explanation, or a paper. */
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
  /** What was left out of the page, in sentences. */
  leftOut?: string[]
}

export function reportDocument({
  results = [],
  attributions = [],
  interventions = [],
  explanations = [],
  papers = [],
}: ReportParts): ReportDocument {
  return {
    format: 'qkspace-report',
    formatVersion: 2,
    versions: { ...versions() },
    results: results.map(({ name, value }) => ({ ...value.info, name, heads: spectra(value) })),
    attributions: attributions.map(({ name, value }) => ({ ...value, name })),
    interventions: interventions.map(({ name, value }) => ({ ...value, name })),
    explanations: explanations.map(({ name, value }) => ({ ...value, name })),
    papers: papers.map(({ name, value }) => ({ ...value, name })),
  }
}

/** By head and contrast, what is not a matrix: bases would make the page many times as large. */
function spectra(result: Result): ReportDocument['results'][number]['heads'] {
  return Object.fromEntries(
    result.headNames.map((head) => [
      head,
      Object.fromEntries(
        result.head(head).contrastNames.map((name) => {
          const { s, spectrum, nulls } = result.head(head).contrast(name)
          return [
            name,
            {
              ...result.info.heads[head][name],
              s: Array.from(s),
              ...(spectrum && { spectrum: Array.from(spectrum, (x) => Number(x.toPrecision(5))) }),
              ...(nulls && { nulls: nulls.count }),
            },
          ]
        }),
      ),
    ]),
  )
}
