/**
 * Attention between queries, keys and values, in standard operators:
 *
 *   s = cap(scale * q k^T) + bias,   s = lowest where a key is not allowed,   output = softmax(s) v
 *
 * in float32, whatever the element type of the operator: its own arithmetic is float32 too, or close to it.
 */

import type { LoweredAttention, ScoreStep, SiteCandidate } from '../candidate.js'
import { ElementType } from '../onnx/node-writer.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'
import type { SubgraphWriter } from './fused-operator.js'

export interface AttentionParts {
  /** [batch, heads, pos, d] */
  q: string
  /** [batch, kvHeads, pos, d] */
  k: string
  /** [batch, kvHeads, pos, dv] */
  v: string
  /** Whether there are, or may be, fewer key heads than query heads. */
  grouped: boolean
  /** Scale of q·k; 1/sqrt(d) where absent. */
  scale?: number
  /** cap(x) = softcap * tanh(x / softcap) */
  softcap?: number
  /** Added to the scores after the cap; each broadcasts to [batch, heads, queryPos, keyPos]. */
  biases: string[]
  /**
   * Boolean masks; each broadcasts to [batch, heads, queryPos, keyPos]. A key is visible if all masks allow it.
   */
  allowed: string[]
  /** Logit of a sink in the softmax's denominator, [1, heads, 1, 1] or scalar. */
  sink?: string
}

export interface AttentionSubgraph extends Pick<LoweredAttention, 'candidate' | 'q' | 'k' | 'pattern'> {
  /** [batch, heads, queryPos, dv], float32 */
  attended: string
  /** Stages of the scores. */
  scaled: string
  capped: string
  masked: string
}

/** The lowest float, which replaces the score of a masked key. */
const LOWEST = -3.4028234663852886e38

export function writeAttention(write: SubgraphWriter, parts: AttentionParts): AttentionSubgraph {
  const { q, k, v, grouped } = parts
  const float = (tensor: string) => write.cast(tensor, ElementType.float)
  const repeated = (tensor: string) => (grouped ? repeatHeads(write, tensor, q) : tensor)
  const keys = write.transpose(repeated(float(k)), [0, 1, 3, 2])
  const raw = write.op('MatMul', [float(q), keys])
  const product = write.addedNodes.at(-1)!

  const steps: ScoreStep[] = []
  const step = (opType: string, inputs: string[], chain: number): string => {
    const output = write.op(opType, inputs)
    steps.push({ node: write.addedNodes.at(-1)!, chain })
    return output
  }
  let scores = parts.scale
    ? step('Mul', [raw, write.float(parts.scale)], 0)
    : step('Div', [raw, write.op('Sqrt', [float(write.size(q, 3))])], 0)
  const scaled = scores
  if (parts.softcap) {
    const cap = write.float(parts.softcap)
    scores = step('Div', [scores, cap], 0)
    scores = step('Tanh', [scores], 0)
    scores = step('Mul', [scores, cap], 0)
  }
  const capped = scores
  for (const bias of parts.biases) {
    scores = step('Add', [scores, float(bias)], 0)
  }
  for (const allowed of parts.allowed) {
    scores = step('Where', [allowed, scores, write.float(LOWEST)], 1)
  }

  const { pattern, softmax } = writeSoftmax(write, scores, parts.sink)
  const attended = write.op('MatMul', [pattern, repeated(float(v))])
  const candidate: SiteCandidate = {
    softmax,
    softmaxInput: scores,
    softmaxAxis: 3,
    product,
    steps,
    left: [],
    right: [],
  }
  return { candidate, q, k, pattern, attended, scaled, capped, masked: scores }
}

/** The subgraph of an operator whose output is [batch, pos, heads * d]. */
export function withJoinedHeads(
  write: SubgraphWriter,
  { candidate, q, k, pattern, attended }: AttentionSubgraph,
  { causal, rotary = false }: { causal: boolean; rotary?: boolean },
): LoweredAttention {
  return { candidate, q, k, pattern, output: write.joinHeads(attended), byHead: false, causal, rotary }
}

/** Writes the softmax. A sink is one more column of scores, whose share of the attention is discarded. */
function writeSoftmax(
  write: SubgraphWriter,
  scores: string,
  sink: string | undefined,
): { pattern: string; softmax: NodeProto } {
  if (sink === undefined) {
    const pattern = write.op('Softmax', [scores], { axis: 3 })
    return { pattern, softmax: write.addedNodes.at(-1)! }
  }
  const rows = write.slice(write.op('Shape', [scores]), 0, 0, 3)
  const column = write.op('Expand', [
    write.cast(sink, ElementType.float),
    write.concat([rows, write.ints([1])], 0),
  ])
  const shares = write.op('Softmax', [write.concat([scores, column], 3)], { axis: 3 })
  const softmax = write.addedNodes.at(-1)!
  return { pattern: write.slice(shares, 3, 0, -1), softmax }
}

/** [batch, kvHeads, pos, d] -> [batch, heads, pos, d]: the copies of every key head are adjacent. */
function repeatHeads(write: SubgraphWriter, tensor: string, q: string): string {
  const size = (axis: number) => write.size(tensor, axis)
  const groups = write.op('Div', [write.size(q, 1), size(1)])
  const single = write.reshape(tensor, [0, 0, 1, size(2), size(3)])
  const ones = write.ints([1, 1])
  const copies = write.op('Expand', [single, write.concat([ones, groups, ones], 0)])
  return write.reshape(copies, [0, -1, size(2), size(3)])
}

/**
 * Which keys a causal query may see, bool [queryPos, keyPos] or, with an offset for every sequence,
 * [batch, 1, queryPos, keyPos]: key j for query i when j <= i + offset and, with a window, j > i + offset - window.
 * The offset is an int64 tensor [], or [batch, 1, 1, 1].
 */
export function causalKeys(
  write: SubgraphWriter,
  q: string,
  k: string,
  offset: string | undefined,
  { window, causal = true }: { window?: number; causal?: boolean } = {},
): string[] {
  const own = write.reshape(write.range(write.scalarSize(q, 2)), [-1, 1])
  const rows = offset === undefined ? own : write.op('Add', [own, offset])
  const columns = write.reshape(write.range(write.scalarSize(k, 2)), [1, -1])
  const allowed: string[] = []
  if (causal) {
    allowed.push(write.op('Not', [write.op('Less', [rows, columns])]))
  }
  if (window !== undefined) {
    const first = write.op('Sub', [rows, write.ints([window], [])])
    allowed.push(write.op('Less', [first, columns]))
  }
  return allowed
}
