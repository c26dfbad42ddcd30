/**
 * `com.microsoft.MultiHeadAttention` and `DecoderMaskedMultiHeadAttention`: inputs are already projected, and there
 * are as many key heads as query heads.
 */

import type { LoweredAttention } from '../candidate.js'
import type { Graph } from '../onnx/graph.js'
import { ElementType } from '../onnx/node-writer.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'
import { rankOf } from '../onnx/static-types.js'
import { writeContribAttention } from './contrib-attention.js'
import {
  type FusedOperator,
  optionalInput,
  type Refusal,
  type SubgraphWriter,
  TO_THE_END,
} from './fused-operator.js'

interface Inputs {
  query: string
  key?: string
  value?: string
  /** [2 * hidden + value hidden], added to the projected queries, keys and values. */
  bias?: string
  mask?: string
  attentionBias?: string
  pastKey?: string
  pastValue?: string
  /** Number of filled rows of the past, int32 [1], if past and present share a buffer. */
  pastLength?: string
}

export const multiHeadAttention: FusedOperator = ({ graph, node, write }) => {
  const [query, key, value, bias, mask, attentionBias, pastKey, pastValue, pastLength] = Array.from(
    { length: 9 },
    (_, i) => optionalInput(node, i),
  )
  return lower(graph, node, write, {
    query: query!,
    key,
    value,
    bias,
    mask,
    attentionBias,
    pastKey,
    pastValue,
    pastLength,
  })
}

export const decoderMaskedAttention: FusedOperator = ({ graph, node, write }) => {
  const at = (i: number) => optionalInput(node, i)
  return lower(graph, node, write, {
    query: at(0)!,
    key: at(1),
    value: at(2),
    bias: at(10),
    mask: at(3),
    attentionBias: at(4),
    pastKey: at(5),
    pastValue: at(6),
    pastLength: graph.int(node, 'past_present_share_buffer', 0) === 1 ? at(7) : undefined,
  })
}

function lower(
  graph: Graph,
  node: NodeProto,
  write: SubgraphWriter,
  inputs: Inputs,
): LoweredAttention | Refusal {
  const heads = graph.int(node, 'num_heads', 0)
  if (heads < 1) {
    return { reason: 'it does not say how many heads it has', needs: 'the attribute num_heads' }
  }
  const rows = projectedRows(graph, write, inputs, heads)
  if ('reason' in rows) {
    return rows
  }
  const { q } = rows
  const past = pastRows(write, inputs)
  const k = past ? write.concat([past.k, rows.k], 2) : rows.k
  const v = past ? write.concat([past.v, rows.v], 2) : rows.v

  const { mask, attentionBias } = inputs
  return writeContribAttention(graph, node, write, {
    q,
    k,
    v,
    mask,
    attentionBias,
    past: past && write.scalarSize(past.k, 2),
  })
}

/** Queries, and the keys and values of this run, [batch, heads, pos, d]. */
function projectedRows(
  graph: Graph,
  write: SubgraphWriter,
  { query, key, value, bias }: Inputs,
  heads: number,
): { q: string; k: string; v: string } | Refusal {
  // Packed: [batch, pos, heads, 3, d], or keys and values alone, [batch, pos, heads, 2, d].
  const packed = (tensor: string, member: number) =>
    write.transpose(write.op('Gather', [tensor, write.ints([member], [])], { axis: 3 }), [0, 2, 1, 3])
  if (!key) {
    if (bias) {
      return { reason: 'its queries, keys and values are packed and have a bias', needs: 'three inputs' }
    }
    return { q: packed(query, 0), k: packed(query, 1), v: packed(query, 2) }
  }
  const hidden = write.size(query, 2)
  const biased = (tensor: string, from: number, to?: number) => {
    if (!bias) {
      return tensor
    }
    const edge = (n: number) => write.op('Mul', [hidden, write.ints([n])])
    return write.op('Add', [tensor, write.slice(bias, 0, edge(from), to ? edge(to) : TO_THE_END)])
  }
  const q = write.splitHeads(biased(query, 0, 1), heads)
  if (!value) {
    return { q, k: packed(key, 0), v: packed(key, 1) }
  }
  const rank = rankOf(graph, key)
  if (rank === undefined) {
    return {
      reason: `the shape of its keys "${key}" is not known`,
      needs:
        'shapes in the file, as onnx.shape_inference or onnxruntime.tools.symbolic_shape_infer write them',
    }
  }
  // Keys of cross attention have their heads split already, since they are projected once for all steps.
  if (rank === 4) {
    return { q, k: key, v: value }
  }
  return {
    q,
    k: write.splitHeads(biased(key, 1, 2), heads),
    v: write.splitHeads(biased(value, 2), heads),
  }
}

function pastRows(
  write: SubgraphWriter,
  { pastKey, pastValue, pastLength }: Inputs,
): { k: string; v: string } | undefined {
  if (!pastKey || !pastValue) {
    return undefined
  }
  if (!pastLength) {
    return { k: pastKey, v: pastValue }
  }
  const end = write.reshape(write.cast(pastLength, ElementType.int64), [1])
  return { k: write.slice(pastKey, 2, 0, end), v: write.slice(pastValue, 2, 0, end) }
}
