/**
 * Finds where the residual stream enters the projections of an attention site: the tensor before the norm and before
 * W_Q or W_K. The search uses only the structure of the graph, so it works for every way in which exporters write
 * norms and projections.
 */

import { normalisesScores } from '../fused/lower.js'
import { type Graph, namesUsedBy } from '../onnx/graph.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'
import { PROJECTIONS } from '../sites/search/ancestry.js'

/** The stream before the projection of one side. */
export interface StreamTap {
  /** The stream itself: a sum of embeddings or of layer outputs. */
  tensor: string
  /**
   * The operator that both sums and normalises, if the graph has one. It outputs `tensor`, the sum, as well.
   */
  summing?: NodeProto
  /** Whether the stream is the token's own embedding. The model's graph then needs no change. */
  atEmbedding: boolean
  /** The norm between the stream and the projection. Absent in post-norm models. */
  norm?: 'LayerNorm' | 'RMSNorm'
}

/** The reason why there is no stream, in words that follow the name of a side. */
export interface NoTap {
  reason: string
}

/** The tensors that depend on the tokens' embeddings, and the nodes that look embeddings up. */
export interface TokenFlow {
  carries(tensor: string): boolean
  lookups: ReadonlySet<NodeProto>
}

/** Operations that leave the values of ids unchanged. */
const SAME_IDS = new Set([
  'Cast',
  'Reshape',
  'Slice',
  'Squeeze',
  'Unsqueeze',
  'Identity',
  'Transpose',
  'Flatten',
])

/** Operators that look up rows of a stored table, with the index of their input of ids. */
const LOOKUPS: Record<string, number> = { Gather: 1, GatherBlockQuantized: 1, EmbedLayerNormalization: 0 }

/** Follows the embeddings of the token ids through the graph; positions and masks are not followed. */
export function tokenFlow(graph: Graph, ids: string): TokenFlow {
  const lookups = lookupsOf(graph, ids)
  const carrying = new Set<string>()
  for (const node of graph.nodes) {
    if (!lookups.has(node) && !namesUsedBy(node).some((name) => carrying.has(name))) {
      continue
    }
    for (const name of node.output) {
      if (name && !graph.isStatic(name)) {
        carrying.add(name)
      }
    }
  }
  return { carries: (tensor) => carrying.has(tensor), lookups }
}

/** The nodes that look up the ids, directly or after operations of `SAME_IDS`. */
function lookupsOf(graph: Graph, ids: string): Set<NodeProto> {
  const lookups = new Set<NodeProto>()
  const same = new Set([ids])
  for (const name of same) {
    for (const node of graph.consumers.get(name) ?? []) {
      if (LOOKUPS[node.opType] !== undefined && node.input[LOOKUPS[node.opType]] === name) {
        lookups.add(node)
      } else if (SAME_IDS.has(node.opType) && node.input[0] === name) {
        same.add(node.output[0])
      }
    }
  }
  return lookups
}

/**
 * Walks from captured queries or keys towards the embeddings. The walk ends when one tensor is left that lies before
 * a projection and that a residual sum reads as well.
 */
export function streamTap(graph: Graph, flow: TokenFlow, captured: string): StreamTap | NoTap {
  if (!flow.carries(captured)) {
    return { reason: 'are not computed from the embeddings of tokens' }
  }
  const path = new Set<NodeProto>()
  const norms = new NormSeen(graph)
  let front = new Set([captured])
  let projected = false
  while (front.size > 0) {
    const [tensor] = front
    if (projected && front.size === 1 && isStream(graph, tensor, path)) {
      return { tensor, atEmbedding: fromLookupAlone(graph, flow, tensor), ...norms.found }
    }
    const node = last(graph, front)
    if (!node) {
      return { reason: 'depend on inputs of the graph that are no token ids' }
    }
    const cached = keysOfCache(node, front)
    if (!cached && mixes(graph, flow, node)) {
      return { reason: `are computed from other positions without a residual sum between (${nameOf(node)})` }
    }
    path.add(node)
    if (isProjection(graph, node)) {
      projected = true
      norms.clear()
    }
    norms.take(node)
    const rest = [...front].filter((name) => graph.producers.get(name) !== node)
    const summed = projected && rest.length === 0 ? sumOf(node, flow) : undefined
    if (summed) {
      return {
        tensor: summed,
        summing: node,
        atEmbedding: fromLookupAlone(graph, flow, summed),
        ...norms.found,
      }
    }
    const sources = cached ?? namesUsedBy(node)
    front = new Set([...rest, ...sources.filter((name) => flow.carries(name))])
  }
  if (!projected) {
    return { reason: 'are looked up, not projected' }
  }
  // The tensor is the embedding itself, which no residual sum reads: the output of the path's last lookup.
  return { tensor: [...path].at(-1)!.output[0], atEmbedding: true, ...norms.found }
}

/** The tensors of `wanted` on which a tensor depends, itself included. */
export function madeFrom(
  graph: Graph,
  flow: TokenFlow,
  tensor: string,
  wanted: ReadonlySet<string>,
): Set<string> {
  const seen = new Set([tensor])
  for (const name of seen) {
    const node = graph.producers.get(name)
    if (!node) {
      continue
    }
    // A node that sums and normalises outputs the sum as well.
    for (const other of node.output) {
      if (wanted.has(other)) {
        seen.add(other)
      }
    }
    for (const input of namesUsedBy(node)) {
      if (flow.carries(input)) {
        seen.add(input)
      }
    }
  }
  return new Set([...seen].filter((name) => wanted.has(name)))
}

