/** What an edit is, as inputs of the edit graph: projections on subspaces, and rows that are added. */

import type { EditGraph, EditRequest } from '../model/graphs/edit-graph.js'
import type { WireTensor } from '../model/inference/session.js'

/** Projections [d, d] by head, over the sites in turn; undefined leaves a head as it is. */
export type HeadProjections = readonly (Float32Array | undefined)[]

/** What is done to the rows of one side. */
export interface SideEdit {
  side: 'key' | 'query'
  strength: number
  /** One for all slots, or one a slot; undefined leaves all heads as they are. */
  projections: readonly (HeadProjections | undefined)[]
  /** Added to what slots take, by head. */
  means?: readonly Float64Array[]
}

/** Projections and added rows of every site; zero projections leave the model as it is. */
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
        // The first slot changes nothing, so nothing is added to it.
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
