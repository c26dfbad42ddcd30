/**
 * Reduces the page of a large model, so that it opens at once: drops digits that nobody sees, and numbers of heads
 * without a finding. Small reports keep everything.
 */

import { cooperator, type Turn } from '../backend/cooperate.js'
import type { ExplainedPrompt } from '../explanation/report.js'
import type { ReportDocument } from './document.js'

type PageResult = ReportDocument['results'][number]
type PageHead = PageResult['heads'][string][string]

/** Most numbers in the spectra of a result, or in the scores of stored prompts, before they are reduced. */
const MANY = 200_000
/** Number of singular values that are kept for heads that were not discovered. */
const FEW = 16

/**
 * The reduced document for the page, with a sentence for everything that was left out. The event loop runs in between.
 */
export async function trimmed(document: ReportDocument): Promise<ReportDocument> {
  const turn = cooperator()
  const leftOut: string[] = []
  const results: PageResult[] = []
  for (const result of document.results) {
    await turn()
    results.push(trimSpectra(result, leftOut))
  }
  const scores = document.explanations.reduce((sum, { prompts }) => sum + count(prompts), 0)
  const explanations: ReportDocument['explanations'] = []
  for (const own of document.explanations) {
    const prompts: ExplainedPrompt[] = []
    for (const prompt of own.prompts) {
      prompts.push(await trimPrompt(prompt, scores > MANY, turn))
    }
    explanations.push({ ...own, prompts })
  }
  if (scores > MANY) {
    leftOut.push('Scores of stored prompts are kept of heads with a discovered feature.')
  }
  return { ...document, results, explanations, leftOut }
}

function trimSpectra(result: PageResult, leftOut: string[]): PageResult {
  const all = Object.values(result.heads).flatMap((own) => Object.values(own))
  const numbers = all.reduce((sum, { spectrum = [] }) => sum + spectrum.length, 0)
  if (numbers <= MANY) {
    return result
  }
  leftOut.push(
    `Of contrasts that were not discovered in a head of ${result.name}, the first ${FEW} singular values are kept.`,
  )
  const cut = (head: PageHead): PageHead =>
    head.spectrum && !head.test?.discovered ? { ...head, spectrum: head.spectrum.slice(0, FEW) } : head
  return { ...result, heads: mapValues(result.heads, (own) => mapValues(own, cut)) }
}

const mapValues = <T>(record: Record<string, T>, change: (value: T) => T): Record<string, T> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]))

const count = (prompts: readonly ExplainedPrompt[]): number =>
  prompts.reduce((sum, { words, heads }) => sum + words.length * heads.length, 0)

/** Rounds attention to four places and scores to three, the precision at which they are shown. */
async function trimPrompt(
  prompt: ExplainedPrompt,
  withoutScores: boolean,
  turn: Turn,
): Promise<ExplainedPrompt> {
  const places = (digits: number) => (x: number) => Number(x.toFixed(digits))
  const attention = (row: readonly number[]) => row.map(places(4))
  const heads: ExplainedPrompt['heads'] = []
  for (const own of prompt.heads) {
    await turn()
    heads.push({
      ...own,
      attention: attention(own.attention),
      scores:
        withoutScores && !own.features
          ? []
          : own.scores.map((score) => (score === null ? null : places(3)(score))),
      ...(own.pattern && { pattern: own.pattern.map(attention) }),
    })
  }
  return { ...prompt, heads }
}
