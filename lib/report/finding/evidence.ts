/** How sure a finding is, and which one a page opens with: by its evidence, never by the size of a gap alone. */

import type { HeadInfo, ResultInfo } from '../../store/result-info.js'
import { type EditFigures, editFigures, type NamedEdits } from './edit-figures.js'

/** What a finding reads of a result. */
export type FoundHeads = Pick<ResultInfo, 'model' | 'prompts' | 'sites' | 'rank'> & {
  /** By head and contrast. */
  heads: Record<string, Record<string, HeadInfo>>
}

/**
 * `replicated` and `discovered` passed the test over all heads and contrasts, the former in either half of the prompts
 * too; `unresolved` needs more draws; `untested` has no test at all.
 */
export type Standing = 'replicated' | 'discovered' | 'unresolved' | 'not significant' | 'untested'

/** What the test says of one contrast of one head. */
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

/** One contrast of one head, with what the order of findings goes by. */
interface Ranked {
  head: string
  contrast: string
  found: HeadInfo
  edits: EditFigures | undefined
}

/**
 * Findings of a result, the best first: replicated before discovered before the rest; then those whose edit moves more
 * than null subspaces do, on terms of their own contrast first; then by the attention on the positive keys (by the score gap where it was not measured). Of
 * heads without a discovery, the least p comes first.
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

/** The p-value of the hypothesis that was tested; 1 where it could not be. */
export function leastP({ test }: HeadInfo): number {
  return test?.p[test.hypothesis] ?? 1
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, i) => value !== b[i])
  return at < 0 ? 0 : a[at] - b[at]
}
