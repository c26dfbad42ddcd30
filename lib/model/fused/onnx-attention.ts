/** `ai.onnx.Attention`, opsets 23 and 24 (https://onnx.ai/onnx/operators/onnx__Attention.html). */

import { ElementType } from '../onnx/node-writer.js'
import { rankOf, typeOf } from '../onnx/static-types.js'
import { causalKeys, writeAttention } from './attention-core.js'
import { type FusedOperator, optionalInput } from './fused-operator.js'

/** Content of `qk_matmul_output`, by its mode. */
const STAGES = ['scaled', 'capped', 'masked', 'pattern'] as const

export const onnxAttention: FusedOperator = ({ graph, node, write }) => {
  const [query, key, value] = node.input
  const [mask, pastKey, pastValue, keyLengths] = [3, 4, 5, 6].map((i) => optionalInput(node, i))
  const queryHeads = graph.int(node, 'q_num_heads', 0)
  const kvHeads = graph.int(node, 'kv_num_heads', 0)
  // The attributes are required for inputs of three axes, and optional for inputs of four.
  const flat = (tensor: string) => (rankOf(graph, tensor) ?? (queryHeads > 0 ? 3 : 4)) === 3
  const isFlat = flat(query)
  if (isFlat && (queryHeads === 0 || kvHeads === 0)) {
    return {
      reason: 'its inputs have three axes, but it does not say how many heads',
      needs: 'the attributes q_num_heads and kv_num_heads',
    }
  }
  const q = isFlat ? write.splitHeads(query, queryHeads) : query
  const newKeys = isFlat ? write.splitHeads(key, kvHeads) : key
  const newValues = isFlat ? write.splitHeads(value, kvHeads) : value
  const k = pastKey ? write.concat([pastKey, newKeys], 2) : newKeys
  const v = pastValue ? write.concat([pastValue, newValues], 2) : newValues

  const biases: string[] = []
  const allowed: string[] = []
  if (mask) {
    const type = typeOf(graph, mask)
    if (type === undefined) {
      return {
        reason: `the element type of its mask "${mask}" is not known`,
        needs: 'shape inference (onnx.shape_inference)',
      }
    }
    if (type === ElementType.bool) {
      allowed.push(mask)
    } else {
      biases.push(mask)
    }
  }
  const causal = graph.int(node, 'is_causal', 0) === 1
  let offset = pastKey && write.scalarSize(pastKey, 2)
  if (keyLengths) {
    // The queries belong to the last positions of the cache.
    const filled = write.reshape(keyLengths, [-1, 1, 1, 1])
    const columns = write.range(write.scalarSize(k, 2))
    allowed.push(write.op('Less', [columns, filled]))
    offset = write.op('Sub', [filled, write.scalarSize(q, 2)])
  }
  if (causal) {
    allowed.push(...causalKeys(write, q, k, offset))
  }
  const core = writeAttention(write, {
    q,
    k,
    v,
    grouped: isFlat ? queryHeads !== kvHeads : true,
    scale: graph.float(node, 'scale', 0),
    softcap: graph.float(node, 'softcap', 0),
    biases,
    allowed,
  })
  const output = isFlat ? write.joinHeads(core.attended) : core.attended
  const mode = graph.int(node, 'qk_matmul_output_mode', 0)
  const own = node.output[3]
  return {
    candidate: core.candidate,
    q,
    k,
    pattern: core.pattern,
    output,
    byHead: !isFlat,
    causal,
    rotary: false,
    scores: own ? { own, lowered: core[STAGES[mode]] } : undefined,
  }
}
