/**
 * Element types and ranks of tensors, as far as a graph tells them without being run: by its declarations, and by
 * what the operators in between do to a type or a rank.
 */

import type { Graph } from './graph.js'
import { ElementType } from './node-writer.js'
import type { NodeProto, TypeProto } from './onnx_pb.js'

const MAX_STEPS = 64

/** ONNX's number of the element type, or undefined where it cannot be told. */
export function typeOf(graph: Graph, tensor: string): number | undefined {
  let name = tensor
  for (let i = 0; i < MAX_STEPS; i++) {
    const declared = graph.initializers.get(name)?.dataType ?? tensorType(graph, name)?.elemType
    if (declared) return declared
    const node = graph.producers.get(name)
    if (!node) return undefined
    const next = typeSource(graph, node)
    if (next === undefined || typeof next === 'number') return next
    name = next
  }
  return undefined
}

const BOOLEAN = new Set([
  'And',
  'Or',
  'Not',
  'Xor',
  'Equal',
  'Less',
  'LessOrEqual',
  'Greater',
  'GreaterOrEqual',
  'IsNaN',
  'IsInf',
])
const INT64 = new Set(['Shape', 'Size', 'ArgMax', 'ArgMin', 'NonZero'])
/** The input whose element type the output has, where it is not the first. */
const TYPE_INPUT: Record<string, number> = {
  Where: 1,
  CastLike: 1,
  DequantizeLinear: 1,
  Gather: 0,
  OneHot: 2,
}

/** The element type of a node's output, or the input that has it. */
function typeSource(graph: Graph, node: NodeProto): number | string | undefined {
  const { opType } = node
  if (BOOLEAN.has(opType)) return ElementType.bool
  if (INT64.has(opType)) return ElementType.int64
  if (opType === 'Cast') return graph.int(node, 'to', 0) || undefined
  if (opType === 'Constant') return constantType(graph, node)
  if (opType === 'ConstantOfShape') return graph.attribute(node, 'value')?.t?.dataType ?? ElementType.float
  return node.input[TYPE_INPUT[opType] ?? 0] || undefined
}

function constantType(graph: Graph, node: NodeProto): number | undefined {
  const tensor = graph.attribute(node, 'value')?.t
  if (tensor) return tensor.dataType
  if (graph.attribute(node, 'value_float') || graph.attribute(node, 'value_floats')) return ElementType.float
  return graph.attribute(node, 'value_int') || graph.attribute(node, 'value_ints')
    ? ElementType.int64
    : undefined
}

/** What has been found of tensors, and with how many steps; without it, paths through sums would multiply. */
type Ranks = Map<string, { rank: number | undefined; steps: number }>

/** Number of axes, or undefined where it cannot be told. */
export function rankOf(graph: Graph, tensor: string): number | undefined {
  return rankWithin(graph, tensor, MAX_STEPS, new Map())
}

function rankWithin(graph: Graph, tensor: string, steps: number, ranks: Ranks): number | undefined {
  const found = ranks.get(tensor)
  if (found && (found.rank !== undefined || found.steps >= steps)) return found.rank
  const rank = dimsOf(graph, tensor)?.length ?? rankByProducer(graph, tensor, steps, ranks)
  ranks.set(tensor, { rank, steps })
  return rank
}

/** Declared sizes: numbers where they are fixed, undefined where they are free. */
export function dimsOf(graph: Graph, tensor: string): (number | undefined)[] | undefined {
  const node = graph.producers.get(tensor)
  const constant =
    graph.initializers.get(tensor) ??
    (node?.opType === 'Constant' ? graph.attribute(node, 'value')?.t : undefined)
  if (constant) return constant.dims.map(Number)
  return tensorType(graph, tensor)?.shape?.dim.map((d) =>
    d.value.case === 'dimValue' ? Number(d.value.value) : undefined,
  )
}

function rankByProducer(graph: Graph, tensor: string, steps: number, ranks: Ranks): number | undefined {
  const node = graph.producers.get(tensor)
  if (!node || steps === 0) return undefined
  const known = (name: string) => rankWithin(graph, name, steps - 1, ranks)
  switch (node.opType) {
    case 'Transpose':
      return graph.ints(node, 'perm')?.length ?? known(node.input[0])
    case 'Reshape':
      return graph.constantInts(node.input[1])?.length ?? shapeLength(graph, node.input[1])
    case 'Add':
    case 'Mul':
    case 'Sub':
    case 'Div':
    case 'MatMul':
    case 'Where': {
      const ranks = node.input.map(known)
      return ranks.some((rank) => rank === undefined) ? undefined : Math.max(...(ranks as number[]))
    }
    case 'Gather': {
      const [data, indices] = node.input.map(known)
      return data === undefined || indices === undefined ? undefined : data + indices - 1
    }
    case 'Unsqueeze':
    case 'Squeeze': {
      const inner = known(node.input[0])
      const axes = graph.ints(node, 'axes') ?? graph.constantInts(node.input[1] ?? '')
      if (inner === undefined || !axes) return undefined
      return node.opType === 'Unsqueeze' ? inner + axes.length : inner - axes.length
    }
    case 'Gemm':
      return 2
    case 'Cast':
    case 'Identity':
    case 'Dropout':
    case 'LayerNormalization':
    case 'SimplifiedLayerNormalization':
    case 'SkipLayerNormalization':
    case 'SkipSimplifiedLayerNormalization':
    case 'RotaryEmbedding':
    case 'MatMulNBits':
    case 'Slice':
    case 'Split':
    case 'Concat':
    case 'Clip':
    case 'Softmax':
      return known(node.input[0])
    default:
      return undefined
  }
}

/** Length of a shape that is put together by Concat: of one number each, or of shapes of known length. */
function shapeLength(graph: Graph, shape: string): number | undefined {
  const node = graph.producers.get(shape)
  if (node?.opType !== 'Concat') return undefined
  let length = 0
  for (const name of node.input) {
    const part = graph.constantInts(name)?.length ?? (unsqueezed(graph, name) ? 1 : undefined)
    if (part === undefined) return undefined
    length += part
  }
  return length
}

function unsqueezed(graph: Graph, name: string): boolean {
  const node = graph.producers.get(name)
  if (node?.opType === 'Gather') {
    return (
      graph.producers.get(node.input[0])?.opType === 'Shape' &&
      graph.constantInts(node.input[1])?.length === 1
    )
  }
  return node?.opType === 'Unsqueeze' || node?.opType === 'Reshape'
}

function tensorType(graph: Graph, name: string) {
  const type: TypeProto | undefined = graph.declaredTypes.get(name)
  return type?.value.case === 'tensorType' ? type.value.value : undefined
}
