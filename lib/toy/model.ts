/**
 * The one-head attention model of the toy task, forward and backward.
 *
 *   q = x_q W_Q,  s_t = q · (x_t W_K) / sqrt(d),  a = softmax(s),  o = (sum_t a_t x_t) W_V,  logits = o W_O
 *
 * Keys and values are never formed: s_t = x_t · (W_K q), and the gradients of W_K and W_V are sums of one
 * outer product a sample, so that a sample costs O(T dModel + dModel d) instead of O(T dModel d).
 */

import type { Random } from '../math/random.js'
import type { ToyBatch } from './task.js'

export interface ToyShape {
  dModel: number
  dHead: number
  payloads: number
}

/** Row-major: wq, wk, wv [dModel, dHead], wo [dHead, payloads]. */
export interface ToyWeights {
  wq: Float64Array
  wk: Float64Array
  wv: Float64Array
  wo: Float64Array
}

export const WEIGHT_NAMES = ['wq', 'wk', 'wv', 'wo'] as const

/** Uniform in ±1/sqrt(inputs), as PyTorch initialises linear layers. */
export function initialWeights({ dModel, dHead, payloads }: ToyShape, random: Random): ToyWeights {
  const uniform = (rows: number, cols: number) =>
    Float64Array.from({ length: rows * cols }, () => (2 * random.next() - 1) / Math.sqrt(rows))
  return {
    wq: uniform(dModel, dHead),
    wk: uniform(dModel, dHead),
    wv: uniform(dModel, dHead),
    wo: uniform(dHead, payloads),
  }
}

export function zeroWeights({ dModel, dHead, payloads }: ToyShape): ToyWeights {
  return {
    wq: new Float64Array(dModel * dHead),
    wk: new Float64Array(dModel * dHead),
    wv: new Float64Array(dModel * dHead),
    wo: new Float64Array(dHead * payloads),
  }
}

export interface ToyLoss {
  /** Mean cross entropy. */
  loss: number
  /** Share of samples whose answer has the largest logit. */
  accuracy: number
}

/** Mean loss of a batch; adds its gradient to `gradient` if that is given. */
export function toyLoss(
  shape: ToyShape,
  weights: ToyWeights,
  batch: ToyBatch,
  gradient?: ToyWeights,
): ToyLoss {
  const { dModel, dHead, payloads } = shape
  const { wq, wk, wv, wo } = weights
  const context = batch.tokens.length / (batch.size * dModel)
  const scale = 1 / Math.sqrt(dHead)
  const q = new Float64Array(dHead)
  const probe = new Float64Array(dModel) // W_K q
  const pattern = new Float64Array(context)
  const da = new Float64Array(context)
  const mixed = new Float64Array(dModel) // sum_t a_t x_t
  const o = new Float64Array(dHead)
  const logits = new Float64Array(payloads)
  const dO = new Float64Array(dHead)
  const back = new Float64Array(dModel) // W_V dO
  const dQ = new Float64Array(dHead)
  let loss = 0
  let correct = 0
  for (let b = 0; b < batch.size; b++) {
    const x = batch.tokens.subarray(b * context * dModel, (b + 1) * context * dModel)
    const xq = batch.queries.subarray(b * dModel, (b + 1) * dModel)
    vectorTimesMatrix(xq, wq, q)
    matrixTimesVector(wk, q, probe)
    for (let t = 0; t < context; t++) {
      pattern[t] = scale * dot(x, t * dModel, probe)
    }
    softmax(pattern)
    weightedRows(x, pattern, mixed)
    vectorTimesMatrix(mixed, wv, o)
    vectorTimesMatrix(o, wo, logits)
    if (argmax(logits) === batch.answers[b]) {
      correct += 1
    }
    softmax(logits)
    loss -= Math.log(Math.max(logits[batch.answers[b]], Number.MIN_VALUE))
    if (!gradient) {
      continue
    }

    logits[batch.answers[b]] -= 1
    for (let p = 0; p < payloads; p++) {
      logits[p] /= batch.size
    }
    addOuter(gradient.wo, o, logits)
    matrixTimesVector(wo, logits, dO)
    addOuter(gradient.wv, mixed, dO)
    // ds_t = scale a_t (da_t - sum_u a_u da_u), da_t = x_t · (W_V dO)
    matrixTimesVector(wv, dO, back)
    let mean = 0
    for (let t = 0; t < context; t++) {
      da[t] = dot(x, t * dModel, back)
      mean += pattern[t] * da[t]
    }
    for (let t = 0; t < context; t++) {
      da[t] = scale * pattern[t] * (da[t] - mean)
    }
    weightedRows(x, da, mixed)
    addOuter(gradient.wk, mixed, q)
    vectorTimesMatrix(mixed, wk, dQ)
    addOuter(gradient.wq, xq, dQ)
  }
  return { loss: loss / batch.size, accuracy: correct / batch.size }
}

function dot(rows: Float64Array, at: number, vector: Float64Array): number {
  const n = vector.length
  // Two accumulators, since with one every addition would wait for the previous one.
  let even = 0
  let odd = 0
  let c = 0
  for (; c + 1 < n; c += 2) {
    even += rows[at + c] * vector[c]
    odd += rows[at + c + 1] * vector[c + 1]
  }
  return c < n ? even + odd + rows[at + c] * vector[c] : even + odd
}

/** out = v M, M [v.length, out.length] */
function vectorTimesMatrix(v: Float64Array, m: Float64Array, out: Float64Array): void {
  const n = out.length
  out.fill(0)
  for (let i = 0; i < v.length; i++) {
    const value = v[i]
    for (let j = 0; j < n; j++) {
      out[j] += value * m[i * n + j]
    }
  }
}

/** out = M v, M [out.length, v.length] */
function matrixTimesVector(m: Float64Array, v: Float64Array, out: Float64Array): void {
  for (let i = 0; i < out.length; i++) {
    out[i] = dot(m, i * v.length, v)
  }
}

/** out = sum_t weights_t rows_t */
function weightedRows(rows: Float64Array, weights: Float64Array, out: Float64Array): void {
  const n = out.length
  out.fill(0)
  for (let t = 0; t < weights.length; t++) {
    const weight = weights[t]
    for (let c = 0; c < n; c++) {
      out[c] += weight * rows[t * n + c]
    }
  }
}

/** m += a b^T */
function addOuter(m: Float64Array, a: Float64Array, b: Float64Array): void {
  const n = b.length
  for (let i = 0; i < a.length; i++) {
    const value = a[i]
    for (let j = 0; j < n; j++) {
      m[i * n + j] += value * b[j]
    }
  }
}

function softmax(v: Float64Array): void {
  let max = Number.NEGATIVE_INFINITY
  for (const value of v) {
    max = Math.max(max, value)
  }
  let sum = 0
  for (let i = 0; i < v.length; i++) {
    v[i] = Math.exp(v[i] - max)
    sum += v[i]
  }
  for (let i = 0; i < v.length; i++) {
    v[i] /= sum
  }
}

function argmax(v: Float64Array): number {
  let best = 0
  for (let i = 1; i < v.length; i++) {
    if (v[i] > v[best]) {
      best = i
    }
  }
  return best
}
