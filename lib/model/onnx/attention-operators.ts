/** Operators by which attention is recognised, whether or not it can be captured. */

import type { NodeProto } from './onnx_pb.js'

/** Fused operators: queries and keys are inside. */
export const FUSED_ATTENTION: ReadonlySet<string> = new Set([
  'Attention',
  'MultiHeadAttention',
  'GroupQueryAttention',
  'DecoderMaskedMultiHeadAttention',
  'DecoderMaskedSelfAttention',
  'PackedAttention',
  'PackedMultiHeadAttention',
  'QAttention',
  'LongformerAttention',
  'SparseAttention',
  'PagedAttention',
  'QOrderedAttention',
])

/** Whether a node normalises scores, or does so inside. */
export function isAttention({ opType }: NodeProto): boolean {
  return opType === 'Softmax' || FUSED_ATTENTION.has(opType)
}
