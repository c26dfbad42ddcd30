/** The heads of a model for an analysis, by their names in a result. */

import { QkError } from '../../errors.js'
import { groupBy } from '../../math/group-by.js'
import type { Model } from '../../model/model.js'
import { type HeadSpec, parseHeads } from '../../model/sites/heads.js'
import { headName, type ResolvedSite } from '../../model/sites/site.js'
import type { Result } from '../../store/result.js'

export interface ChosenHead {
  /** As in `L2H1`. */
  name: string
  /** Index among the query heads of its site. */
  head: number
  headDim: number
  site: ResolvedSite
}

/**
 * Heads in the order of the model's sites; 'all' means all of the result. Errors: ERR_UNKNOWN_HEAD, ERR_SHAPE for a
 * result of another model.
 */
export function chosenHeads(
  model: Model,
  result: Result,
  heads: 'all' | string | readonly HeadSpec[],
): ChosenHead[] {
  const wanted = heads === 'all' ? result.headNames.join(',') : heads
  const chosen = parseHeads(wanted, model.sites).map(({ site: index, head }): ChosenHead => {
    const site = model.sites[index]
    const name = headName(site, head)
    const found = result.head(name).contrast(result.contrastNames[0]).headDim
    if (found !== site.headDim) {
      throw new QkError(
        'ERR_SHAPE',
        `${name} has the head dimension ${site.headDim} in ${model.path}, and ${found} in the result`,
        { hint: `The result is of ${result.info.model.path}.` },
      )
    }
    return { site, head, name, headDim: site.headDim }
  })
  // The heads of a site are adjacent, as in its captured rows.
  return [...groupBy(chosen, ({ site }) => site).values()].flat()
}

/** The chosen heads of each site. */
export function requestsBySite(heads: readonly ChosenHead[]): { site: ResolvedSite; heads: number[] }[] {
  return [...groupBy(heads, ({ site }) => site)].map(([site, own]) => ({
    site,
    heads: own.map(({ head }) => head),
  }))
}
