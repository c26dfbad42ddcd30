/** Runs single edits inside a model, close to the graph, so that patterns and outputs can be compared in full. */

import { layEdits } from '../../dist/intervention/edit-layout.js'
import { seededRandom } from '../../dist/math/random.js'
import { fullCaptureGraph } from '../../dist/model/graphs/capture-graph.js'
import { editGraph } from '../../dist/model/graphs/edit-graph.js'
import { tokenFeeds } from '../../dist/model/inference/inputs.js'
import { InferenceSession } from '../../dist/model/inference/session.js'
import { tensorValues } from '../../dist/model/inference/values.js'
import { GraphEditor } from '../../dist/model/onnx/graph-editor.js'

export const zeros = (d) => new Float32Array(d * d)
export const identity = (d) => Float32Array.from({ length: d * d }, (_, i) => Number(i % (d + 1) === 0))

/** A projection on a random subspace, [d, d], and its basis. */
export function randomSubspace(d, rank, seed) {
  const random = seededRandom(seed)
  const basis = []
  while (basis.length < rank) {
    let v = Array.from({ length: d }, () => random.normal())
    for (const b of basis) {
      const along = v.reduce((s, x, i) => s + x * b[i], 0)
      v = v.map((x, i) => x - along * b[i])
    }
    const norm = Math.hypot(...v)
    basis.push(v.map((x) => x / norm))
  }
  const projection = Float32Array.from({ length: d * d }, (_, at) =>
    basis.reduce((s, b) => s + b[Math.floor(at / d)] * b[at % d], 0),
  )
  const data = Float64Array.from({ length: d * rank }, (_, at) => basis[at % rank][Math.floor(at / rank)])
  return { projection, basis: { data, shape: [d, rank] } }
}

/** A prompt of random tokens as one item: the last token looks from `origin` to `target`. */
export function tokenItem(
  length,
  { origin = 1, target = 2, seed = 1, vocabulary = 20, query = length - 1 } = {},
) {
  const random = seededRandom(seed)
  const ids = Array.from({ length }, () => 3 + random.below(vocabulary - 3))
  return { where: `item ${seed}`, prompt: seed, run: { kind: 'tokens', ids }, query, origin, target }
}

/** Puts one row a head, [head][d], into every slot of rows [slots, heads, d] but the first, which edits nothing. */
function addToSlots(rows, added, slots, d) {
  for (let slot = 1; slot < slots; slot++) {
    added.forEach((row, h) => {
      rows.set(row, (slot * added.length + h) * d)
    })
  }
}

/**
 * A function that runs items with one edit. `requests` are [layer, heads]; `projections[site][head]` are [d, d].
 * It gives pattern[site] as [item][head] rows over keys, and the logits of each item.
 */
export async function editor(model, requests) {
  const sites = requests.map(([layer, heads]) => ({ site: model.sites[layer], heads }))
  const graph = editGraph(model.graph, sites)
  const session = await InferenceSession.open({
    bytes: graph.bytes,
    weightsFolder: model.graph.model.weightsFolder,
    threads: 1,
  })
  const run = async (items, shape, projections, added) => {
    const full = { edit: 'swap', side: 'key', rows: 'query', factor: 1, ...shape }
    const { feeds, slots } = layEdits(items, full, model.inputs, 0)
    sites.forEach(({ site: { headDim: d }, heads }, s) => {
      for (const side of ['query', 'key']) {
        const isEdited = side === full.side
        const data = new Float32Array(heads.length * d * d)
        const rows = new Float32Array(slots[side] * heads.length * d)
        if (isEdited) {
          heads.forEach((_, h) => {
            data.set(projections[s][h], h * d * d)
          })
        }
        if (isEdited && added) {
          addToSlots(rows, added[s], slots[side], d)
        }
        const { projection, added: addition } = graph.sites[s]
        feeds[projection[side]] = { type: 'float32', dims: [1, heads.length, d, d], data }
        feeds[addition[side]] = { type: 'float32', dims: [slots[side], heads.length, d], data: rows }
      }
    })
    const wanted = Object.fromEntries(Object.entries(feeds).filter(([name]) => graph.inputs.includes(name)))
    const outputs = await session.run(wanted)
    const patterns = graph.sites.map(({ pattern }, s) => {
      const data = tensorValues(outputs[pattern])
      const [n, , keys] = outputs[pattern].dims
      return Array.from({ length: n }, (_, r) =>
        sites[s].heads.map((__, h) => {
          const from = (r * sites[s].heads.length + h) * keys
          return Array.from(data.subarray(from, from + keys))
        }),
      )
    })
    // Models that do not declare the shape of their output have no logits to report.
    if (!graph.logits) {
      return { patterns }
    }
    const [, vocabulary] = outputs[graph.logits].dims
    const data = tensorValues(outputs[graph.logits])
    const logits = items.map((_, r) => Array.from(data.subarray(r * vocabulary, (r + 1) * vocabulary)))
    return { patterns, logits }
  }
  return { run, close: () => session.close() }
}

/** The untouched model's logits at the queries of the items, one by one. */
export async function plainLogits(model, items) {
  const output = model.graph.model.proto.graph.output[0].name
  const { bytes } = (() => {
    const plain = new GraphEditor(model.graph)
    plain.output(output)
    return plain.build()
  })()
  const { weightsFolder } = model.graph.model
  const session = await InferenceSession.open({ bytes, weightsFolder, threads: 1 })
  try {
    const rows = []
    for (const { run, query } of items) {
      const logits = (await session.run(tokenFeeds(model.inputs, [run.ids], 0)))[output]
      const [, , vocabulary] = logits.dims
      rows.push(Array.from(tensorValues(logits).subarray(query * vocabulary, (query + 1) * vocabulary)))
    }
    return rows
  } finally {
    await session.close()
  }
}

/** Query and key rows of one item in one head, in float64: { q [d], k [keys][d] }. */
export async function capturedRows(model, layer, head, { run, query }) {
  const site = model.sites[layer]
  const key = Math.floor((head * site.kvHeads) / site.heads)
  const { bytes, outputs, inputs } = fullCaptureGraph(model.graph, [{ site, heads: [head], kvHeads: [key] }])
  const { weightsFolder } = model.graph.model
  const session = await InferenceSession.open({ bytes, weightsFolder, threads: 1 })
  try {
    const feeds = tokenFeeds(
      model.inputs.filter((i) => inputs.includes(i.name)),
      [run.ids],
      0,
    )
    const found = await session.run(feeds)
    const d = site.headDim
    const row = (tensor, i) => Array.from(tensorValues(tensor).subarray(i * d, (i + 1) * d))
    return {
      q: row(found[outputs[0].q], query),
      k: run.ids.map((_, j) => row(found[outputs[0].k], j)),
    }
  } finally {
    await session.close()
  }
}
