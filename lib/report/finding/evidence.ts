/** Ranks findings by their evidence, never by the size of a gap alone, and chooses the one that opens a page. */

import type { HeadInfo, ResultInfo } from '../../store/result-info.js'
import { type EditFigures, editFigures, type NamedEdits } from './edit-figures.js'

/** The parts of a result that findings use. */
export type FoundHeads = Pick<ResultInfo, 'model' | 'prompts' | 'sites' | 'rank'> & {
  /** Figures by head and contrast. */
  heads: Record<string, Record<string, HeadInfo>>
}

/**
 * Evidence for a finding. `discovered` passed the test over all heads and contrasts. `replicated` also passed it in
 * either half of the prompts. `unresolved` needs more draws. `untested` has no test at all.
 */
export type Standing = 'replicated' | 'discovered' | 'unresolved' | 'not significant' | 'untested'

/** The standing of one contrast of one head. */
export function standingOf({ test }: HeadInfo): Standing {
  if (!test) {
    return 'untested'
  }
  if (test.discovered) {
    return test.replication?.replicated ? 'replicated' : 'discovered'
  }
  return test.unresolvedNeeds === undefined ? 'not significant' : 'unresolved'
}

const WEIGHTS: Record<Standing, number> = {
  replicated: 2,
  discovered: 1,
  unresolved: 0,
  'not significant': 0,
  untested: 0,
}

/** One contrast of one head, with its sort keys. */
interface Ranked {
  head: string
  contrast: string
  found: HeadInfo
  edits: EditFigures | undefined
}

/**
 * Findings of a result, the best first: replicated, then discovered, then the rest. Within these, findings whose edit
 * moves more than null subspaces do come first, those on terms of their own contrast before others. Then the order is
 * by the attention on the positive keys (by the score gap if it was not measured). Heads without a discovery are
 * sorted by p, the least first.
 */
export function rankedFindings(
  result: FoundHeads,
  edits: readonly NamedEdits[],
  contrasts: readonly string[] = result.prompts.contrasts,
): Ranked[] {
  const all = contrasts.flatMap((contrast) =>
    Object.entries(result.heads).flatMap(([head, own]) => {
      const found = own[contrast]
      return found ? [{ head, contrast, found, edits: editFigures(edits, result, head, contrast) }] : []
    }),
  )
  const key = ({ found, contrast, edits: own }: Ranked): number[] => {
    const weight = WEIGHTS[standingOf(found)]
    const least = weight === 0 && found.test ? -leastP(found) : 0
    const strength = found.attention?.positive ?? found.scoreGap
    const onOwnTerms = own?.termsOf === contrast ? 1 : 0
    return [weight, least, own?.moved?.exceedsNull ? 1 + onOwnTerms : 0, own ? 1 : 0, strength]
  }
  const keys = new Map(all.map((one) => [one, key(one)]))
  return all.sort((a, b) => compare(keys.get(b)!, keys.get(a)!))
}

/** The p-value of the tested hypothesis; 1 if it could not be tested. */
export function leastP({ test }: HeadInfo): number {
  return test?.p[test.hypothesis] ?? 1
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, i) => value !== b[i])
  return at < 0 ? 0 : a[at] - b[at]
}