const SUMS = new Set(['Add', 'Sum'])
const SKIP_NORMS = new Set(['SkipLayerNormalization', 'SkipSimplifiedLayerNormalization'])
/** Operations between a residual and its sum. */
const ON_THE_WAY = new Set(['Cast', 'Identity', 'Reshape', 'Transpose', 'Dropout', 'Mul'])
const STEPS_TO_SUM = 4

/** Whether a residual sum off the path reads the tensor. */
function isStream(graph: Graph, tensor: string, path: ReadonlySet<NodeProto>): boolean {
  let names = [tensor]
  for (let step = 0; step < STEPS_TO_SUM && names.length > 0; step++) {
    const users = names.flatMap((name) => graph.consumers.get(name) ?? []).filter((node) => !path.has(node))
    if (users.some(({ opType }) => SUMS.has(opType) || SKIP_NORMS.has(opType))) {
      return true
    }
    names = users.filter((node) => passesOn(graph, node)).map(({ output }) => output[0])
  }
  return false
}

/** A product counts only if one factor is a stored number, such as the weight of a residual. */
function passesOn(graph: Graph, node: NodeProto): boolean {
  return (
    ON_THE_WAY.has(node.opType) && (node.opType !== 'Mul' || node.input.some((name) => graph.isStatic(name)))
  )
}

/**
 * The sum that a normalising operator also outputs: its fourth output, or the third of an embedding operator.
 */
function sumOf(node: NodeProto, flow: TokenFlow): string | undefined {
  if (SKIP_NORMS.has(node.opType)) {
    return node.output[3] || undefined
  }
  return node.opType === 'EmbedLayerNormalization' && flow.lookups.has(node)
    ? node.output[2] || undefined
    : undefined
}

/** The input that an operator's cache of keys is computed from, if none of its other outputs is searched for. */
function keysOfCache(node: NodeProto, front: ReadonlySet<string>): string[] | undefined {
  if (node.opType !== 'GroupQueryAttention') {
    return undefined
  }
  const [attended, keys, values] = node.output
  if (!front.has(keys) || front.has(attended) || front.has(values)) {
    return undefined
  }
  // Queries, keys and values may be one packed tensor.
  return [node.input[1] || node.input[0]]
}

/** The node that makes one of the tensors and comes last in the graph. */
function last(graph: Graph, tensors: Iterable<string>): NodeProto | undefined {
  let found: NodeProto | undefined
  for (const name of tensors) {
    const node = graph.producers.get(name)
    if (node && (!found || graph.indexOf(node) > graph.indexOf(found))) {
      found = node
    }
  }
  return found
}

const PRODUCTS = new Set(['MatMul', 'FusedMatMul', 'Gemm', 'Einsum', 'MatMulInteger', 'QLinearMatMul'])
const RECURRENT = new Set(['Scan', 'Loop', 'LSTM', 'GRU', 'RNN'])

/** Whether a node mixes positions: attention and recurrence. */
function mixes(graph: Graph, flow: TokenFlow, node: NodeProto): boolean {
  if (normalisesScores(node) || RECURRENT.has(node.opType)) {
    return true
  }
  if (!PRODUCTS.has(node.opType)) {
    return false
  }
  const factors = new Set(
    node.input.filter((name) => flow.carries(name)).map((name) => graph.producers.get(name)),
  )
  return factors.size > 1
}

function isProjection(graph: Graph, node: NodeProto): boolean {
  return PROJECTIONS.has(node.opType) && node.input.some((name) => name !== '' && graph.isStatic(name))
}

function fromLookupAlone(graph: Graph, flow: TokenFlow, tensor: string): boolean {
  const seen = new Set([tensor])
  for (const name of seen) {
    const node = graph.producers.get(name)
    if (!node) {
      continue
    }
    if (mixes(graph, flow, node)) {
      return false
    }
    for (const input of namesUsedBy(node)) {
      if (flow.carries(input)) {
        seen.add(input)
      }
    }
  }
  return true
}

const nameOf = (node: NodeProto) => `${node.opType} "${node.name || node.output[0]}"`

const LAYER_NORMS = new Set(['LayerNormalization', 'SkipLayerNormalization', 'EmbedLayerNormalization'])
const RMS_NORMS = new Set([
  'SimplifiedLayerNormalization',
  'SkipSimplifiedLayerNormalization',
  'RMSNormalization',
])
const ROOTS = new Set(['Sqrt', 'Rsqrt', 'Pow', 'LpNormalization', 'Reciprocal'])
const MEANS = new Set(['ReduceMean', 'ReduceSum', 'ReduceSumSquare', 'ReduceL2', 'LpNormalization'])

/** Determines the kind of norm from the nodes between the stream and the last projection. */
class NormSeen {
  private nodes: NodeProto[] = []

  constructor(private readonly graph: Graph) {}

  clear(): void {
    this.nodes = []
  }

  take(node: NodeProto): void {
    this.nodes.push(node)
  }

  get found(): Pick<StreamTap, 'norm'> {
    const has = (ops: ReadonlySet<string>) => this.nodes.some(({ opType }) => ops.has(opType))
    if (has(LAYER_NORMS)) {
      return { norm: 'LayerNorm' }
    }
    if (has(RMS_NORMS)) {
      return { norm: 'RMSNorm' }
    }
    if (!has(ROOTS) || !has(MEANS)) {
      return {}
    }
    // Only a LayerNorm subtracts a mean.
    const takesMean = this.nodes.some(({ opType, input }) => {
      return opType === 'Sub' && this.graph.producers.get(input[1])?.opType === 'ReduceMean'
    })
    return { norm: takesMean ? 'LayerNorm' : 'RMSNorm' }
  }
}
