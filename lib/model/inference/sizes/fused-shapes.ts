/**
 * Constraints of fused attention operators on their inputs: sizes given by attributes, and values that an input must
 * hold.
 */

import type { Graph } from '../../onnx/graph.js'
import type { NodeProto } from '../../onnx/proto/onnx_pb.js'
import type { Shapes } from './operator-shapes.js'
import { equate, equateMultiple, equateTimes, type Shape, type Size } from './unknown.js'

export interface FusedShapes {
  output: Shape | undefined
  /** By tensor, the value of all its elements: a number, or the length of an axis. */
  values: ReadonlyMap<string, Held>
}

/** A number, the length of an axis, or the number of filled rows of a buffer before rows are added. */
export type Held = Size | { buffer: Size; added: Size }

/** Number of filled rows of a shared buffer in a probe, if the buffer is large enough. */
const FILLED_ROWS = 2

/**
 * Number of filled rows. The added rows must not pass the end of the buffer, since onnxruntime would write beyond its
 * memory.
 */
export function filledRows(buffer: number | undefined, added: number | undefined): number {
  return Math.max(0, Math.min(FILLED_ROWS, (buffer ?? 0) - (added ?? 1)))
}

/** Undefined for operators of other kinds. */
export function fusedShapes(graph: Graph, node: NodeProto, shapes: Shapes): FusedShapes | undefined {
  if (node.domain === '' || node.domain === 'ai.onnx') {
    return undefined
  }
  const at = (i: number) => node.input[i] || undefined
  const shape = (i: number) => shapes(node.input[i] ?? '')
  const heads = graph.int(node, 'num_heads', 0)
  const values = new Map<string, Held>()
  const hold = (tensor: string | undefined, value: Held) => {
    if (tensor) {
      values.set(tensor, value)
    }
  }
  const query = shape(0)
  switch (node.opType) {
    case 'Attention': {
      packed(graph, node, query, shape(1), shape(2), heads)
      const mask = shape(3)
      // A list of lengths, as long as the batch.
      if (mask?.length === 1 && query?.length === 3) {
        equate(mask[0], query[0])
        hold(at(3), query[1])
      }
      return { output: query && [query[0], query[1], undefined], values }
    }
    case 'MultiHeadAttention':
      projected(query, shape(1), shape(2), shape(3), heads)
      pasts([shape(6), shape(7)], query, heads)
      if (at(8)) {
        decodes({ query, past: shape(6), beams: shape(9), hold, filled: at(8), cache: at(9) })
      }
      return { output: query?.length === 3 ? query : undefined, values }
    case 'DecoderMaskedMultiHeadAttention':
      projected(query, shape(1), shape(2), shape(10), heads)
      pasts([shape(5), shape(6)], query, heads)
      equate(query?.[1], 1)
      decodes({ query, past: shape(5), beams: shape(9), hold, filled: at(7), cache: at(9) })
      hold(at(8), 1)
      return { output: query, values }
    case 'GroupQueryAttention':
      equateMultiple(query?.[2], heads)
      pasts([shape(3), shape(4)], query, graph.int(node, 'kv_num_heads', heads))
      return { output: query, values }
    default:
      return undefined
  }
}

/** `com.microsoft.Attention`: [batch, pos, in], weights [in, q + k + v]. */
function packed(
  graph: Graph,
  node: NodeProto,
  input: Shape | undefined,
  weights: Shape | undefined,
  bias: Shape | undefined,
  heads: number,
): void {
  equate(input?.[2], weights?.[0])
  equate(weights?.[1], bias?.[0])
  const sizes = graph.ints(node, 'qkv_hidden_sizes')
  if (sizes) {
    equate(
      weights?.[1],
      sizes.reduce((a, b) => a + b, 0),
    )
    return
  }
  equateMultiple(input?.[2], heads)
  equateTimes(weights?.[1], 3, input?.[2])
}

function projected(
  query: Shape | undefined,
  key: Shape | undefined,
  value: Shape | undefined,
  bias: Shape | undefined,
  heads: number,
): void {
  if (query?.length !== 3) {
    return
  }
  equateMultiple(query[2], heads)
  equate(query[0], key?.[0])
  equate(query[0], value?.[0])
  if (key?.length === 3) {
    equate(query[2], key[2])
    equate(key[1], value?.[1])
    equateTimes(bias?.[0], 3, query[2])
  }
  if (key?.length === 4) {
    equate(key[1], heads)
    equateTimes(query[2], heads, key[3])
  }
}

/** [batch, heads, rows, d] of both keys and values. */
function pasts(given: readonly (Shape | undefined)[], query: Shape | undefined, heads: number): void {
  for (const past of given) {
    if (past?.length !== 4) {
      continue
    }
    equate(past[0], query?.[0])
    if (heads > 0) {
      equate(past[1], heads)
    }
    equate(past[2], given[0]?.[2])
    if (query?.length === 3) {
      equateTimes(query[2], heads, past[3])
    }
  }
}

interface Decoding {
  query: Shape | undefined
  /** [batch, heads, rows, d] */
  past: Shape | undefined
  /** [batch, beams, rows] */
  beams: Shape | undefined
  filled: string | undefined
  cache: string | undefined
  hold: (tensor: string | undefined, value: Held) => void
}

/** Decodes one token after a past in a buffer that the beams of a search share. */
function decodes({ query, past, beams, filled, cache, hold }: Decoding): void {
  // Without a past, no input of interest is constrained.
  hold(filled, past ? { buffer: past[2], added: query?.[1] } : 0)
  if (!beams) {
    return
  }
  equate(query?.[1], 1)
  equate(beams[0], query?.[0])
  equate(beams[1], 1)
  // The beam of each row: there is only one.
  hold(cache, 0)
}
