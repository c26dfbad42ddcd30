/**
 * The ONNX standard's own cases of `Attention`: every stage of the scores, rebuilt in float64 from captured queries
 * and keys, against the outputs that the standard expects.
 */

import { existsSync, readFileSync } from 'node:fs'
import { fromBinary } from '@bufbuild/protobuf'
import test from 'ava'
import { capture, openModel } from '../dist/index.js'
import { f16ToNumber } from '../dist/math/tensor.js'
import { ModelProtoSchema, TensorProtoSchema } from '../dist/model/onnx/proto/onnx_pb.js'
import { sharedModel, withSharedModels } from './helpers/files.js'
import { relativeDifference } from './helpers/linear-algebra.js'

const shared = withSharedModels(test)

const CASES = [
  'attn_mask_bool',
  'causal',
  'fp16',
  'gqa',
  'gqa_causal',
  'gqa_with_past_and_present',
  'scaled',
  'with_past_and_present_qk_matmul',
  'with_qk_matmul',
  'with_qk_matmul_bias',
  'with_qk_matmul_softcap',
  'with_qk_matmul_softmax',
]

function readTensor(file) {
  const { dims, dataType, rawData } = fromBinary(TensorProtoSchema, readFileSync(file))
  const bytes = Uint8Array.from(rawData).buffer
  const values = {
    1: () => new Float32Array(bytes),
    9: () => new Uint8Array(bytes),
    10: () => Array.from(new Uint16Array(bytes), f16ToNumber),
  }[dataType]()
  return { shape: dims.map(Number), data: Float64Array.from(values), bool: dataType === 9 }
}

/** Index of an element of [b, h, i, j] in a tensor that may lack or broadcast leading axes. */
function broadcastAt(shape, index) {
  const own = index.slice(4 - shape.length)
  return shape.reduce((at, size, axis) => at * size + (size === 1 ? 0 : own[axis]), 0)
}

/** Captured values in float64, with their shape. */
const numbers = ({ data, dtype, shape }) => ({
  shape,
  data: dtype === 'f16' ? Float64Array.from(data, f16ToNumber) : Float64Array.from(data),
})

/** A case of the standard: its node's attributes, its inputs, and the outputs that it expects. */
function readCase(folder) {
  const { node, input, output } = fromBinary(ModelProtoSchema, readFileSync(`${folder}/model.onnx`)).graph
  /** @returns {Record<string, ReturnType<typeof readTensor>>} */
  const tensors = (kind, infos) =>
    Object.fromEntries(
      infos.map(({ name }, i) => [name, readTensor(`${folder}/test_data_set_0/${kind}_${i}.pb`)]),
    )
  const attribute = (key, read, fallback) => {
    const found = node[0].attribute.find((a) => a.name === key)
    return found ? Number(read(found)) : fallback
  }
  return {
    inputs: tensors('input', input),
    outputs: tensors('output', output),
    cap: attribute('softcap', (a) => a.f, 0),
    causal: attribute('is_causal', (a) => a.i, 0) === 1,
    mode: attribute('qk_matmul_output_mode', (a) => a.i, 0),
  }
}

/**
 * Every element of [B, H, S, T] in order.
 * @param {number[]} shape
 */
function* elements([B, H, S, T]) {
  for (let b = 0, at = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      for (let i = 0; i < S; i++) {
        for (let j = 0; j < T; j++, at++) {
          yield { b, h, i, j, at }
        }
      }
    }
  }
}

/** The product of a query and a key, of q [B, S, H, d] and k [B, T, kvHeads, d]. */
function product(q, k, { b, h, i, j }) {
  const [, S, H, d] = q.shape
  const [, T, kvHeads] = k.shape
  const query = ((b * S + i) * H + h) * d
  const key = ((b * T + j) * kvHeads + Math.floor((h * kvHeads) / H)) * d
  let dot = 0
  for (let c = 0; c < d; c++) {
    dot += q.data[query + c] * k.data[key + c]
  }
  return dot
}

/** What the mask makes of a score. */
function masked(score, mask, isLater, { b, h, i, j }) {
  const m = mask ? mask.data[broadcastAt(mask.shape, [b, h, i, j])] : 0
  const isHidden = (mask?.bool && !m) || isLater
  return isHidden ? Number.NEGATIVE_INFINITY : score + (mask?.bool ? 0 : m)
}

