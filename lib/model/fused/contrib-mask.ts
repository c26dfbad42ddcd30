/**
 * The masks of `com.microsoft` operators as additive biases: 0 for visible keys, `mask_filter_value` for others. A
 * mask is either raw, [batch, keyPos] or [batch, queryPos, keyPos], or it holds [batch] ends of the keys, which
 * [batch] starts may follow.
 */

import type { Graph } from '../onnx/graph.js'
import { ElementType } from '../onnx/node-writer.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'
import { rankOf } from '../onnx/static-types.js'
import type { Refusal, SubgraphWriter } from './fused-operator.js'

const DEFAULT_FILTER = -10000

/**
 * Biases added to the scores, each [batch or 1, heads or 1, queryPos or 1, keyPos]; `q` and `k` are [batch, heads,
 * pos, d].
 */
export function addedBiases(
  graph: Graph,
  node: NodeProto,
  write: SubgraphWriter,
  { mask, attentionBias }: { mask?: string; attentionBias?: string },
  { q, k }: { q: string; k: string },
): string[] | Refusal {
  const given = attentionBias ? [attentionBias] : []
  if (!mask) {
    return given
  }
  const visible = visibleKeys(graph, write, mask, q, k)
  if (typeof visible !== 'string') {
    return visible
  }
  const filter = graph.float(node, 'mask_filter_value', DEFAULT_FILTER)
  return [write.op('Where', [visible, write.float(0), write.float(filter)]), ...given]
}

function visibleKeys(
  graph: Graph,
  write: SubgraphWriter,
  mask: string,
  q: string,
  k: string,
): string | Refusal {
  const positive = () => write.op('Less', [write.ints([0], []), write.cast(mask, ElementType.int64)])
  switch (rankOf(graph, mask)) {
    case 1: {
      // The starts follow the ends in the same tensor, or are zeros.
      const batch = write.size(q, 0)
      const zeros = write.op('Expand', [write.ints([0]), batch])
      const bounds = write.concat([write.cast(mask, ElementType.int64), zeros], 0)
      const twice = write.op('Mul', [batch, write.ints([2])])
      const perSequence = (x: string) => write.reshape(x, [-1, 1, 1, 1])
      const columns = write.range(write.scalarSize(k, 2))
      const ends = perSequence(write.slice(bounds, 0, 0, batch))
      const starts = perSequence(write.slice(bounds, 0, batch, twice))
      const before = write.op('Less', [columns, starts])
      return write.op('And', [write.op('Less', [columns, ends]), write.op('Not', [before])])
    }
    case 2:
      return write.reshape(positive(), [0, 1, 1, -1])
    case 3:
      return write.reshape(positive(), [0, 1, write.size(q, 2), -1])
    case 4:
      return { reason: `its mask "${mask}" has four axes`, needs: 'a mask of two or three axes' }
    default:
      return {
        reason: `the shape of its mask "${mask}" is not known`,
        needs:
          'shapes in the file, as onnx.shape_inference or onnxruntime.tools.symbolic_shape_infer write them',
      }
  }
}
