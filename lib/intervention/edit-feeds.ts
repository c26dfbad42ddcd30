/** What an edit is, as inputs of the edit graph: projections on subspaces, and rows that are added. */

import type { EditGraph, EditRequest } from '../model/graphs/edit-graph.js'
import type { WireTensor } from '../model/inference/session.js'

/** Projections and added rows of every site; zero projections leave the model as it is. */
export function siteFeeds(
  graph: EditGraph,
  requests: readonly EditRequest[],
  slots: { query: number; key: number },
  edit: {
    side: 'key' | 'query'
    strength: number
    projections: readonly Float32Array[] | undefined
    means: readonly Float64Array[] | undefined
  },
): Record<string, WireTensor> {
  const feeds: Record<string, WireTensor> = {}
  let first = 0
  requests.forEach(({ site, heads }, index) => {
    const d = site.headDim
    for (const which of ['query', 'key'] as const) {
      const projection = new Float32Array(heads.length * d * d)
      const added = new Float32Array(slots[which] * heads.length * d)
      if (which === edit.side) {
        heads.forEach((_, h) => {
          const own = edit.projections?.[first + h]
          own?.forEach((x, i) => {
            projection[h * d * d + i] = edit.strength * x
          })
          const mean = edit.means?.[first + h]
          // The first slot changes nothing, so nothing is added to it.
          for (let s = 1; mean && s < slots[which]; s++) added.set(mean, (s * heads.length + h) * d)
        })
      }
      feeds[graph.sites[index].projection[which]] = {
        type: 'float32',
        dims: [heads.length, d, d],
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
