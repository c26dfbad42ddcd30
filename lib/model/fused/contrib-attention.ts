/**
 * The common part of `com.microsoft.MultiHeadAttention` and `Attention`, after queries, keys and values are
 * separated.
 */

import type { LoweredAttention } from '../candidate.js'
import type { Graph } from '../onnx/graph.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'
import { causalKeys, withJoinedHeads, writeAttention } from './attention-core.js'
import { addedBiases } from './contrib-mask.js'
import type { Refusal, SubgraphWriter } from './fused-operator.js'

export interface ContribParts {
  /** [batch, heads, pos, d]; keys and values begin with those of the past. */
  q: string
  k: string
  v: string
  /** Length of the past, int64 []. */
  past?: string
  mask?: string
  attentionBias?: string
}

export function writeContribAttention(
  graph: Graph,
  node: NodeProto,
  write: SubgraphWriter,
  { q, k, v, past, mask, attentionBias }: ContribParts,
): LoweredAttention | Refusal {
  const biases = addedBiases(graph, node, write, { mask, attentionBias }, { q, k })
  if ('reason' in biases) {
    return biases
  }
  const causal = graph.int(node, 'unidirectional', 0) === 1
  const core = writeAttention(write, {
    q,
    k,
    v,
    grouped: false,
    scale: graph.float(node, 'scale', 0),
    biases,
    allowed: causal ? causalKeys(write, q, k, past) : [],
  })
  return withJoinedHeads(write, core, { causal })
}
