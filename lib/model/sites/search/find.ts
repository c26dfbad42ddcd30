/**
 * Finds attention in a graph. Fused operators have already been lowered. Attention that is written out is found by its
 * structure alone: a softmax whose input comes, through scale, mask and the like, from a product of two computed
 * tensors, and whose output is multiplied by a third, the values. A probe then determines which operand holds the
 * queries, and the order of axes (`survey.ts`).
 */

import type { FusedAttention, OperandStep, RefusedSite, ScoreStep, SiteCandidate } from '../../candidate.js'
import { normalisesScores } from '../../fused/lower.js'
import { FunctionLibrary } from '../../onnx/flatten/function-library.js'
import type { Graph } from '../../onnx/graph.js'
import { subgraphsOf } from '../../onnx/messages.js'
import type { NodeProto } from '../../onnx/proto/onnx_pb.js'
import { type Normalisation, normalisation } from './softmax.js'

/** Operations with one computed input that only reshape it or leave it as it is. */
export const RESHAPING: ReadonlySet<string> = new Set([
  'Reshape',
  'Squeeze',
  'Unsqueeze',
  'Transpose',
  'Flatten',
])
const PASSING = new Set(['Cast', 'Identity', 'Dropout', 'CastLike', 'QuantizeLinear', 'DequantizeLinear'])
const POINTWISE = new Set(['Add', 'Sub', 'Mul', 'Div', 'Max', 'Min', 'Tanh', 'Neg', 'Clip', 'Sum'])
const REPEATING = new Set(['Expand', 'Tile', 'Concat'])
/** Operations between an attention pattern and its product with the values. */
const PASSES_PATTERN: ReadonlySet<string> = new Set([
  ...RESHAPING,
  ...PASSING,
  ...POINTWISE,
  'Where',
  'IsNaN',
  'Slice',
  'DynamicQuantizeLinear',
])

const MAX_SCORE_STEPS = 24
const MAX_OPERAND_STEPS = 16
const MAX_VALUE_STEPS = 8

export function findSites(
  graph: Graph,
  fused: readonly FusedAttention[],
): { candidates: SiteCandidate[]; unsupported: RefusedSite[] } {
  const candidates = fused.map((operator): SiteCandidate => ({ ...operator.candidate, fused: operator }))
  const lowered = new Set(candidates.map(({ softmax }) => softmax))
  const unsupported: RefusedSite[] = []
  const functions = new FunctionLibrary(graph.model.path, graph.model.proto, normalisesScores)
  for (const node of graph.nodes) {
    const softmax = lowered.has(node) ? undefined : normalisation(graph, node)
    if (softmax) {
      const found = matchSoftmax(graph, softmax)
      if (found && 'reason' in found) {
        unsupported.push(found)
      } else if (found) {
        candidates.push(found)
      }
    } else if (functions.hasAttention(subgraphsOf(node).flatMap((body) => body.node))) {
      unsupported.push({
        node: node.name || node.output[0],
        op: node.opType,
        reason: `the attention is inside a subgraph of ${node.opType}`,
        needs: 'an export without control flow around the attention',
        at: node,
      })
    }
  }
  candidates.sort((a, b) => graph.indexOf(a.product) - graph.indexOf(b.product))
  return { candidates, unsupported }
}

function matchSoftmax(
  graph: Graph,
  { node, input, axis }: Normalisation,
): SiteCandidate | RefusedSite | undefined {
  if (!meetsValues(graph, node.output[0])) {
    return undefined
  }
  const found = scorePath(graph, input)
  if (!found) {
    return refusePath(graph, node, input)
  }
  const { product, steps } = found
  if (INTEGER_PRODUCTS[product.opType]) {
    return {
      node: product.name || product.output[0],
      op: product.opType,
      reason: 'its scores are a product of quantised queries and keys',
      needs: 'a model whose weights are quantised around the attention (QDQ, MatMulNBits)',
      at: product,
    }
  }
  const [left, right] = product.input
  return {
    softmax: node,
    softmaxInput: input,
    softmaxAxis: axis,
    product,
    steps,
    left: operandSteps(graph, left),
    right: operandSteps(graph, right),
  }
}

/** Follows the attention pattern to a product with another computed tensor. */
function meetsValues(graph: Graph, pattern: string): boolean {
  // Visits each node once. Otherwise the number of paths would multiply at every operator with several inputs.
  const seen = new Set<NodeProto>()
  let front = [pattern]
  for (let depth = 0; depth < MAX_VALUE_STEPS && front.length > 0; depth++) {
    const users = front.flatMap((name) => graph.consumers.get(name) ?? [])
    const fresh = [...new Set(users)].filter((user) => !seen.has(user))
    if (fresh.some((user) => isProduct(graph, user))) {
      return true
    }
    for (const user of fresh) {
      seen.add(user)
    }
    front = fresh.filter(({ opType }) => PASSES_PATTERN.has(opType)).map(({ output }) => output[0])
  }
  return false
}

/** Operands of products of quantised numbers, by operator. */
const INTEGER_PRODUCTS: Record<string, readonly [number, number]> = {
  MatMulInteger: [0, 1],
  MatMulIntegerToFloat: [0, 1],
  QLinearMatMul: [0, 3],
}
const PRODUCTS = new Set(['MatMul', 'FusedMatMul', 'Einsum', 'Gemm'])

/**
 * Whether a node multiplies two computed tensors. Scores and values do; projections do not. One of the tensors may be
 * computed from weights alone, such as the queries of a detector's first layer.
 */
