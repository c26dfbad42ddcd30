/**
 * `com.microsoft.GroupQueryAttention`: fewer key heads than query heads, rotation inside the operator, and a cache.
 *
 * Keys and values are read from the operator's own present outputs, which hold them rotated, each at its absolute
 * position. The operator does not output queries, so they are rotated here, with the caches and positions that the
 * operator reads.
 */

import { ElementType } from '../onnx/node-writer.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'
import { causalKeys, withJoinedHeads, writeAttention } from './attention-core.js'
import {
  type FusedOperator,
  type LoweringContext,
  optionalInput,
  type Refusal,
  type SubgraphWriter,
} from './fused-operator.js'
import { consecutivePositions, writeRotation } from './rotary.js'

/** Inputs by index. */
const [QUERY, KEY, SEQUENCE_LENGTHS, TOTAL_LENGTH, COS, SIN, POSITIONS, BIAS, SINK] = [
  0, 1, 5, 6, 7, 8, 9, 10, 11,
]
const Q_NORM = 14

export const groupQueryAttention: FusedOperator = (context) => {
  const { graph, node, write } = context
  const refusal = refuse(context)
  if (refusal) {
    return refusal
  }
  const heads = graph.int(node, 'num_heads', 0)
  const kvHeads = graph.int(node, 'kv_num_heads', 0)
  const packed = optionalInput(node, KEY) === undefined
  const query = packed
    ? write.slice(write.splitHeads(node.input[QUERY], heads + 2 * kvHeads), 1, 0, heads)
    : write.splitHeads(node.input[QUERY], heads)

  const length = write.scalarSize(query, 2)
  const lengths = write.reshape(write.cast(node.input[SEQUENCE_LENGTHS], ElementType.int64), [-1, 1])
  const total = write.cast(node.input[TOTAL_LENGTH], ElementType.int64)
  const past = pastLengths(write, { length, lengths, total })
  const rotary = graph.int(node, 'do_rotary', 0) === 1
  const q = rotary ? rotateQueries(context, query, past) : query

  const end = write.reshape(total, [1])
  const k = write.slice(ownOutput(node, 1), 2, 0, end)
  const v = write.slice(ownOutput(node, 2), 2, 0, end)
  const bias = optionalInput(node, BIAS)
  const window = graph.int(node, 'local_window_size', -1)
  const causal = graph.int(node, 'causal', 1) === 1
  const sink = optionalInput(node, SINK)
  const offset = write.reshape(past, [-1, 1, 1, 1])
  const allowed = causalKeys(write, q, k, offset, { causal, window: window > 0 ? window : undefined })
  allowed.push(...insideSequence(write, q, k, offset, write.reshape(lengths, [-1, 1, 1, 1])))
  const core = writeAttention(write, {
    q,
    k,
    v,
    grouped: heads !== kvHeads,
    scale: graph.float(node, 'scale', 0),
    softcap: graph.float(node, 'softcap', 0),
    biases: bias ? [bias] : [],
    allowed,
    sink: sink
      ? write.reshape(sink, [1, -1, 1, 1])
      : graph.int(node, 'smooth_softmax', 0) === 1
        ? write.float(0)
        : undefined,
  })
  return withJoinedHeads(write, core, { causal, rotary })
}

/**
 * Queries and keys that are not padding behind a sequence. Its last position is given, int64 [batch, 1, 1, 1].
 */
function insideSequence(write: SubgraphWriter, q: string, k: string, offset: string, last: string): string[] {
  const inside = (x: string, shape: number[], start?: string) => {
    const own = write.reshape(write.range(write.scalarSize(x, 2)), shape)
    const position = start ? write.op('Add', [own, start]) : own
    return write.op('Not', [write.op('Less', [last, position])])
  }
  return [inside(q, [-1, 1], offset), inside(k, [1, -1])]
}

/** Number of positions before this run, int64 [batch, 1]. It is 0 when a prompt is read. */
function pastLengths(
  write: SubgraphWriter,
  { length, lengths, total }: { length: string; lengths: string; total: string },
): string {
  const one = write.ints([1], [])
  const before = write.op('Sub', [write.op('Add', [lengths, one]), length])
  return write.op('Where', [write.op('Equal', [length, total]), write.ints([0], []), before])
}

function rotateQueries({ graph, node, write }: LoweringContext, query: string, past: string): string {
  const given = optionalInput(node, POSITIONS)
  const [cos, sin] = [COS, SIN].map((i) => node.input[i])
  const positions = given ?? consecutivePositions(write, query, past)
  return writeRotation(write, query, {
    cos,
    sin,
    positions,
    interleaved: graph.int(node, 'rotary_interleaved', 0) === 1,
  })
}

/** An output of the operator. It gets a name here if the model did not use it. */
function ownOutput(node: NodeProto, index: number): string {
  while (node.output.length <= index) {
    node.output.push('')
  }
  if (!node.output[index]) {
    node.output[index] = `qkspace.present/${index}/${node.output[0]}`
  }
  return node.output[index]
}

function refuse({ graph, node }: LoweringContext): Refusal | undefined {
  if (graph.int(node, 'num_heads', 0) < 1 || graph.int(node, 'kv_num_heads', 0) < 1) {
    return { reason: 'it does not say how many heads it has', needs: 'num_heads and kv_num_heads' }
  }
  if (graph.int(node, 'do_rotary', 0) === 1 && (!node.input[COS] || !node.input[SIN])) {
    return { reason: 'it rotates, but has no tables of cosines and sines', needs: 'cos_cache and sin_cache' }
  }
  if (graph.int(node, 'sliding_window_cache', 0) === 1) {
    return { reason: 'its cache drops old keys', needs: 'an export with sliding_window_cache=0' }
  }
  const quantised = ['k_quant_type', 'v_quant_type'].some((a) => (graph.string(node, a) ?? 'NONE') !== 'NONE')
  if (quantised) {
    return { reason: 'its cache is quantised', needs: 'an export with a cache of float16 or float32' }
  }
  if (optionalInput(node, Q_NORM)) {
    return {
      reason: 'it normalises queries and keys inside, which onnxruntime does on GPUs only',
      needs: 'an export with the norm before the attention',
    }
  }
  return undefined
}
