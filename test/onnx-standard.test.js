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

for (const name of CASES) {
  shared(`test_attention_4d_${name}: as the standard expects`, async (t) => {
    const folder = sharedModel(`onnx-attention/test_attention_4d_${name}`)
    const proto = fromBinary(ModelProtoSchema, readFileSync(`${folder}/model.onnx`))
    const { node, input, output } = proto.graph
    const tensors = (kind, infos) =>
      Object.fromEntries(
        infos.map(({ name: n }, i) => [n, readTensor(`${folder}/test_data_set_0/${kind}_${i}.pb`)]),
      )
    const inputs = tensors('input', input)
    const outputs = tensors('output', output)
    const attribute = (key, read, fallback) => {
      const found = node[0].attribute.find((a) => a.name === key)
      return found ? Number(read(found)) : fallback
    }
    const model = await openModel(`${folder}/model.onnx`)
    const [site] = model.sites
    const half = name === 'fp16'
    const limit = half ? 1e-2 : 1e-4
    t.true(site.relativeError < limit)

    const captured = await capture(model, { inputs }, { scores: true, pattern: true })
    const { hooks, relativeError } = captured.sites[0]
    t.true(relativeError < limit)
    const numbers = ({ data, dtype, shape }) => ({
      shape,
      data: dtype === 'f16' ? Float64Array.from(data, f16ToNumber) : Float64Array.from(data),
    })
    const q = numbers(captured.activations[hooks.q])
    const k = numbers(captured.activations[hooks.k])
    const [B, S, H, d] = q.shape
    const [, T, kvHeads] = k.shape
    t.is(d, site.headDim)

    const cap = attribute('softcap', (a) => a.f, 0)
    const causal = attribute('is_causal', (a) => a.i, 0) === 1
    const mode = attribute('qk_matmul_output_mode', (a) => a.i, 0)
    const past = inputs.past_key?.shape[2] ?? 0
    const mask = inputs.attn_mask
    const stages = [0, 1, 2, 3].map(() => new Float64Array(B * H * S * T))
    for (let b = 0, at = 0; b < B; b++) {
      for (let h = 0; h < H; h++) {
        for (let i = 0; i < S; i++) {
          const row = at
          for (let j = 0; j < T; j++, at++) {
            const key = Math.floor((h * kvHeads) / H)
            let dot = 0
            for (let c = 0; c < d; c++) {
              dot += q.data[((b * S + i) * H + h) * d + c] * k.data[((b * T + j) * kvHeads + key) * d + c]
            }
            stages[0][at] = Number(site.scale) * dot
            stages[1][at] = cap ? cap * Math.tanh(stages[0][at] / cap) : stages[0][at]
            const m = mask ? mask.data[broadcastAt(mask.shape, [b, h, i, j])] : 0
            const hidden = (mask?.bool && !m) || (causal && j > i + past)
            stages[2][at] = hidden ? Number.NEGATIVE_INFINITY : stages[1][at] + (mask?.bool ? 0 : m)
          }
          const weights = stages[2].subarray(row, at).map(Math.exp)
          const sum = weights.reduce((x, y) => x + y)
          for (let j = 0; j < T; j++) {
            stages[3][row + j] = weights[j] / sum
          }
        }
      }
    }
    t.true(relativeDifference(numbers(captured.activations[hooks.pattern]).data, stages[3]) < limit)
    if (outputs.qk_matmul_output) {
      t.true(relativeDifference(outputs.qk_matmul_output.data, stages[mode]) < limit)
    }
    const v = inputs.V
    const before = inputs.past_value
    const dv = v.shape[3]
    const value = (b, h, j, c) =>
      j < past
        ? before.data[((b * kvHeads + h) * past + j) * dv + c]
        : v.data[((b * kvHeads + h) * (T - past) + j - past) * dv + c]
    const attended = Float64Array.from({ length: B * H * S * dv }, (_, at) => {
      const c = at % dv
      const row = Math.floor(at / dv)
      const h = Math.floor(row / S) % H
      const b = Math.floor(row / (S * H))
      let sum = 0
      for (let j = 0; j < T; j++) {
        sum += stages[3][row * T + j] * value(b, Math.floor((h * kvHeads) / H), j, c)
      }
      return sum
    })
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
