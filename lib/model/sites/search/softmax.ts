/** Finds where a graph normalises scores to a pattern, for any notation of the softmax. */

import type { Graph } from '../../onnx/graph.js'
import type { NodeProto } from '../../onnx/proto/onnx_pb.js'

export interface Normalisation {
  /** The node that outputs the pattern. */
  node: NodeProto
  /** The scores. */
  input: string
  /** Negative axes count from the end. */
  axis: number
}

const SAME_VALUES = new Set(['Cast', 'Identity', 'Dropout', 'CastLike'])
/** Operations that keep a sum from being zero. */
const GUARDS = new Set([...SAME_VALUES, 'Add', 'Max', 'Clip'])

/** The softmax whose last node is the given one, if there is any. */
export function normalisation(graph: Graph, node: NodeProto): Normalisation | undefined {
  switch (node.opType) {
    case 'Softmax':
      return { node, input: node.input[0], axis: axisOf(graph, node) }
    case 'Exp': {
      const log = graph.producers.get(before(graph, node.input[0], SAME_VALUES))
      if (log?.opType !== 'LogSoftmax') {
        return undefined
      }
      return { node, input: log.input[0], axis: axisOf(graph, log) }
    }
    case 'Div':
      return quotient(graph, node, node.input[0], node.input[1])
    case 'Mul':
      return [node.input, [...node.input].reverse()]
        .map(([exponential, reciprocal]) => {
          const inverse = graph.producers.get(reciprocal)
          return inverse?.opType === 'Reciprocal'
            ? quotient(graph, node, exponential, inverse.input[0])
            : undefined
        })
        .find((found) => found !== undefined)
    default:
      return undefined
  }
}

function axisOf(graph: Graph, node: NodeProto): number {
  return graph.int(node, 'axis', graph.opset < 13 ? 1 : -1)
}

/** exp(x) / sum(exp(x)), with or without subtracting the largest x first. */
function quotient(graph: Graph, node: NodeProto, top: string, bottom: string): Normalisation | undefined {
  const exponential = before(graph, top, SAME_VALUES)
  const exp = graph.producers.get(exponential)
  if (exp?.opType !== 'Exp') {
    return undefined
  }
  const sum = graph.producers.get(before(graph, bottom, GUARDS))
  if (sum?.opType !== 'ReduceSum' || before(graph, sum.input[0], SAME_VALUES) !== exponential) {
    return undefined
  }
  const axes = graph.ints(sum, 'axes') ?? (sum.input[1] ? graph.constantInts(sum.input[1]) : undefined)
  if (axes?.length !== 1) {
    return undefined
  }
  return { node, input: beforeShift(graph, exp.input[0]), axis: axes[0] }
}

/** The tensor before operations of the given kinds. */
function before(graph: Graph, tensor: string, kinds: ReadonlySet<string>): string {
  let name = tensor
  for (;;) {
    const node = graph.producers.get(name)
    if (!node || !kinds.has(node.opType)) {
      return name
    }
    const computed = node.input.filter((input) => input !== '' && !graph.isStatic(input))
    if (computed.length !== 1) {
      return name
    }
    name = computed[0]
  }
}

/** Returns x for the tensor x - max(x). */
function beforeShift(graph: Graph, tensor: string): string {
  const shift = graph.producers.get(tensor)
  if (shift?.opType !== 'Sub') {
    return tensor
  }
  const largest = graph.producers.get(before(graph, shift.input[1], SAME_VALUES))
  const own = before(graph, shift.input[0], SAME_VALUES)
  return largest?.opType === 'ReduceMax' && before(graph, largest.input[0], SAME_VALUES) === own
    ? shift.input[0]
    : tensor
}
