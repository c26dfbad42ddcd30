/**
 * Attention as it is found in a graph, before a probe has settled what its axes are: written out in plain operators,
 * or lowered from a fused one. What finds it, lowers it and resolves it all speak of it in these terms.
 */

import type { NodeProto } from './onnx/proto/onnx_pb.js'

/** One operation between the product and the softmax; `chain` is the input through which the scores flow. */
export interface ScoreStep {
  node: NodeProto
  chain: number
}

/** One operation between the tensor that can be captured and an operand of the product, nearest first. */
export interface OperandStep {
  node: NodeProto
  /** The tensor that the operation reads, one step closer to the projection. */
  source: string
  /** Name of the constant factor, when the operation is a multiplication or division by one. */
  factor?: string
}

export interface SiteCandidate {
  /** The node that gives the pattern: a Softmax, or the last of the operations that one is written as. */
  softmax: NodeProto
  softmaxInput: string
  /** As the graph has it: negative axes count from the end. */
  softmaxAxis: number
  /** MatMul, com.microsoft.FusedMatMul, Gemm or Einsum. */
  product: NodeProto
  /** From the product's output to the softmax's input. */
  steps: ScoreStep[]
  left: OperandStep[]
  right: OperandStep[]
  /** The operator that all of this is lowered from; absent where attention is written out. */
  fused?: FusedAttention
}

/** Attention that exists in the graph but that cannot be captured, and why. */
export interface UnsupportedSite {
  /** Name of the softmax, of the fused operator, or of the node in the way. */
  node: string
  /** How attention is written there: the operator, or the operation in the way. */
  op: string
  /** Why it cannot be captured, in a sentence. */
  reason: string
  /** What it would take to capture it, where that is known. */
  needs?: string
  /** Its place among all attention of the graph, captured or not, as in the names of heads. */
  layer?: number
  /** `enc`, `dec` or `cross` in a model with several kinds. */
  kind?: SiteKind
}

/** Attention that is refused, while its place in the graph still matters. */
export interface RefusedSite extends UnsupportedSite {
  at: NodeProto
}

/** Self attention of an encoder, that of a decoder, or cross attention from the one to the other. */
export type SiteKind = 'enc' | 'dec' | 'cross'

/** An operator and the subgraph that stands for it. */
export interface LoweredAttention {
  /** Scores, softmax and the steps between, in the subgraph. */
  candidate: SiteCandidate
  /** Queries [batch, heads, pos, d] and keys [batch, kvHeads, pos, d] as they enter the product. */
  q: string
  k: string
  /** The softmax's output, [batch, heads, queryPos, keyPos]. */
  pattern: string
  /** The subgraph's attention output, float32, in the shape of the operator's own. */
  output: string
  /** Whether that is [batch, heads, pos, d]; otherwise it is [batch, pos, heads * d]. */
  byHead: boolean
  /** Whether the operator itself masks later keys or rotates; what it does not do, the graph around it may. */
  causal: boolean
  rotary: boolean
  /** Scores that the operator itself can give: its output of that name equals the subgraph's tensor. */
  scores?: { own: string; lowered: string }
}

/** An operator with everything that the rest of the package asks of it. */
export interface FusedAttention extends LoweredAttention {
  node: NodeProto
  /** Domain and operator, `com.microsoft.GroupQueryAttention`. */
  op: string
}
