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

interface Ancestry {
  /** The nodes between a captured tensor and the projections behind it. */
  between: NodeProto[]
  /** What was projected. */
  sources: Set<string>
  /** Inputs of the graph that were reached without a projection. */
  inputs: Set<string>
}

function ancestry(graph: Graph, tensor: string): Ancestry {
  const between: NodeProto[] = []
  const sources = new Set<string>()
  const reached = new Set<string>()
  const seen = new Set<string>()
  for (let front = [tensor]; front.length > 0 && between.length < MAX_ANCESTORS; ) {
    const next: string[] = []
    for (const name of front) {
      if (seen.has(name) || graph.isStatic(name)) continue
      seen.add(name)
      const node = graph.producers.get(name)
      if (!node) {
        reached.add(name)
        continue
      }
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
  return { between, sources, inputs: reached }
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

/**
 * Queries and keys of cross attention are projections of different things. Where one side was projected in another
 * graph (keys that an encoder made), they come from different inputs and are not equally many.
 */
export function isCross(
  graph: Graph,
  query: { tensor: string; length: number },
  key: { tensor: string; length: number },
): boolean {
  const [own, other] = [query, key].map(({ tensor }) => ancestry(graph, tensor))
  const apart = (a: Set<string>, b: Set<string>) => a.size > 0 && b.size > 0 && [...a].every((s) => !b.has(s))
  if (own.sources.size > 0 && other.sources.size > 0) return apart(own.sources, other.sources)
  if (query.length === key.length) return false
  const from = ({ sources, inputs }: Ancestry) => (sources.size > 0 ? sources : inputs)
  return apart(from(own), from(other))
}

/** Rotation by position: halves or pairs are negated and swapped between the projection and the product. */
export function isRotary(graph: Graph, tensor: string): boolean {
  const ops = new Set(ancestry(graph, tensor).between.map((node) => node.opType))
  if (ops.has('RotaryEmbedding')) return true
  return ops.has('Mul') && ops.has('Concat') && (ops.has('Neg') || ops.has('Sub'))
}
