/** `com.microsoft.Attention`: the operator includes the projection of queries, keys and values. */

import { writeContribAttention } from './contrib-attention.js'
import { type FusedOperator, optionalInput, TO_THE_END } from './fused-operator.js'

export const packedAttention: FusedOperator = ({ graph, node, write }) => {
  const [input, weights] = node.input
  const [bias, mask, past, attentionBias, pastLength] = [2, 3, 4, 5, 6].map((i) => optionalInput(node, i))
  const heads = graph.int(node, 'num_heads', 0)
  if (heads < 1) {
    return { reason: 'it does not say how many heads it has', needs: 'the attribute num_heads' }
  }
  if (graph.int(node, 'do_rotary', 0) === 1) {
    return {
      reason: 'it rotates inside, which onnxruntime does on no processor',
      needs: 'an export with RotaryEmbedding before the attention',
    }
  }
  if (pastLength || graph.int(node, 'past_present_share_buffer', 0) === 1) {
    return {
      reason: 'its past and present share a buffer, which onnxruntime does on GPUs only',
      needs: 'an export with past_present_share_buffer=0',
    }
  }
  const product = write.op('MatMul', [input, weights])
  const projected = bias ? write.op('Add', [product, bias]) : product
  const sizes = graph.ints(node, 'qkv_hidden_sizes') ?? []
  const part = (member: number) => {
    if (sizes.length !== 3) {
      const members = write.reshape(projected, [0, 0, 3, heads, -1])
      const one = write.op('Gather', [members, write.ints([member], [])], { axis: 2 })
      return write.transpose(one, [0, 2, 1, 3])
    }
    const start = sizes.slice(0, member).reduce((a, b) => a + b, 0)
    const end = member === 2 ? TO_THE_END : start + sizes[member]
    return write.splitHeads(write.slice(projected, 2, start, end), heads)
  }
  const q = part(0)
  const withPast = (own: string, member: number) =>
    past ? write.concat([write.op('Gather', [past, write.ints([member], [])]), own], 2) : own
  const k = withPast(part(1), 0)
  const v = withPast(part(2), 1)
  return writeContribAttention(graph, node, write, {
    q,
    k,
    v,
    mask,
    attentionBias,
    past: past && write.scalarSize(past, 3),
  })
}
