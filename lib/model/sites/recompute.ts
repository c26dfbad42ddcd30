/**
 * Recomputes attention scores from queries and keys, by the model's own steps of scale, cap and mask, on
 * plain data, so that it can run in a thread of its own.
 */

import { contiguousStrides } from '../../tensor.js'
import type { WireTensor } from '../inference/session.js'
import { broadcast, type NdArray, transpose } from './ndarray.js'
import type { ProductAxis } from './site.js'
import { tensorValues } from './values.js'

/** An operation between the product and the softmax. */
export interface CheckStep {
  op: string
  inputs: string[]
  output: string
  /** The input through which the scores flow. */
  chain: number
  perm?: number[]
}

/** What is recomputed of one site; names are those of fetched tensors. */
export interface ScoreCheck {
  /** [batch, pos, heads, d] and [batch, pos, kvHeads, d] */
  q: string
  k: string
  product: string
  productAxes: ProductAxis[]
  operandScale: number
  steps: CheckStep[]
  softmaxInput: string
  /** Outputs of a fused operator, the attention output first, and what its subgraph computes in their place. */
  own: { own: string; unfolded: string }[]
}

export interface Verification {
  /**
   * ||S - S'||_F / ||S||_F over unmasked entries; NaN where a step could not be recomputed. Of a fused operator the
   * largest among its scores and its own outputs.
   */
  relativeError: number
  /** Whether the captured queries and keys are finite. */
  finite: boolean
  /**
   * Every how many captured key heads differ. More than 1 where heads were repeated by operations that
   * could not be followed.
   */
  keyStride: number
  /** Element type of the captured queries. */
  dtype: 'f32' | 'f16'
  /** onnxruntime's name of the element type of the product's output. */
  productType: string
  /** The same of a fused operator's attention output. */
  outputType: string
}

/** Below this a score is masked: exporters use -10000, the type's lowest number, or minus infinity. */
export const MASKED_BELOW = -5000

export const RESHAPING_OPS: readonly string[] = ['Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Transpose']
export const PASSING_OPS: readonly string[] = ['Cast', 'CastLike', 'Identity', 'Dropout']

export function checkScores(check: ScoreCheck, tensors: Record<string, WireTensor>): Verification {
  const values = (name: string): NdArray => ({ data: tensorValues(tensors[name]), shape: tensors[name].dims })
  const [q, k] = [values(check.q), values(check.k)]
  let scores: NdArray | undefined = product(check, q, k, tensors[check.product].dims)
  for (const step of check.steps) {
    scores = applyStep(step, scores, values)
    if (!scores) break
  }
  const expected = values(check.softmaxInput)
  const errors = [
    scores ? relativeError(expected.data, scores.data) : Number.NaN,
    ...check.own.map(({ own, unfolded }) => ownError(values(own), values(unfolded), expected)),
  ]
  return {
    relativeError: Math.max(...errors),
    finite: q.data.every(Number.isFinite) && k.data.every(Number.isFinite),
    keyStride: keyStride(q, k),
    dtype: tensors[check.q].type === 'float16' ? 'f16' : 'f32',
    productType: tensors[check.product].type,
    outputType: check.own.length > 0 ? tensors[check.own[0].own].type : 'float32',
  }
}

/** operandScale * q k^T with the axes in the order of the product's output. */
function product(
  { productAxes, operandScale }: ScoreCheck,
  q: NdArray,
  k: NdArray,
  shape: readonly number[],
): NdArray {
  const [batch, queries, heads, d] = q.shape
  const [, keys, keyHeads] = k.shape
  const perKeyHead = heads / keyHeads
  const strides = contiguousStrides(shape)
  const stride = (axis: ProductAxis) => strides[productAxes.indexOf(axis)] ?? 0
  // Heads may lie along two axes, key head and query head within its group.
  const groupAxis = productAxes.indexOf('group')
  const groups = groupAxis < 0 ? 1 : shape[groupAxis]
  const data = new Float64Array(shape.reduce((a, b) => a * b, 1))
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const head =
        Math.floor(h / groups) * stride('head') +
        (h % groups) * stride('group') +
        (b * heads + h) * stride('fold')
      for (let i = 0; i < queries; i++) {
        const row = b * stride('batch') + head + i * stride('queryPos')
        const qAt = ((b * queries + i) * heads + h) * d
        for (let j = 0; j < keys; j++) {
          const kAt = ((b * keys + j) * keyHeads + Math.floor(h / perKeyHead)) * d
          let sum = 0
          for (let c = 0; c < d; c++) sum += q.data[qAt + c] * k.data[kAt + c]
          data[row + j * stride('keyPos')] = operandScale * sum
        }
      }
    }
  }
  return { data, shape }
}

