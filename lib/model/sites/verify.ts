/**
 * Recomputes a site's scores from captured queries and keys, by the model's own steps of scale, cap and
 * mask, and compares them with the scores that went into the model's softmax (design: contract 3).
 */

import { fullCaptureGraph } from '../capture-graph.js'
import { InferenceSession, type WireTensor } from '../inference/session.js'
import type { Graph } from '../onnx/graph.js'
import type { NodeProto } from '../onnx/onnx_pb.js'
import { broadcast, type NdArray, transpose } from './ndarray.js'
import type { ResolvedSite } from './site.js'
import { MASKED_BELOW } from './survey.js'
import { tensorValues } from './values.js'

export interface Verification {
  /** ||S - S'||_F / ||S||_F over unmasked entries; NaN where a step could not be recomputed. */
  relativeError: number
  /** Whether the captured queries and keys are finite. */
  finite: boolean
  /**
   * Every how many captured key heads differ. More than 1 where heads were repeated by operations that
   * could not be followed.
   */
  keyStride: number
  /** Element type of the captured queries. */
  dtype: 'f32' | 'f16'
}

/** Runs a batch with every row and the scores fetched, and checks each site. */
export async function verifySites(
  graph: Graph,
  sites: readonly ResolvedSite[],
  feeds: Record<string, WireTensor>,
  threads: number,
): Promise<Verification[]> {
  const capture = fullCaptureGraph(
    graph,
    sites.map((site) => ({ site })),
    sites.flatMap((site) => scoreTensors(graph, site)),
  )
  const { weightsFolder } = graph.model
  const session = await InferenceSession.open({ bytes: capture.bytes, weightsFolder, threads })
  try {
    const needed = Object.fromEntries(capture.inputs.map((name) => [name, feeds[name]] as const))
    const run = await session.run(needed)
    return sites.map((site, i) => {
      const values = (name: string): NdArray => ({ data: tensorValues(run[name]), shape: run[name].dims })
      const { q, k } = capture.outputs[i]
      const checked = verifySite(graph, site, values(q), values(k), values)
      return { ...checked, dtype: run[q].type === 'float16' ? 'f16' : 'f32' }
    })
  } finally {
    await session.close()
  }
}

/** Everything besides queries and keys that the recomputation reads. */
function scoreTensors(graph: Graph, site: ResolvedSite): string[] {
  const { steps, softmaxInput } = site.candidate
  const operands = steps.flatMap(({ node, chain }) =>
    reshapes(node) || passes(node) ? [] : node.input.filter((name, i) => i !== chain && name !== ''),
  )
  // Steps that reshape, and the product itself, are fetched for their shapes.
  const shaped = steps.filter(({ node }) => reshapes(node)).map(({ node }) => node.output[0])
  const fetched = [softmaxInput, site.candidate.product.output[0], ...operands, ...shaped]
  return [...new Set(fetched)].filter((name) => graph.producers.has(name) || graph.initializers.has(name))
}

const reshapes = (node: NodeProto) =>
  ['Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Transpose'].includes(node.opType)
const passes = (node: NodeProto) => ['Cast', 'CastLike', 'Identity', 'Dropout'].includes(node.opType)

function verifySite(
  graph: Graph,
  site: ResolvedSite,
  q: NdArray,
  k: NdArray,
  values: (name: string) => NdArray,
): Omit<Verification, 'dtype'> {
  const { candidate } = site
  let scores: NdArray | undefined = product(site, q, k, values(candidate.product.output[0]).shape)
  for (const { node, chain } of candidate.steps) {
    scores = applyStep(graph, node, chain, scores, values)
    if (!scores) break
  }
  return {
    relativeError: scores ? relativeError(values(candidate.softmaxInput).data, scores.data) : Number.NaN,
    finite: q.data.every(Number.isFinite) && k.data.every(Number.isFinite),
    keyStride: keyStride(k),
  }
}

