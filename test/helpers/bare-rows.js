/** What the graph of reads makes of bare tokens: whole queries and keys, by directions that are the coordinates. */

import { readsGraph, siteStreams } from '../../dist/model/graphs/reads-graph.js'
import { tokenFeeds } from '../../dist/model/inference/inputs.js'
import { InferenceSession } from '../../dist/model/inference/session.js'
import { tensorValues } from '../../dist/model/inference/values.js'

export function streamsOf(model) {
  return siteStreams(model.graph, model.inputs.find(({ role }) => role === 'ids').name, model.sites)
}

/** By site, queries and keys of every token alone as flat numbers, [token, head, d], a key head for every query head. */
export async function bareRows(model, tokens) {
  const streams = streamsOf(model)
  const requests = model.sites.flatMap((site) =>
    ['query', 'key'].map((side) => {
      const heads = Array.from({ length: site.heads }, (_, h) => h)
      return { site, side, stream: streams.get(site)[side], heads, columns: site.headDim }
    }),
  )
  const graph = readsGraph(model.graph, requests)
  const { weightsFolder } = model.graph.model
  const session = await InferenceSession.open({ bytes: graph.bytes, weightsFolder, threads: 1 })
  const rows = requests.map(() => [])
  try {
    const inputs = model.inputs.filter(({ name }) => graph.inputs.includes(name))
    for (const token of tokens) {
      const feeds = tokenFeeds(inputs, [[token]], 0)
      requests.forEach(({ heads, columns: d }, i) => {
        const data = Float32Array.from({ length: heads.length * d * d }, (_, at) =>
          Number((at % (d * d)) % (d + 1) === 0),
        )
        feeds[graph.outputs[i].directions] = { type: 'float32', dims: [heads.length, d, d], data }
      })
      const found = await session.run(feeds)
      for (const [i, { projections }] of graph.outputs.entries()) {
        rows[i].push(...tensorValues(found[projections]))
      }
    }
  } finally {
    await session.close()
  }
  return model.sites.map((_, i) => ({ q: rows[2 * i], k: rows[2 * i + 1] }))
}
