/**
 * Element types and ranks of tensors, as far as a graph determines them without a run. They follow from declarations
 * and inputs, and from what every operator does to a type or a rank.
 */

import type { Graph } from './graph.js'
import { ElementType } from './node-writer.js'
import type { NodeProto } from './proto/onnx_pb.js'

interface StaticType {
  /** ONNX's number of the element type. */
  type: number | undefined
  rank: number | undefined
}

const UNKNOWN: StaticType = { type: undefined, rank: undefined }
const inferred = new WeakMap<Graph, Map<string, StaticType>>()

/** ONNX's number of the element type. Undefined if it is not determined. */
export function typeOf(graph: Graph, tensor: string): number | undefined {
  return typesOf(graph).get(tensor)?.type
}

/** Number of axes. Undefined if it is not determined. */
export function rankOf(graph: Graph, tensor: string): number | undefined {
  return typesOf(graph).get(tensor)?.rank
}

/** Types of all tensors, in one pass over the nodes in topological order. */
function typesOf(graph: Graph): Map<string, StaticType> {
  let types = inferred.get(graph)
  if (types) {
    return types
  }
  types = new Map()
  for (const [name, { dataType, dims }] of graph.initializers) {
    types.set(name, { type: dataType, rank: dims.length })
  }
  for (const name of graph.declaredTypes.keys()) {
    if (!types.has(name)) {
      types.set(name, declared(graph, name))
    }
  }
  for (const node of graph.nodes) {
    const inputs = node.input.map((name) => types!.get(name) ?? UNKNOWN)
    const found = { type: outputType(graph, node, inputs), rank: outputRank(graph, node, inputs) }
    for (const name of node.output) {
      const stated = types.get(name) ?? UNKNOWN
      types.set(name, { type: stated.type ?? found.type, rank: stated.rank ?? found.rank })
    }
  }
  inferred.set(graph, types)
  return types
}

