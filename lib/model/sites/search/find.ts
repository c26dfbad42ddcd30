/**
 * Finds attention in a graph: fused operators, which have been lowered beside themselves, and attention that is
 * written out, which is found by its shape alone: a Softmax whose input comes, through scale,
 * mask and the like, from a product of two computed tensors, and whose output meets a third, the values.
 * Which operand holds the queries, and how their axes are ordered, is settled by running a probe
 * (`survey.ts`).
 */

import type { FusedAttention, OperandStep, ScoreStep, SiteCandidate, UnsupportedSite } from '../../candidate.js'
import { normalisesScores } from '../../fused/lower.js'
import { FunctionLibrary } from '../../onnx/flatten/function-library.js'
import type { Graph } from '../../onnx/graph.js'
import { subgraphsOf } from '../../onnx/messages.js'
import type { NodeProto } from '../../onnx/proto/onnx_pb.js'

/** Operations of one computed input that leave its values in place or merely reshape them. */
export const RESHAPING: ReadonlySet<string> = new Set([
  'Reshape',
  'Squeeze',
  'Unsqueeze',
  'Transpose',
  'Flatten',
])
const PASSING = new Set(['Cast', 'Identity', 'Dropout', 'CastLike'])
const POINTWISE = new Set(['Add', 'Sub', 'Mul', 'Div', 'Max', 'Min', 'Tanh', 'Neg', 'Clip', 'Sum'])
const REPEATING = new Set(['Expand', 'Tile', 'Concat'])

const MAX_SCORE_STEPS = 24
const MAX_OPERAND_STEPS = 16
const MAX_VALUE_STEPS = 8

export function findSites(
  graph: Graph,
  fused: readonly FusedAttention[],
): { candidates: SiteCandidate[]; unsupported: UnsupportedSite[] } {
  const candidates = fused.map((operator): SiteCandidate => ({ ...operator.candidate, fused: operator }))
  const lowered = new Set(candidates.map(({ softmax }) => softmax))
  const unsupported: UnsupportedSite[] = []
  const functions = new FunctionLibrary(graph.model.path, graph.model.proto, normalisesScores)
  for (const node of graph.nodes) {
    if (node.opType === 'Softmax') {
      const candidate = lowered.has(node) ? undefined : matchSoftmax(graph, node)
      if (candidate) candidates.push(candidate)
    } else if (functions.hasAttention(subgraphsOf(node).flatMap((body) => body.node))) {
      unsupported.push({
        node: node.name || node.output[0],
        op: node.opType,
        reason: `the attention is inside a subgraph of ${node.opType}`,
        needs: 'an export without control flow around the attention',
      })
    }
  }
  candidates.sort((a, b) => graph.indexOf(a.product) - graph.indexOf(b.product))
  return { candidates, unsupported }
}

function matchSoftmax(graph: Graph, softmax: NodeProto): SiteCandidate | undefined {
  if (!meetsValues(graph, softmax.output[0])) return undefined
  const found = scorePath(graph, softmax.input[0])
  if (!found) return undefined
  const [left, right] = found.product.input
  return {
    softmax,
    softmaxInput: softmax.input[0],
    product: found.product,
    steps: found.steps,
    left: operandSteps(graph, left),
    right: operandSteps(graph, right),
  }
}

/** Follows the attention pattern to a product with another computed tensor. */
function meetsValues(graph: Graph, pattern: string): boolean {
  // Each node is passed once: with every operator of several inputs, the paths to it multiply.
  const seen = new Set<NodeProto>()
  let front = [pattern]
  for (let depth = 0; depth < MAX_VALUE_STEPS && front.length > 0; depth++) {
    const next: string[] = []
    for (const name of front) {
      for (const user of graph.consumers.get(name) ?? []) {
        if (seen.has(user)) continue
        seen.add(user)
        if (isProduct(graph, user)) return true
        if (RESHAPING.has(user.opType) || PASSING.has(user.opType) || POINTWISE.has(user.opType)) {
          next.push(user.output[0])
        } else if (['Where', 'IsNaN', 'Slice'].includes(user.opType)) {
          next.push(user.output[0])
        }
      }
    }
    front = next
  }
  return false
}

/**
 * Whether a node multiplies two computed tensors, as scores and values do and projections do not. One of them may
 * be computed from weights alone: the queries of a detector's first layer are.
 */
function isProduct(graph: Graph, node: NodeProto): boolean {
  const multiplies = ['MatMul', 'FusedMatMul', 'Einsum'].includes(node.opType) && node.input.length === 2
  if (!multiplies) return false
  return node.input.every((name) => !graph.isWeight(name)) && node.input.some((name) => !graph.isStatic(name))
}

function scorePath(graph: Graph, top: string): { product: NodeProto; steps: ScoreStep[] } | undefined {
  const visited = new Set<string>()
  const walk = (name: string, depth: number): { product: NodeProto; steps: ScoreStep[] } | undefined => {
    if (depth > MAX_SCORE_STEPS || visited.has(name)) return undefined
    visited.add(name)
    const node = graph.producers.get(name)
    if (!node) return undefined
    if (isProduct(graph, node)) return { product: node, steps: [] }
    const through = RESHAPING.has(node.opType) || PASSING.has(node.opType) ? [0] : chainInputs(node)
    for (const chain of through) {
      if (graph.isStatic(node.input[chain])) continue
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

function chainInputs(node: NodeProto): number[] {
  if (node.opType === 'Where') return [1, 2]
  // Concat adds a sink as one more column.
  if (node.opType === 'Clip' || node.opType === 'Concat') return [0]
  if (POINTWISE.has(node.opType)) return node.input.map((_, i) => i)
  return []
}

/**
 * The walk from an operand of the product towards its projection, as long as the values stay queries or
 * keys up to a constant factor, a transposition or a repetition of heads.
 */
function operandSteps(graph: Graph, operand: string): OperandStep[] {
  const steps: OperandStep[] = []
  let name = operand
  while (steps.length < MAX_OPERAND_STEPS) {
    const node = graph.producers.get(name)
    if (!node || node.domain === 'com.microsoft') break
    const step = operandStep(graph, node)
    if (!step) break
    steps.push(step)
    name = step.source
  }
  return steps
}

function operandStep(graph: Graph, node: NodeProto): OperandStep | undefined {
  if (node.opType === 'Mul' || node.opType === 'Div') {
    const [a, b] = node.input
    // Where both are static, one may be computed, as learned queries are: the factor is the one that is stored.
    const scales = (factor: string, other: string) =>
      graph.isStatic(factor) && (!graph.isStatic(other) || (graph.isWeight(factor) && !graph.isWeight(other)))
    if (scales(b, a)) return { node, source: a, factor: b }
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
