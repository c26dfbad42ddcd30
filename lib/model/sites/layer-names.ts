/**
 * Numbers the attention of each kind, captured or not, so that uncaptured attention shifts no name. Names captured
 * tensors as TransformerLens does.
 */

import type { RefusedSite, SiteKind } from '../candidate.js'
import type { Graph } from '../onnx/graph.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'
import { isCross, shareRows } from './search/ancestry.js'
import type { ResolvedSite } from './site.js'

/** Attention of the graph, reduced to what determines its name. */
interface Place {
  at: NodeProto
  /** The tensor that its queries are computed from. */
  query: string | undefined
  cross: boolean
  /** Undefined if it is not known. */
  causal: boolean | undefined
  name(layer: number, kind: SiteKind | undefined): void
}

export function nameLayers(
  graph: Graph,
  sites: readonly ResolvedSite[],
  refused: readonly RefusedSite[],
): void {
  const places = [...sites.map(placeOfSite), ...refused.map((site) => placeOfRefused(graph, site))]
  places.sort((a, b) => graph.indexOf(a.at) - graph.indexOf(b.at))
  const kinds = kindsOf(graph, places)
  const several = new Set(kinds).size > 1
  const counts = new Map<SiteKind, number>()
  places.forEach((place, i) => {
    const group = several ? kinds[i] : 'dec'
    const layer = counts.get(group) ?? 0
    counts.set(group, layer + 1)
    place.name(layer, several ? group : undefined)
  })
}

function placeOfSite(site: ResolvedSite): Place {
  return {
    at: site.candidate.product,
    query: site.query.tensor,
    cross: site.cross,
    causal: site.causal,
    name(layer, kind) {
      site.layer = layer
      if (kind) {
        site.kind = kind
      }
      const prefix = `${kind ? `${kind}.` : ''}blocks.${layer}.attn`
      site.hooks = site.rotary
        ? { q: `${prefix}.hook_rot_q`, k: `${prefix}.hook_rot_k` }
        : { q: `${prefix}.hook_q`, k: `${prefix}.hook_k` }
    },
  }
}

function placeOfRefused(graph: Graph, site: RefusedSite): Place {
  const [query, key] = site.at.input.filter((name) => name !== '' && !graph.isStatic(name))
  const product = ['MatMul', 'FusedMatMul', 'Einsum', 'Gemm'].includes(site.at.opType)
  const side = (tensor: string) => ({ tensor, length: 0 })
  return {
    at: site.at,
    query,
    cross: product && key !== undefined && isCross(graph, side(query), side(key)),
    causal: undefined,
    name(layer, kind) {
      site.layer = layer
      if (kind) {
        site.kind = kind
      }
    },
  }
}

/**
 * Kinds of attention. All cross attention is one kind. A stack of self attention is a decoder if any of its layers
 * masks later keys. Layers belong to one stack if each computes its rows from those of the layer before.
 */
function kindsOf(graph: Graph, places: readonly Place[]): SiteKind[] {
  const own = places.filter(({ cross }) => !cross)
  const mixed = new Set(own.map(({ causal }) => causal)).size > 1
  const causal = new Map<Place, boolean>()
  const nextTo = (index: number, step: 1 | -1) => {
    for (let i = index + step; i >= 0 && i < own.length; i += step) {
      if (own[i].causal !== undefined) {
        return own[i]
      }
    }
    return undefined
  }
  own.forEach((place, i) => {
    const neighbours = mixed && !place.causal ? [causalNear(own, i, -1), causalNear(own, i, 1)] : []
    const stack = neighbours.find((other) => other && sameStack(graph, place, other))
    causal.set(place, place.causal ?? stack?.causal ?? (nextTo(i, -1) ?? nextTo(i, 1))?.causal ?? false)
    if (stack) {
      causal.set(place, true)
    }
  })
  return places.map((place) => (place.cross ? 'cross' : causal.get(place) ? 'dec' : 'enc'))
}

/** The nearest layer of causal attention, before or after this one. */
function causalNear(own: readonly Place[], index: number, step: 1 | -1): Place | undefined {
  for (let i = index + step; i >= 0 && i < own.length; i += step) {
    if (own[i].causal) {
      return own[i]
    }
  }
  return undefined
}

function sameStack(graph: Graph, a: Place, b: Place): boolean {
  return a.query !== undefined && b.query !== undefined && shareRows(graph, a.query, b.query)
}