function declared(graph: Graph, name: string): StaticType {
  const value = graph.declaredTypes.get(name)?.value
  if (value?.case !== 'tensorType') {
    return UNKNOWN
  }
  return { type: value.value.elemType || undefined, rank: value.value.shape?.dim.length }
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
/** The input that determines the output's element type, if it is not the first. */
const TYPE_INPUT: Record<string, number> = { Where: 1, CastLike: 1, DequantizeLinear: 1, OneHot: 2 }

function outputType(graph: Graph, node: NodeProto, inputs: readonly StaticType[]): number | undefined {
  const { opType } = node
  if (BOOLEAN.has(opType)) {
    return ElementType.bool
  }
  if (INT64.has(opType)) {
    return ElementType.int64
  }
  if (opType === 'Cast') {
    return graph.int(node, 'to', 0) || undefined
  }
  if (opType === 'Constant') {
    return constantType(graph, node)
  }
  if (opType === 'ConstantOfShape') {
    return graph.attribute(node, 'value')?.t?.dataType ?? ElementType.float
  }
  return inputs[TYPE_INPUT[opType] ?? 0]?.type
}

function constantType(graph: Graph, node: NodeProto): number | undefined {
  const tensor = graph.attribute(node, 'value')?.t
  if (tensor) {
    return tensor.dataType
  }
  if (graph.attribute(node, 'value_float') || graph.attribute(node, 'value_floats')) {
    return ElementType.float
  }
  return graph.attribute(node, 'value_int') || graph.attribute(node, 'value_ints')
    ? ElementType.int64
    : undefined
}

const BROADCASTING = new Set([
  ...BOOLEAN,
  'Add',
  'Sub',
  'Mul',
  'Div',
  'Pow',
  'Max',
  'Min',
  'Mean',
  'Sum',
  'Where',
  'MatMul',
  'MatMulInteger',
])
const FIXED_RANK: Record<string, number> = { Gemm: 2, Flatten: 2, NonZero: 2, Shape: 1, Range: 1, Size: 0 }
/** Operators whose number of output axes cannot be determined. */
const OPEN = new Set(['Loop', 'Scan', 'If', 'SequenceAt', 'GatherND', 'Compress', 'Optional', 'StringSplit'])

function outputRank(graph: Graph, node: NodeProto, inputs: readonly StaticType[]): number | undefined {
  const { opType } = node
  const first = inputs[0]?.rank
  if (opType in FIXED_RANK) {
    return FIXED_RANK[opType]
  }
  if (OPEN.has(opType)) {
    return undefined
  }
  if (BROADCASTING.has(opType)) {
    const ranks = inputs.map(({ rank }) => rank)
    return ranks.some((rank) => rank === undefined) ? undefined : Math.max(...(ranks as number[]))
  }
  if (opType.startsWith('Reduce') || opType === 'ArgMax' || opType === 'ArgMin') {
    return reducedRank(graph, node, first)
  }
  switch (opType) {
    case 'Constant':
      return graph.attribute(node, 'value')?.t?.dims.length ?? scalarOrList(graph, node)
    case 'ConstantOfShape':
      return shapeLength(graph, node.input[0])
    case 'Reshape':
      return shapeLength(graph, node.input[1])
    case 'Expand':
      return expandedRank(first, shapeLength(graph, node.input[1]))
    case 'Transpose':
      return graph.ints(node, 'perm')?.length ?? first
    case 'Gather':
      return gatheredRank(first, inputs[1]?.rank)
    case 'Unsqueeze':
    case 'Squeeze':
      return squeezedRank(graph, node, first)
    case 'Einsum':
      return graph.string(node, 'equation')?.split('->')[1]?.replaceAll(' ', '').length
    case 'OneHot':
      return first === undefined ? undefined : first + 1
    default:
      // Most operators keep the rank of their first input.
      return first
  }
}

function scalarOrList(graph: Graph, node: NodeProto): number | undefined {
  if (graph.attribute(node, 'value_float') || graph.attribute(node, 'value_int')) {
    return 0
  }
  return graph.attribute(node, 'value_floats') || graph.attribute(node, 'value_ints') ? 1 : undefined
}

/** The rank of a broadcast: that of the longer shape. */
function expandedRank(given: number | undefined, target: number | undefined): number | undefined {
  return target === undefined || given === undefined ? target : Math.max(given, target)
}

/** The axes of the indices replace the axis that they index. */
function gatheredRank(data: number | undefined, indices: number | undefined): number | undefined {
  return data === undefined || indices === undefined ? undefined : data + indices - 1
}

function squeezedRank(graph: Graph, node: NodeProto, rank: number | undefined): number | undefined {
  const axes = axesOf(graph, node)
  if (rank === undefined || !axes) {
    return undefined
  }
  return node.opType === 'Unsqueeze' ? rank + axes.length : rank - axes.length
}

function reducedRank(graph: Graph, node: NodeProto, rank: number | undefined): number | undefined {
  if (graph.int(node, 'keepdims', 1) === 1) {
    return rank
  }
  if (node.opType.startsWith('Arg')) {
    return rank === undefined ? undefined : rank - 1
  }
  const axes = axesOf(graph, node)
  return axes && rank !== undefined ? rank - axes.length : undefined
}

/** Axes are an attribute in older operator sets, and an input in newer ones. */
function axesOf(graph: Graph, node: NodeProto): number[] | undefined {
  return graph.ints(node, 'axes') ?? graph.constantInts(node.input[1] ?? '')
}

/** Length of a shape: a constant, or a concatenation of single numbers and constant pieces. */
function shapeLength(graph: Graph, shape: string): number | undefined {
  const constant = graph.constantInts(shape)?.length
  if (constant !== undefined) {
    return constant
  }
  const node = graph.producers.get(shape)
  if (node?.opType !== 'Concat') {
    return undefined
  }
  let length = 0
  for (const name of node.input) {
    const part = graph.constantInts(name)?.length ?? (isOneNumber(graph, name) ? 1 : undefined)
    if (part === undefined) {
      return undefined
    }
    length += part
  }
  return length
}

/** Whether a tensor is a list of one number, as most parts of a shape are. */
function isOneNumber(graph: Graph, name: string): boolean {
  const node = graph.producers.get(name)
  if (node?.opType === 'Gather') {
    return (
      graph.producers.get(node.input[0])?.opType === 'Shape' &&
      graph.constantInts(node.input[1])?.length === 1
    )
  }
  return node?.opType === 'Unsqueeze' || node?.opType === 'Reshape'
}