function isProduct(graph: Graph, node: NodeProto): boolean {
  const places = PRODUCTS.has(node.opType) && node.input.length === 2 ? [0, 1] : INTEGER_PRODUCTS[node.opType]
  const operands = places?.map((place) => node.input[place])
  if (!operands) {
    return false
  }
  return operands.every((name) => !graph.isWeight(name)) && operands.some((name) => !graph.isStatic(name))
}

function scorePath(graph: Graph, top: string): { product: NodeProto; steps: ScoreStep[] } | undefined {
  const visited = new Set<string>()
  const walk = (name: string, depth: number): { product: NodeProto; steps: ScoreStep[] } | undefined => {
    if (depth > MAX_SCORE_STEPS || visited.has(name)) {
      return undefined
    }
    visited.add(name)
    const node = graph.producers.get(name)
    if (!node) {
      return undefined
    }
    if (isProduct(graph, node)) {
      return { product: node, steps: [] }
    }
    for (const chain of chainInputs(node)) {
      if (graph.isStatic(node.input[chain])) {
        continue
      }
      const found = walk(node.input[chain], depth + 1)
      if (found) {
        found.steps.push({ node, chain })
        return found
      }
    }
    return undefined
  }
  return walk(top, 0)
}

/** Inputs from which scores may come. */
function chainInputs(node: NodeProto): number[] {
  if (RESHAPING.has(node.opType) || PASSING.has(node.opType)) {
    return [0]
  }
  if (node.opType === 'Where') {
    return [1, 2]
  }
  if (node.opType === 'Clip') {
    return [0]
  }
  // Concat adds a sink as one more column, before or after the keys.
  if (node.opType === 'Concat' || POINTWISE.has(node.opType)) {
    return node.input.map((_, i) => i)
  }
  return []
}

/**
 * Refuses attention whose path from the product to the softmax contains an operation that is not supported, and names
 * that operation. Undefined if there is no product, as before the softmax of a router.
 */
function refusePath(graph: Graph, softmax: NodeProto, top: string): RefusedSite | undefined {
  const seen = new Set<string>([top])
  let front: Blocked[] = [{ name: top }]
  for (let depth = 0; front.length > 0 && depth <= MAX_SCORE_STEPS; depth++) {
    const next: Blocked[] = []
    for (const { name, blocked } of front) {
      const node = graph.producers.get(name)
      if (!node) {
        continue
      }
      if (isProduct(graph, node)) {
        return blocked && refusedBetween(softmax, node, blocked)
      }
      const fresh = stepsBack(graph, node, blocked).filter((step) => !seen.has(step.name))
      for (const step of fresh) {
        seen.add(step.name)
      }
      next.push(...fresh)
    }
    front = next
  }
  return undefined
}

/** A tensor on the path back from a softmax, and the first unsupported operation on it. */
interface Blocked {
  name: string
  blocked?: NodeProto
}

/** Inputs from which an operation computes. Empty if the operation is not known and has several computed inputs. */
function stepsBack(graph: Graph, node: NodeProto, blocked: NodeProto | undefined): Blocked[] {
  const computed = node.input.filter((input) => input !== '' && !graph.isStatic(input))
  const passed = chainInputs(node).length > 0
  if (!passed && computed.length !== 1) {
    return []
  }
  return computed.map((name) => ({ name, blocked: blocked ?? (passed ? undefined : node) }))
}

function refusedBetween(softmax: NodeProto, at: NodeProto, blocked: NodeProto): RefusedSite {
  return {
    node: softmax.name || softmax.output[0],
    op: softmax.opType,
    reason: `${blocked.opType} "${blocked.name || blocked.output[0]}" between its product and its softmax is not followed`,
    needs: 'attention whose scores are scaled, capped and masked alone',
    at,
  }
}

/**
 * Walks from an operand of the product towards its projection, as long as the values stay queries or keys up to a
 * constant factor, a transposition or a repetition of heads.
 */
function operandSteps(graph: Graph, operand: string): OperandStep[] {
  const steps: OperandStep[] = []
  let name = operand
  while (steps.length < MAX_OPERAND_STEPS) {
    const node = graph.producers.get(name)
    if (!node || node.domain === 'com.microsoft') {
      break
    }
    const step = operandStep(graph, node)
    if (!step) {
      break
    }
    steps.push(step)
    name = step.source
  }
  return steps
}

function operandStep(graph: Graph, node: NodeProto): OperandStep | undefined {
  if (node.opType === 'Mul' || node.opType === 'Div') {
    const [a, b] = node.input
    // If both inputs are static, one may be computed, such as learned queries. The factor is then the stored one.
    const scales = (factor: string, other: string) =>
      graph.isStatic(factor) && (!graph.isStatic(other) || (graph.isWeight(factor) && !graph.isWeight(other)))
    if (scales(b, a)) {
      return { node, source: a, factor: b }
    }
    return node.opType === 'Mul' && scales(a, b) ? { node, source: b, factor: a } : undefined
  }
  if (node.opType === 'Concat') {
    return node.input.every((name) => name === node.input[0]) ? { node, source: node.input[0] } : undefined
  }
  if (RESHAPING.has(node.opType) || PASSING.has(node.opType) || REPEATING.has(node.opType)) {
    return graph.isWeight(node.input[0]) ? undefined : { node, source: node.input[0] }
  }
  return undefined
}
