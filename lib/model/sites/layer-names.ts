/** Numbers the sites of each kind of attention, and names their captured tensors as TransformerLens does. */

import type { ResolvedSite, SiteKind } from './site.js'

/** Sites in topological order. */
export function nameLayers(sites: ResolvedSite[]): void {
  const kindOf = (site: ResolvedSite): SiteKind => (site.cross ? 'cross' : site.causal ? 'dec' : 'enc')
  const several = new Set(sites.map(kindOf)).size > 1
  const counts = new Map<SiteKind, number>()
  for (const site of sites) {
    const kind = kindOf(site)
    const group = several ? kind : 'dec'
    site.layer = counts.get(group) ?? 0
    counts.set(group, site.layer + 1)
    if (several) site.kind = kind
    const prefix = `${several ? `${kind}.` : ''}blocks.${site.layer}.attn`
    site.hooks = site.rotary
      ? { q: `${prefix}.hook_rot_q`, k: `${prefix}.hook_rot_k` }
      : { q: `${prefix}.hook_q`, k: `${prefix}.hook_k` }
  }
}
