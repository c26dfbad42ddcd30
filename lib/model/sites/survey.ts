/**
 * Determines what a graph leaves open about its attention: which operand holds the queries, what each axis is, how
 * heads are grouped, what the scale is. It runs a small synthetic batch and reads the concrete shapes.
 */

import type { RefusedSite, SiteCandidate } from '../candidate.js'
import { type ModelInput, takesTokens, turned } from '../inference/inputs.js'
import { ProbeBudget } from '../inference/probe-budget.js'
import type { WireTensor } from '../inference/session.js'
import { nameLayers } from './layer-names.js'
import { resolveSite } from './resolve-site.js'
import type { ResolvedSite } from './site.js'
import { type ProbeContext, probe, probeEach } from './site-probe.js'
import { idsAreTurned } from './token-axes.js'

export interface Survey {
  sites: ResolvedSite[]
  /** The inputs, as [position, sequence] if the model's ids are. */
  inputs: readonly ModelInput[]
  unsupported: RefusedSite[]
  /** The feeds of the probe. */
  feeds: Record<string, WireTensor>
}

/**
 * Runs the probe and resolves every candidate, in topological order. `refused` is attention that was refused before;
 * it is numbered with the rest. Errors: ERR_INFERENCE.
 */
export async function surveySites(
  given: ProbeContext,
  candidates: readonly SiteCandidate[],
  refused: readonly RefusedSite[],
): Promise<Survey> {
  const unsupported = [...refused]
  const context = { ...given, budget: new ProbeBudget() }
  const { graph } = context
  let { inputs } = context
  let found = await probe(context, candidates).catch(async (error) => {
    const alone = await probeEach(context, candidates)
    unsupported.push(...alone.unsupported)
    if (alone.unsupported.length === 0 || alone.running.length === 0) {
      throw error
    }
    return probe(context, alone.running)
  })
  if (idsAreTurned(inputs, found)) {
    inputs = turned(inputs)
    found = await probe({ ...context, inputs }, found.running)
  }
  const sites: ResolvedSite[] = []
  const tokens = takesTokens(inputs)
  for (const candidate of found.running) {
    const site = resolveSite(graph, candidate, found, { tokens })
    if ('reason' in site) {
      unsupported.push({ ...site, at: candidate.product })
    } else {
      sites.push(site)
    }
  }
  nameLayers(graph, sites, unsupported)
  return { sites, unsupported, inputs, feeds: found.feeds }
}