function applyStep(
  { op, inputs, output, chain, perm }: CheckStep,
  x: NdArray,
  values: (name: string) => NdArray,
): NdArray | undefined {
  if (PASSING_OPS.includes(op)) return x
  if (op === 'Transpose') return transpose(x, perm)
  if (RESHAPING_OPS.includes(op)) return { data: x.data, shape: values(output).shape }
  const operand = (i: number) => (i === chain ? x : values(inputs[i]))
  switch (op) {
    case 'Add':
    case 'Sum':
      return inputs.map((_, i) => operand(i)).reduce((a, b) => broadcast((p, r) => p + r, a, b))
    case 'Sub':
      return broadcast((a, b) => a - b, operand(0), operand(1))
    case 'Mul':
      return broadcast((a, b) => a * b, operand(0), operand(1))
    case 'Div':
      return broadcast((a, b) => a / b, operand(0), operand(1))
    case 'Max':
      return broadcast(Math.max, operand(0), operand(1))
    case 'Min':
      return broadcast(Math.min, operand(0), operand(1))
    case 'Neg':
      return { ...x, data: x.data.map((v) => -v) }
    case 'Tanh':
      return { ...x, data: x.data.map(Math.tanh) }
    case 'Clip':
      return clip(inputs, x, values)
    case 'Where': {
      const [condition, yes, no] = [0, 1, 2].map(operand)
      // Two passes keep `broadcast` binary: the marker is a value that no score takes.
      const picked = broadcast((c, y) => (c ? y : Number.NaN), condition, yes)
      return broadcast((p, n) => (Number.isNaN(p) ? n : p), picked, no)
    }
    default:
      return undefined
  }
}

function clip(inputs: readonly string[], x: NdArray, values: (name: string) => NdArray): NdArray {
  const bound = (i: number, fallback: number) => (inputs[i] ? values(inputs[i]).data[0] : fallback)
  const low = bound(1, Number.NEGATIVE_INFINITY)
  const high = bound(2, Number.POSITIVE_INFINITY)
  return { ...x, data: x.data.map((v) => Math.min(high, Math.max(low, v))) }
}

function relativeError(expected: Float64Array, actual: Float64Array): number {
  let difference = 0
  let total = 0
  for (let i = 0; i < expected.length; i++) {
    if (expected[i] <= MASKED_BELOW) continue
    difference += (expected[i] - actual[i]) ** 2
    total += expected[i] ** 2
  }
  return ratio(difference, total)
}

function ratio(difference: number, total: number): number {
  if (total === 0) return difference === 0 ? 0 : Number.POSITIVE_INFINITY
  return Math.sqrt(difference / total)
}

/**
 * The same for an output of a fused operator: attention [batch, pos, heads * d] or [batch, heads, pos, d], or scores
 * [batch, heads, queryPos, keyPos]. Rows of queries that see no key at all are left out: every kernel fills them
 * with something else. So are masked scores.
 */
function ownError(own: NdArray, unfolded: NdArray, scores: NdArray): number {
  const [batch, heads, queries, keys] = scores.shape
  const seen = new Uint8Array(batch * queries)
  for (let row = 0; row < batch * heads * queries; row++) {
    const at = Math.floor(row / (heads * queries)) * queries + (row % queries)
    for (let j = 0; j < keys && !seen[at]; j++) if (scores.data[row * keys + j] > MASKED_BELOW) seen[at] = 1
  }
  const byHead = own.shape.length === 4
  const width = own.shape[own.shape.length - 1]
  const rows = own.data.length / width
  const counted = (row: number) =>
    byHead ? seen[Math.floor(row / (own.shape[1] * queries)) * queries + (row % queries)] : seen[row]
  let difference = 0
  let total = 0
  for (let row = 0; row < rows; row++) {
    if (!counted(row)) continue
    for (let at = row * width; at < (row + 1) * width; at++) {
      if (own.data[at] <= MASKED_BELOW && unfolded.data[at] <= MASKED_BELOW) continue
      difference += (own.data[at] - unfolded.data[at]) ** 2
      total += own.data[at] ** 2
    }
  }
  return ratio(difference, total)
}

/**
 * The largest stride by which equal key heads stand side by side, for every row. Where queries repeat with it, heads
 * are equal because of their weights, not because keys are shared.
 */
function keyStride(q: NdArray, k: NdArray): number {
  const heads = k.shape[2]
  for (let stride = heads; stride > 1; stride--) {
    if (heads % stride === 0 && headsRepeat(k, stride)) return headsRepeat(q, stride) ? 1 : stride
  }
  return 1
}

/** Whether every head equals the first of its group of `stride`. */
function headsRepeat({ data, shape }: NdArray, stride: number): boolean {
  const [batch, positions, heads, d] = shape
  for (let row = 0; row < batch * positions; row++) {
    for (let h = 0; h < heads; h++) {
      const [own, first] = [(row * heads + h) * d, (row * heads + h - (h % stride)) * d]
      for (let c = 0; c < d; c++) if (data[own + c] !== data[first + c]) return false
    }
  }
  return true
}