/** operandScale * q k^T with the axes in the order of the product's output. */
function product(site: ResolvedSite, q: NdArray, k: NdArray, shape: readonly number[]): NdArray {
  const [, queries, heads, d] = q.shape
  const [, keys, keyHeads] = k.shape
  const perKeyHead = heads / keyHeads
  const data = new Float64Array(shape.reduce((a, b) => a * b, 1))
  const index = shape.map(() => 0)
  for (let at = 0; at < data.length; at++) {
    let b = 0
    let h = 0
    let i = 0
    let j = 0
    site.productAxes.forEach((axis, n) => {
      if (axis === 'batch') b = index[n]
      else if (axis === 'head' || axis === 'group') h = h * shape[n] + index[n]
      else if (axis === 'queryPos') i = index[n]
      else if (axis === 'keyPos') j = index[n]
    })
    const qAt = ((b * queries + i) * heads + h) * d
    const kAt = ((b * keys + j) * keyHeads + Math.floor(h / perKeyHead)) * d
    let sum = 0
    for (let c = 0; c < d; c++) sum += q.data[qAt + c] * k.data[kAt + c]
    data[at] = site.operandScale * sum
    for (let n = shape.length - 1; n >= 0 && ++index[n] === shape[n]; n--) index[n] = 0
  }
  return { data, shape }
}

function applyStep(
  graph: Graph,
  node: NodeProto,
  chain: number,
  x: NdArray,
  values: (name: string) => NdArray,
): NdArray | undefined {
  if (passes(node)) return x
  if (node.opType === 'Transpose') return transpose(x, graph.ints(node, 'perm'))
  if (reshapes(node)) return { data: x.data, shape: values(node.output[0]).shape }
  const operand = (i: number) => (i === chain ? x : values(node.input[i]))
  switch (node.opType) {
    case 'Add':
    case 'Sum':
      return node.input.map((_, i) => operand(i)).reduce((a, b) => broadcast((p, r) => p + r, a, b))
    case 'Sub':
      return broadcast((a, b) => a - b, operand(0), operand(1))
    case 'Mul':
      return broadcast((a, b) => a * b, operand(0), operand(1))
    case 'Div':
      return broadcast((a, b) => a / b, operand(0), operand(1))
    case 'Max':
      return broadcast(Math.max, operand(0), operand(1))
    case 'Min':
      return broadcast(Math.min, operand(0), operand(1))
    case 'Neg':
      return { ...x, data: x.data.map((v) => -v) }
    case 'Tanh':
      return { ...x, data: x.data.map(Math.tanh) }
    case 'Clip':
      return clip(node, x, values)
    case 'Where': {
      const [condition, yes, no] = [0, 1, 2].map(operand)
      // Two passes keep `broadcast` binary: the marker is a value that no score takes.
      const picked = broadcast((c, y) => (c ? y : Number.NaN), condition, yes)
      return broadcast((p, n) => (Number.isNaN(p) ? n : p), picked, no)
    }
    default:
      return undefined
  }
}

function clip(node: NodeProto, x: NdArray, values: (name: string) => NdArray): NdArray {
  const bound = (i: number, fallback: number) => (node.input[i] ? values(node.input[i]).data[0] : fallback)
  const low = bound(1, Number.NEGATIVE_INFINITY)
  const high = bound(2, Number.POSITIVE_INFINITY)
  return { ...x, data: x.data.map((v) => Math.min(high, Math.max(low, v))) }
}

function relativeError(expected: Float64Array, actual: Float64Array): number {
  let difference = 0
  let total = 0
  for (let i = 0; i < expected.length; i++) {
    if (expected[i] <= MASKED_BELOW) continue
    difference += (expected[i] - actual[i]) ** 2
    total += expected[i] ** 2
  }
  if (total === 0) return difference === 0 ? 0 : Number.POSITIVE_INFINITY
  return Math.sqrt(difference / total)
}

/** The largest stride by which equal heads stand side by side, for every row. */
function keyStride(k: NdArray): number {
  const [batch, keys, heads, d] = k.shape
  const same = (h: number, g: number) => {
    for (let row = 0; row < batch * keys; row++) {
      for (let c = 0; c < d; c++) {
        if (k.data[(row * heads + h) * d + c] !== k.data[(row * heads + g) * d + c]) return false
      }
    }
    return true
  }
  for (let stride = heads; stride > 1; stride--) {
    if (heads % stride !== 0) continue
    let repeated = true
    for (let h = 0; h < heads && repeated; h++) repeated = same(h, h - (h % stride))
    if (repeated) return stride
  }
  return 1
}
