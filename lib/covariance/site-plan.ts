/** Plans which heads of a site are captured, and which accumulation they feed. */

import { totalmem } from 'node:os'
import { groupBy } from '../math/group-by.js'
import type { SiteRequest } from '../model/graphs/capture-graph.js'
import type { Model } from '../model/model.js'
import type { HeadRef } from '../model/sites/heads.js'
import { headName, keyHeadOf, type ResolvedSite } from '../model/sites/site.js'
import type { AttentionSums } from './attention-sums.js'
import type { KeptRows } from './kept/kept-rows.js'
import { QKCovariance, type QKCovarianceOptions } from './qk-covariance.js'

/** The heads of one site that share a covariance accumulation. */
export interface HeadGroup {
  /** Query heads of the site, in the order of the accumulation's heads. */
  heads: number[]
  /** The sums of their covariances. */
  covariance: QKCovariance
  /**
   * Sums with queries multiplied by the factors of their scores, for score gaps. Only if the factors are not constant.
   */
  scaled?: QKCovariance
  /**
   * Attention on the terms' keys. Absent if it is not measured, or if the attention pattern was not found in the
   * graph.
   */
  attention?: AttentionSums
  /** Rows for the rank test, unless `nullBytes` is 0. */
  kept?: KeptRows
}

/** The sums of one attention site. */
export interface SiteSums {
  /** The site of the captured rows. */
  site: ResolvedSite
  /** Groups of the site's heads, each with its own sums. */
  groups: HeadGroup[]
  /** Relative error of the verification on the first prompt of the set. */
  relativeError: number
}

/** Which captured heads feed which accumulation. */
export interface Slice {
  /** Index among the captured outputs. */
  output: number
  cross: boolean
  /** First captured query head and key head, and their numbers. */
  firstHead: number
  heads: number
  firstKey: number
  kvHeads: number
  group: HeadGroup
  site: ResolvedSite
  names: string[]
}

export interface SitePlan {
  requests: SiteRequest[]
  sites: SiteSums[]
  slices: Slice[]
}

/** Options that all accumulations share. */
export type AccumulationOptions = Pick<
  QKCovarianceOptions,
  'estimator' | 'backend' | 'allowNonFinite' | 'threads' | 'memoryLimit'
>

/**
 * Plans the accumulations. If all heads of a site are requested, they form one accumulation. Otherwise only the
 * requested heads are captured, and the heads of each key head form one accumulation, so that no key is repeated.
 */
export function planSites(
  model: Model,
  heads: readonly HeadRef[],
  contrasts: readonly string[],
  options: AccumulationOptions,
): SitePlan {
  const plan: SitePlan = { requests: [], sites: [], slices: [] }
  let memoryLimit = options.memoryLimit ?? totalmem() / 2
  for (const [index, refs] of groupBy(heads, (h) => h.site)) {
    const site = model.sites[index]
    const chosen = refs.map((r) => r.head)
    const all = chosen.length === site.heads
    const byKey = groupBy(chosen, (h) => keyHeadOf(site, h))
    const groups = all ? [chosen] : [...byKey.values()]
    const kvHeads = [...byKey.keys()]
    plan.requests.push({ site, heads: all ? undefined : chosen, kvHeads: all ? undefined : kvHeads })
    const siteSums: SiteSums = { site, groups: [], relativeError: Number.NaN }
    let firstHead = 0
    groups.forEach((group, g) => {
      const accumulation = () => {
        const made = new QKCovariance({
          heads: group.length,
          kvHeads: all ? site.kvHeads : 1,
          headDim: site.headDim,
          contrasts,
          estimator: options.estimator,
          backend: options.backend,
          allowNonFinite: options.allowNonFinite,
          threads: options.threads,
          memoryLimit,
        })
        memoryLimit -= made.bytes
        return made
      }
      const covariance = accumulation()
      const scaled = site.factors.kind === 'rows' ? accumulation() : undefined
      const sums: HeadGroup = { heads: group, covariance, scaled }
      siteSums.groups.push(sums)
      plan.slices.push({
        output: plan.requests.length - 1,
        cross: site.cross,
        firstHead,
        heads: group.length,
        firstKey: all ? 0 : g,
        kvHeads: all ? site.kvHeads : 1,
        group: sums,
        site,
        names: group.map((h) => headName(site, h)),
      })
      firstHead += group.length
    })
    plan.sites.push(siteSums)
  }
  return plan
}
