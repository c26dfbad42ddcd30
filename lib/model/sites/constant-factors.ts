/** Constant factors that the graph itself determines, exactly. A probe measures factors that are computed. */

import type { SiteCandidate } from '../candidate.js'
import type { Graph } from '../onnx/graph.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'

/** The constant factor of a multiplication or division between the product and the softmax. */
export function constantFactor(graph: Graph, node: NodeProto): { name: string; divide: boolean } | undefined {
  if (node.opType !== 'Mul' && node.opType !== 'Div') {
    return undefined
  }
  const side = graph.isStatic(node.input[1])
    ? 1
    : node.opType === 'Mul' && graph.isStatic(node.input[0])
      ? 0
      : -1
  return side < 0 ? undefined : { name: node.input[side], divide: node.opType === 'Div' }
}

/**
 * Factors that are computed from the values of inputs, not only from their shape. Their values in a probe do not hold
 * for other runs.
 */
export function givenFactors(graph: Graph, { steps }: SiteCandidate): string[] {
  return steps.flatMap(({ node, chain }) => {
    if (node.opType !== 'Mul' && node.opType !== 'Div') {
      return []
    }
    return node.input.filter((name, i) => i !== chain && !graph.isStatic(name))
  })
}

/** The factor by which constant steps multiply q·k, up to a softcap. Added terms in between are ignored. */
export function stepsScale(
  graph: Graph,
  candidate: SiteCandidate,
  scalarValue: (name: string) => number | undefined,
): number {
  let scale = 1
  let beforeLast = 1
  for (const { node } of candidate.steps) {
    if (node.opType === 'Tanh') {
      return beforeLast
    }
    const factor = constantFactor(graph, node)
    const value = factor && scalarValue(factor.name)
    if (factor && value !== undefined) {
      beforeLast = scale
      scale = factor.divide ? scale / value : scale * value
    } else if (node.opType === 'Mul' || node.opType === 'Div') {
      return scale
    }
  }
  return scale
}
