/** What can be asked of any opened model on a synthetic batch: is it captured, does attribution add up, do edits act? */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { attributeArrays, capture } from '../../dist/index.js'
import { layEdits } from '../../dist/intervention/edit-layout.js'
import { f16ToNumber } from '../../dist/math/tensor.js'
import { editGraph } from '../../dist/model/graphs/edit-graph.js'
import { probeFeeds, probeSizes } from '../../dist/model/inference/probe.js'
import { InferenceSession } from '../../dist/model/inference/session.js'
import { tensorValues } from '../../dist/model/inference/values.js'
import { GraphEditor } from '../../dist/model/onnx/graph-editor.js'
import { ModelProtoSchema, ValueInfoProtoSchema } from '../../dist/model/onnx/proto/onnx_pb.js'
import { identity, randomSubspace, zeros } from './edits.js'
import { relativeDifference } from './linear-algebra.js'

/** Feeds that the model runs on, and what was captured on them. */
export async function syntheticRun(model) {
  let failure
  for (const sizes of probeSizes(model.inputs)) {
    const feeds = probeFeeds(model.graph, model.inputs, sizes)
    const inputs = Object.fromEntries(
      Object.entries(feeds).map(([name, tensor]) => [
        name,
        { data: Array.from(tensorValues(tensor)), shape: tensor.dims },
      ]),
    )
    try {
      return { feeds, captured: await capture(model, { inputs }, { pattern: true }) }
    } catch (error) {
      failure = error
    }
  }
  throw failure
}

const numbers = ({ data, dtype }) => Array.from(data, dtype === 'f16' ? f16ToNumber : Number)

/** Rows of one sequence and head, [pos][d], of a captured [batch, pos, head, d]. */
function rowsOf(tensor, sequence, head) {
  const [, positions, heads, d] = tensor.shape
  const values = numbers(tensor)
  return Array.from({ length: positions }, (_, i) => {
    const at = ((sequence * positions + i) * heads + head) * d
    return values.slice(at, at + d)
  })
}

/**
 * How far the parts and the rest of captured scores are from adding up to them, relative to the row's largest; the
 * worst row of the first sequence, of every head.
 */
export function attributionGap(captured) {
  let worst = 0
  for (const { site, hooks } of captured.sites) {
    const { scale, heads, kvHeads, headDim: d } = site
    const { basis } = randomSubspace(d, Math.min(2, d), 5)
    for (let head = 0; head < heads; head++) {
      const q = rowsOf(captured.activations[hooks.q], 0, head)
      const k = rowsOf(captured.activations[hooks.k], 0, Math.floor((head * kvHeads) / heads))
      const repeated = Float64Array.from(q.flatMap(() => k.flat()))
      const { parts, rest } = attributeArrays({
        q: { data: Float64Array.from(q.flat()), shape: [q.length, d] },
        k: { data: repeated, shape: [q.length, k.length, d] },
        scale,
        features: [{ name: 'some', u: basis }],
        centered: false,
      })
      q.forEach((row, i) => {
        const scores = k.map((key) => scale * key.reduce((sum, x, c) => sum + x * row[c], 0))
        const sums = scores.map((_, j) => parts.some[i * k.length + j] + rest[i * k.length + j])
        worst = Math.max(worst, relativeDifference(sums, scores))
      })
    }
  }
  return worst
}

/**
 * What edits do to the model's first output on the first sequence: how much it changes by one of zero strength, and by
 * a swap, for all queries, of the two keys that the last of them attends to most. The worst site counts.
 */
export async function editEffect(model, { feeds, captured }) {
  const plain = await ownOutput(model, feeds)
  const effect = { unchanged: 0, moved: Number.POSITIVE_INFINITY }
  for (const [index, { hooks }] of captured.sites.entries()) {
    const item = strongestPair(captured.activations[hooks.pattern], plain.dims)
    const run = await openEdits(model, model.sites[index], feeds)
    const none = await run.with(item, zeros)
    const swapped = await run.with(item, identity)
    await run.close()
    effect.unchanged = Math.max(effect.unchanged, relativeDifference(none, plain.values))
    effect.moved = Math.min(effect.moved, relativeDifference(swapped, none))
  }
  return effect
}

/** An item on the two keys with the most attention of all heads. Rows of the output must exist as well. */
function strongestPair(pattern, outputDims) {
  const [, heads, queries, keys] = pattern.shape
  const query = Math.min(queries, outputDims.length > 2 ? outputDims[1] : queries) - 1
  const values = numbers(pattern)
  const attention = Array.from({ length: keys }, (_, j) => {
    let sum = 0
    for (let h = 0; h < heads; h++) {
      sum += values[(h * queries + query) * keys + j]
    }
    return sum
  })
  const [origin, target] = [...attention.keys()].sort((a, b) => attention[b] - attention[a])
  return { run: { kind: 'tokens', ids: Array(queries).fill(0) }, query, origin, target }
}

const outputName = (model) => model.graph.model.proto.graph.output[0].name

async function ownOutput(model, feeds) {
  const editor = new GraphEditor(model.graph)
  editor.output(outputName(model))
  const session = await openSession(model, editor.build().bytes)
  const needed = new Set(editor.build().inputs)
  try {
    const output = (await session.run(onlyThose(feeds, needed)))[outputName(model)]
    return { values: firstSequence(output), dims: output.dims }
  } finally {
    await session.close()
  }
}

/** The first sequence has no padding, where operators give what they like. */
const firstSequence = (output) => {
  const values = tensorValues(output)
  return values.subarray(0, values.length / (output.dims[0] ?? 1))
}

/** Runs the edit graph of one site, all heads edited alike, and gives the model's first output on one sequence. */
async function openEdits(model, site, feeds) {
  const heads = Array.from({ length: site.heads }, (_, h) => h)
  const output = outputName(model)
  const graph = editGraph(model.graph, [{ site, heads }], { output })
  const session = await openSession(model, withOutput(graph.bytes, output))
  const close = () => session.close()
  const run = async (item, makeProjection) => {
    /** @type {import('../../dist/intervention/edit-layout.js').EditShape} */
    const shape = { edit: 'swap', side: 'key', rows: 'all', factor: 1 }
    const { feeds: edits, slots } = layEdits([item], shape, [], 0)
    const d = site.headDim
    const [{ projection, added }] = graph.sites
    for (const side of ['query', 'key']) {
      const one = side === 'key' ? makeProjection(d) : zeros(d)
      const data = Float32Array.from(heads.flatMap(() => [...one]))
      edits[projection[side]] = { type: 'float32', dims: [1, heads.length, d, d], data }
      const dims = [slots[side], heads.length, d]
      edits[added[side]] = { type: 'float32', dims, data: new Float32Array(dims[0] * dims[1] * d) }
    }
    const outputs = await session.run(onlyThose({ ...feeds, ...edits }, new Set(graph.inputs)))
    return firstSequence(outputs[output])
  }
  return { with: run, close }
}

/** The edit graph gives rows of the output; this also gives all of it. */
function withOutput(bytes, name) {
  const proto = fromBinary(ModelProtoSchema, bytes)
  proto.graph.output.push(create(ValueInfoProtoSchema, { name }))
  return toBinary(ModelProtoSchema, proto)
}

const openSession = (model, bytes) =>
  InferenceSession.open({ bytes, weightsFolder: model.graph.model.weightsFolder, threads: 1 })

const onlyThose = (feeds, names) =>
  Object.fromEntries(Object.entries(feeds).filter(([name]) => names.has(name)))