/** Softmax of every row of [rows, T]. */
function softmax(scores, T) {
  const out = new Float64Array(scores.length)
  for (let row = 0; row < scores.length; row += T) {
    const weights = scores.subarray(row, row + T).map(Math.exp)
    const sum = weights.reduce((x, y) => x + y)
    out.set(
      weights.map((w) => w / sum),
      row,
    )
  }
  return out
}

/** Scores [B, H, S, T] as the standard counts their stages: scaled, capped, masked, after softmax. */
function stagesOf(q, k, scale, { inputs, cap, causal }) {
  const shape = [q.shape[0], q.shape[2], q.shape[1], k.shape[1]]
  const past = inputs.past_key?.shape[2] ?? 0
  const [scaled, capped, hidden] = [0, 1, 2].map(() => new Float64Array(shape.reduce((a, b) => a * b)))
  for (const element of elements(shape)) {
    const { at, i, j } = element
    scaled[at] = scale * product(q, k, element)
    capped[at] = cap ? cap * Math.tanh(scaled[at] / cap) : scaled[at]
    hidden[at] = masked(capped[at], inputs.attn_mask, causal && j > i + past, element)
  }
  return [scaled, capped, hidden, softmax(hidden, shape[3])]
}

/**
 * The output [B, H, S, dv] of a pattern [B, H, S, T], over values of the past and of the input.
 * @param {Float64Array} pattern
 * @param {number[]} shape
 * @param {number} kvHeads
 * @param {Record<string, ReturnType<typeof readTensor>>} inputs
 */
function attendedValues(pattern, [B, H, S, T], kvHeads, { V: v, past_value: before }) {
  const dv = v.shape[3]
  const past = before?.shape[2] ?? 0
  const value = (b, h, j, c) =>
    j < past
      ? before.data[((b * kvHeads + h) * past + j) * dv + c]
      : v.data[((b * kvHeads + h) * (T - past) + j - past) * dv + c]
  return Float64Array.from({ length: B * H * S * dv }, (_, at) => {
    const c = at % dv
    const row = Math.floor(at / dv)
    const h = Math.floor(row / S) % H
    const b = Math.floor(row / (S * H))
    let sum = 0
    for (let j = 0; j < T; j++) {
      sum += pattern[row * T + j] * value(b, Math.floor((h * kvHeads) / H), j, c)
    }
    return sum
  })
}

for (const name of CASES) {
  shared(`test_attention_4d_${name}: as the standard expects`, async (t) => {
    const folder = sharedModel(`onnx-attention/test_attention_4d_${name}`)
    const given = readCase(folder)
    const { inputs, outputs } = given
    const model = await openModel(`${folder}/model.onnx`)
    const [site] = model.sites
    const limit = name === 'fp16' ? 1e-2 : 1e-4
    t.true(site.relativeError < limit)

    const captured = await capture(model, { inputs }, { scores: true, pattern: true })
    const { hooks, relativeError } = captured.sites[0]
    t.true(relativeError < limit)
    const q = numbers(captured.activations[hooks.q])
    const k = numbers(captured.activations[hooks.k])
    const [B, S, H, d] = q.shape
    const [, T, kvHeads] = k.shape
    t.is(d, site.headDim)

    const stages = stagesOf(q, k, Number(site.scale), given)
    t.true(relativeDifference(numbers(captured.activations[hooks.pattern]).data, stages[3]) < limit)
    if (outputs.qk_matmul_output) {
      t.true(relativeDifference(outputs.qk_matmul_output.data, stages[given.mode]) < limit)
    }
    const attended = attendedValues(stages[3], [B, H, S, T], kvHeads, inputs)
    t.true(relativeDifference(outputs.Y.data, attended) < limit)
  })
}

shared('cases of RotaryEmbedding have no attention, and say so', async (t) => {
  for (const name of ['', '_3d_input', '_interleaved', '_with_rotary_dim']) {
    const file = sharedModel(`onnx-attention/test_rotary_embedding${name}/model.onnx`)
    t.true(existsSync(file))
    await t.throwsAsync(openModel(file), { code: 'ERR_NO_ATTENTION' })
  }
})
