/** What a graph does between the projections and the product: rotation, and whether both sides project the same. */

import type { Graph } from '../onnx/graph.js'
import type { NodeProto } from '../onnx/onnx_pb.js'

const PROJECTIONS = new Set([
  'MatMul',
  'Gemm',
  'MatMulNBits',
  'MatMulInteger',
  'Conv',
  'QLinearMatMul',
  'Einsum',
])
const MAX_ANCESTORS = 64

/** The nodes between a captured tensor and the projections behind it, and what those projected. */
function ancestry(graph: Graph, tensor: string): { between: NodeProto[]; sources: Set<string> } {
  const between: NodeProto[] = []
  const sources = new Set<string>()
  const seen = new Set<string>()
  for (let front = [tensor]; front.length > 0 && between.length < MAX_ANCESTORS; ) {
    const next: string[] = []
    for (const name of front) {
      if (seen.has(name) || graph.isStatic(name)) continue
      seen.add(name)
      const node = graph.producers.get(name)
      if (!node) continue
      const inputs = node.input.filter((input) => input !== '')
      if (PROJECTIONS.has(node.opType)) {
        for (const input of inputs) if (!graph.isStatic(input)) sources.add(beforeReshaping(graph, input))
      } else {
        between.push(node)
        next.push(...inputs)
      }
    }
    front = next
  }
  return { between, sources }
}

const RESHAPING = ['Cast', 'Identity', 'Reshape', 'Transpose', 'Dropout', 'Unsqueeze', 'Squeeze', 'Flatten']

function beforeReshaping(graph: Graph, tensor: string): string {
  let name = tensor
  for (;;) {
    const node = graph.producers.get(name)
    if (!node || !RESHAPING.includes(node.opType)) return name
    name = node.input[0]
  }
}

/** Queries and keys of cross attention are projections of different things. */
export function isCross(graph: Graph, query: string, key: string): boolean {
  const sources = ancestry(graph, query).sources
  const others = ancestry(graph, key).sources
  return sources.size > 0 && others.size > 0 && [...sources].every((s) => !others.has(s))
}

/** Rotation by position: halves or pairs are negated and swapped between the projection and the product. */
export function isRotary(graph: Graph, tensor: string): boolean {
  const ops = new Set(ancestry(graph, tensor).between.map((node) => node.opType))
  if (ops.has('RotaryEmbedding')) return true
  return ops.has('Mul') && ops.has('Concat') && (ops.has('Neg') || ops.has('Sub'))
}
