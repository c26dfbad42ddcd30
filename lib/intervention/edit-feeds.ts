/** Converts an edit to inputs of the edit graph: projections on subspaces, and rows that are added. */

import type { EditGraph, EditRequest } from '../model/graphs/edit-graph.js'
import type { WireTensor } from '../model/inference/session.js'

/** Projections [d, d] by head, over the sites in turn; undefined for a head that is not edited. */
export type HeadProjections = readonly (Float32Array | undefined)[]

/** The edit of the rows of one side. */
export interface SideEdit {
  side: 'key' | 'query'
  strength: number
  /** One for all slots, or one per slot; undefined if no head is edited. */
  projections: readonly (HeadProjections | undefined)[]
  /** Added to what slots take, by head. */
  means?: readonly Float64Array[]
}

/** Projections and added rows of every site. Zero projections leave the model unchanged. */
export function siteFeeds(
  graph: EditGraph,
  requests: readonly EditRequest[],
  slots: { query: number; key: number },
  { side, strength, projections, means }: SideEdit,
): Record<string, WireTensor> {
  const feeds: Record<string, WireTensor> = {}
  let first = 0
  requests.forEach(({ site, heads }, index) => {
    const d = site.headDim
    for (const which of ['query', 'key'] as const) {
      const edited = which === side ? projections : [undefined]
      const projection = new Float32Array(edited.length * heads.length * d * d)
      const added = new Float32Array(slots[which] * heads.length * d)
      edited.forEach((byHead, s) => {
        heads.forEach((_, h) => {
          byHead?.[first + h]?.forEach((x, i) => {
            projection[(s * heads.length + h) * d * d + i] = strength * x
          })
        })
      })
      heads.forEach((_, h) => {
        const mean = which === side ? means?.[first + h] : undefined
        // Nothing is added to the first slot, which changes nothing.
        for (let s = 1; mean && s < slots[which]; s++) {
          added.set(mean, (s * heads.length + h) * d)
        }
      })
      feeds[graph.sites[index].projection[which]] = {
        type: 'float32',
        dims: [edited.length, heads.length, d, d],
        data: projection,
      }
      feeds[graph.sites[index].added[which]] = {
        type: 'float32',
        dims: [slots[which], heads.length, d],
        data: added,
      }
    }
    first += heads.length
  })
  return feeds
}
