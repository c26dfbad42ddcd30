/**
 * Attention found in a graph, before a probe has determined what its axes are. It is either written out in plain
 * operators or lowered from a fused operator. The search, the lowering and the resolution of sites share these types.
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
  /** The node that computes the pattern: a Softmax, or the last operation of a softmax that is written out. */
  softmax: NodeProto
  softmaxInput: string
  /** Axis as in the graph; negative axes count from the end. */
  softmaxAxis: number
  /** MatMul, com.microsoft.FusedMatMul, Gemm or Einsum. */
  product: NodeProto
  /** From the product's output to the softmax's input. */
  steps: ScoreStep[]
  left: OperandStep[]
  right: OperandStep[]
  /** The fused operator from which all of this is lowered. Absent if attention is written out. */
  fused?: FusedAttention
}

/** Attention in the graph that cannot be captured, and why. */
export interface UnsupportedSite {
  /** Name of the softmax, of the fused operator, or of the node that prevents capture. */
  node: string
  /** Operator of that node. */
  op: string
  /** Why it cannot be captured, in a sentence. */
  reason: string
  /** What would make capture possible, if that is known. */
  needs?: string
  /** Index among all attention of the graph, captured or not, as in the names of heads. */
  layer?: number
  /** `enc`, `dec` or `cross` in a model with several kinds. */
  kind?: SiteKind
}

/** Refused attention. Its position in the graph still counts for the numbering of layers. */
export interface RefusedSite extends UnsupportedSite {
  at: NodeProto
}

/**
 * Self attention of an encoder, self attention of a decoder, or cross attention from the decoder to the encoder.
 */
export type SiteKind = 'enc' | 'dec' | 'cross'

/** A fused operator and the equivalent subgraph. */
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
  /** Whether the output is [batch, heads, pos, d]; otherwise it is [batch, pos, heads * d]. */
  byHead: boolean
  /** Whether the operator itself masks later keys or rotates. If it does not, the graph around it may. */
  causal: boolean
  rotary: boolean
  /** An optional output of scores of the operator: its tensor `own` equals the subgraph's tensor `lowered`. */
  scores?: { own: string; lowered: string }
}

/** A fused operator with everything that the rest of the package needs to know about it. */
export interface FusedAttention extends LoweredAttention {
  node: NodeProto
  /** Domain and operator, `com.microsoft.GroupQueryAttention`. */
  op: string
}
