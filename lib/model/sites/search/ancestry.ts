/**
 * Properties of the graph between the projections and the product: rotation, and whether both sides project the same
 * tensor.
 */

import type { SiteCandidate } from '../../candidate.js'
import type { Graph } from '../../onnx/graph.js'
import type { NodeProto } from '../../onnx/proto/onnx_pb.js'

export const PROJECTIONS = new Set([
  'MatMul',
  'Gemm',
  'MatMulNBits',
  'MatMulInteger',
  'MatMulIntegerToFloat',
  'DynamicQuantizeMatMul',
  'FusedMatMul',
  'Conv',
  'QLinearMatMul',
  'Einsum',
])
const MAX_ANCESTORS = 64

interface Ancestry {
  /** The nodes between a captured tensor and the projections behind it. */
  between: NodeProto[]
  projections: Set<NodeProto>
  /** The projected tensors. */
  sources: Set<string>
  /** Inputs of the graph that were reached without a projection. */
  inputs: Set<string>
}

function ancestry(graph: Graph, tensor: string): Ancestry {
  const between: NodeProto[] = []
  const projections = new Set<NodeProto>()
  const sources = new Set<string>()
  const reached = new Set<string>()
  const seen = new Set<string>()
  const visit = (name: string): string[] => {
    const node = graph.producers.get(name)
    if (!node) {
      reached.add(name)
      return []
    }
    // The quantisation step of activations depends on all of them, so it does not show where a tensor comes from.
    if (node.opType === 'DynamicQuantizeLinear' && name !== node.output[0]) {
      return []
    }
    const inputs = node.input.filter((input) => input !== '')
    if (PROJECTIONS.has(node.opType) && inputs.some((input) => graph.isWeight(input))) {
      projections.add(node)
      for (const input of inputs) {
        if (!graph.isStatic(input)) {
          sources.add(origin(graph, input))
        }
      }
      return []
    }
    between.push(node)
    return inputs
  }
  for (let front = [tensor]; front.length > 0 && between.length < MAX_ANCESTORS; ) {
    const next: string[] = []
    for (const name of front) {
      if (seen.has(name) || graph.isStatic(name)) {
        continue
      }
      seen.add(name)
      next.push(...visit(name))
    }
    front = next
  }
  return { between, projections, sources, inputs: reached }
}

/** Operations that output the values of their first input, in another shape or precision. */
const SAME_VALUES = new Set([
  'Cast',
  'Identity',
  'Reshape',
  'Transpose',
  'Dropout',
  'Unsqueeze',
  'Squeeze',
  'Flatten',
  'QuantizeLinear',
  'DequantizeLinear',
  'DynamicQuantizeLinear',
])

/** The tensor before such operations. Two projections may each reshape or quantise a tensor that they share. */
function origin(graph: Graph, tensor: string): string {
  let name = tensor
  for (;;) {
    const node = graph.producers.get(name)
    if (!node || !SAME_VALUES.has(node.opType)) {
      return name
    }
    name = node.input[0]
  }
}

/**
 * Whether attention is cross attention: queries and keys are projections of different sequences. Projections of
 * different tensors may still be of one sequence: low-rank queries and keys (MLA) are each projected twice. If one
 * side was projected in another graph (keys from an encoder), the two come from different inputs and differ in number.
 */
export function isCross(
  graph: Graph,
  query: { tensor: string; length: number },
  key: { tensor: string; length: number },
): boolean {
  const [own, other] = [query, key].map(({ tensor }) => ancestry(graph, tensor))
  const apart = (a: Set<string>, b: Set<string>) => a.size > 0 && b.size > 0 && [...a].every((s) => !b.has(s))
  if (own.sources.size > 0 && other.sources.size > 0) {
    return apart(own.sources, other.sources) && !shareRows(graph, query.tensor, key.tensor)
  }
  // Learned queries are not computed from any input.
  if (graph.isStatic(query.tensor) !== graph.isStatic(key.tensor)) {
    return true
  }
  if (query.length === key.length) {
    return false
  }
  const from = ({ sources, inputs }: Ancestry) => (sources.size > 0 ? sources : inputs)
  return apart(from(own), from(other))
}

/** Most tensors that the search for a common ancestor visits. */
const MAX_ROW_ANCESTORS = 2048

/** Whether two tensors are computed, row by row, from a common tensor. */
export function shareRows(graph: Graph, a: string, b: string): boolean {
  const own = new Set(rowAncestors(graph, a))
  for (const tensor of rowAncestors(graph, b)) {
    if (own.has(tensor)) {
      return true
    }
  }
  return false
}

/**
 * The tensors from which a tensor is computed row by row, through projections, norms, rotations and residual sums. The
 * walk stops at attention, a product of two computed tensors, which mixes the rows of sequences. It also stops at a
 * table of embeddings, which several sequences may share.
 */
function* rowAncestors(graph: Graph, tensor: string): Generator<string> {
  const seen = new Set<string>([tensor])
  for (const name of seen) {
    if (seen.size > MAX_ROW_ANCESTORS) {
      return
    }
    const node = graph.producers.get(name)
    if (!node) {
      continue
    }
    yield name
    const computed = node.input.filter((input) => input !== '' && !graph.isStatic(input))
    const mixes = ['MatMul', 'FusedMatMul', 'Einsum', 'Gemm'].includes(node.opType) && computed.length > 1
    const looksUp = node.opType === 'Gather' && graph.isWeight(node.input[0])
    if (mixes || looksUp) {
      continue
    }
    for (const input of computed) {
      seen.add(input)
    }
  }
}

/** Nodes between product and softmax that add terms computed from the projections of the queries or of the keys. */
export function uncoveredTerms(graph: Graph, { steps }: SiteCandidate, query: string, key: string): string[] {
  const own = new Set([query, key].flatMap((tensor) => [...ancestry(graph, tensor).projections]))
  return steps.flatMap(({ node, chain }) => {
    // Multiplications are followed as factors.
    if (node.opType === 'Mul' || node.opType === 'Div') {
      return []
    }
    // Subtracting the largest score of a row only limits the range of values, and changes no attention.
    const shifts = (name: string) => graph.producers.get(name)?.opType === 'ReduceMax'
    const added = node.input.filter(
      (name, i) => i !== chain && name !== '' && !graph.isStatic(name) && !shifts(name),
    )
    return added.some((name) => comesFrom(graph, name, own)) ? [node.name || node.output[0]] : []
  })
}

function comesFrom(graph: Graph, tensor: string, nodes: ReadonlySet<NodeProto>): boolean {
  const seen = new Set<NodeProto>()
  for (let front = [tensor]; front.length > 0 && seen.size < MAX_ANCESTORS; ) {
    const next: string[] = []
    for (const name of front) {
      const node = graph.producers.get(name)
      // A mask may take its shape from the scores.
      if (!node || seen.has(node) || graph.isStatic(name)) {
        continue
      }
      if (nodes.has(node)) {
        return true
      }
      seen.add(node)
      next.push(...node.input.filter((input) => input !== ''))
    }
    front = next
  }
  return false
}

/**
 * Whether there is a rotation by position: halves or pairs are negated and swapped between the projection and the
 * product.
 */
export function isRotary(graph: Graph, tensor: string): boolean {
  const ops = new Set(ancestry(graph, tensor).between.map((node) => node.opType))
  if (ops.has('RotaryEmbedding')) {
    return true
  }
  return ops.has('Mul') && ops.has('Concat') && (ops.has('Neg') || ops.has('Sub'))
}
