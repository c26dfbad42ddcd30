/** Converts the options of a capture to requests for each site. */

import { QkError } from '../../errors.js'
import { groupBy } from '../../math/group-by.js'
import type { Model } from '../../model/model.js'
import { type HeadSpec, parseHeads } from '../../model/sites/heads.js'
import { headName, keyHeadOf } from '../../model/sites/site.js'
import type { CapturedKinds, CaptureRequest } from './capture-session.js'

/** Errors: ERR_UNKNOWN_HEAD; ERR_UNSUPPORTED_MODEL for scores whose axes could not be followed. */
export function captureRequests(
  model: Model,
  options: CapturedKinds & { heads?: 'all' | string | readonly HeadSpec[] },
): CaptureRequest[] {
  return [...groupBy(parseHeads(options.heads ?? 'all', model.sites), (h) => h.site)].map(([index, refs]) => {
    const site = model.sites[index]
    if ((options.scores || options.pattern) && !site.patternAxes) {
      throw new QkError(
        'ERR_UNSUPPORTED_MODEL',
        `the axes of the scores of ${headName(site, 0)} could not be followed from product to softmax`,
        { hint: 'Queries and keys can still be captured.' },
      )
    }
    const heads = refs.map((r) => r.head)
    const prefix = site.hooks.q.slice(0, site.hooks.q.lastIndexOf('.'))
    return {
      site,
      heads,
      kvHeads: [...new Set(heads.map((h) => keyHeadOf(site, h)))],
      hooks: { ...site.hooks, scores: `${prefix}.hook_attn_scores`, pattern: `${prefix}.hook_pattern` },
    }
  })
}
