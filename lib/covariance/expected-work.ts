/** What a prompt set will make of the heads of a model: for the choice of a backend, before anything runs. */

import type { Estimator } from '../backend/backend.js'
import { labelDraws, type Work } from '../backend/cost/cost.js'
import type { PromptSetSummary } from '../contrast/prompt-set.js'
import { groupBy } from '../math/group-by.js'
import type { HeadRef } from '../model/sites/heads.js'
import { keyHeadOf, type ResolvedSite } from '../model/sites/site.js'
import { rowsOfTerm } from './kept/term-rows.js'

/** Draws of the test of rank, of which it makes about as many for either hypothesis. */
const DRAWS = 2 * 199

/** The sums of every site, and the draws of its test where rows are kept. */
export function expectedWork(
  sites: readonly ResolvedSite[],
  heads: readonly HeadRef[],
  { prompts, contrasts, definitions }: PromptSetSummary,
  { estimator, batchSize, test }: { estimator: Estimator; batchSize: number; test: boolean },
): Work[] {
  const rules = Object.values(definitions)
  const queries = rules.reduce((sum, { labelled }) => sum + labelled.queries, 0)
  const terms = queries + rules.reduce((sum, rule) => sum + rule.terms, 0)
  const rows = rules.reduce((sum, { rule, terms }) => {
    return sum + terms * rowsOfTerm(estimator, rule === 'counterfactual')
  }, 0)
  return [...groupBy(heads, (head) => head.site)].flatMap(([index, refs]): Work[] => {
    const site = sites[index]
    const kvHeads = new Set(refs.map(({ head }) => keyHeadOf(site, head))).size
    const sizes = { heads: refs.length, kvHeads, headDim: site.headDim }
    const batches = Math.ceil(prompts / batchSize)
    return [
      { kind: 'terms', ...sizes, contrasts: contrasts.length, terms, batches },
      ...(test && rows > 0 ? [{ kind: 'flips' as const, ...sizes, rows, draws: DRAWS }] : []),
      ...(test && queries > 0 ? labelDraws(sizes, queries, DRAWS) : []),
    ]
  })
}
