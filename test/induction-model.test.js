/** The bundled induction model: its sites, what it predicts, and what its heads attend to, against induction.json. */

import { statSync } from 'node:fs'
import { createRequire } from 'node:module'
import test from 'ava'
import { bundledFile, bundledInduction, capture, openModel } from '../dist/index.js'
import { inductionInputs, inductionSequences, plainAttention } from './helpers/induction-sequences.js'

const ort = createRequire(import.meta.url)('onnxruntime-node')
const file = bundledFile('induction.onnx')
const known = bundledInduction()
const sequences = inductionSequences(known, 300, 7)

test('two causal layers of four heads, without warnings', async (t) => {
  const model = await openModel(file)
  t.deepEqual(
    model.sites.map(({ layer, op, heads, kvHeads, headDim, scale, causal, rotary, cross }) => ({
      layer,
      op,
      heads,
      kvHeads,
      headDim,
      scale,
      causal,
      rotary,
      cross,
    })),
    [0, 1].map((layer) => ({
      layer,
      op: 'MatMul',
      heads: 4,
      kvHeads: 4,
      headDim: 16,
      scale: 0.25,
      causal: true,
      rotary: false,
      cross: false,
    })),
  )
  t.deepEqual(model.unsupported, [])
  t.deepEqual(model.warnings, [])
  for (const { relativeError } of model.sites) {
    t.true(relativeError < 1e-5)
  }
  t.true(statSync(file).size < 400_000)
})

test('the second copy is predicted as often as induction.json says', async (t) => {
  const session = await ort.InferenceSession.create(file)
  const feeds = Object.entries(inductionInputs(sequences)).map(([name, { data, shape }]) => [
    name,
    new ort.Tensor('int64', data, shape),
  ])
  const { logits } = await session.run(Object.fromEntries(feeds))
  t.deepEqual(logits.dims, [sequences.length, known.length, known.vocabulary])
  let [right, all] = [0, 0]
  sequences.forEach(({ tokens, second, segment }, s) => {
    for (let i = second + 1; i < second + segment; i++) {
      const at = (s * known.length + i - 1) * known.vocabulary
      const row = logits.data.subarray(at, at + known.vocabulary)
      right += row.indexOf(row.reduce((a, b) => Math.max(a, b))) === tokens[i] ? 1 : 0
      all++
    }
  })
  t.true(Math.abs(right / all - known.accuracy) < 0.03, `${right / all}, expected ${known.accuracy}`)
})

test('tokens behind the mask change nothing', async (t) => {
  const session = await ort.InferenceSession.create(file)
  const { tokens } = sequences[0]
  const logits = async (ids, mask) => {
    const tensor = (values) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length])
    const found = await session.run({ input_ids: tensor(ids), attention_mask: tensor(mask) })
    return found.logits.data.subarray(0, 20 * known.vocabulary)
  }
  const short = await logits(tokens.slice(0, 20), Array(20).fill(1))
  const padded = await logits(tokens, [...Array(20).fill(1), ...Array(known.length - 20).fill(0)])
  t.true(short.every((x, i) => Math.abs(x - padded[i]) < 1e-3))
})

test('heads attend to what induction.json says', async (t) => {
  const model = await openModel(file)
  const { activations } = await capture(model, { inputs: inductionInputs(sequences) }, { pattern: true })
  t.is(Object.keys(known.attention).length, 8)
  for (const layer of [0, 1]) {
    const found = plainAttention(sequences, activations[`blocks.${layer}.attn.hook_pattern`])
    found.forEach((figures, head) => {
      const stated = known.attention[`L${layer}H${head}`]
      t.deepEqual(Object.keys(stated).sort(), Object.keys(figures).sort())
      for (const [name, value] of Object.entries(figures)) {
        t.true(
          Math.abs(value - stated[name]) < 0.05,
          `L${layer}H${head} ${name}: ${value}, stated ${stated[name]}`,
        )
      }
    })
  }
})

test('some head looks at the token before, and a later one behind an earlier copy', (t) => {
  const most = (layer, name) =>
    Math.max(...[0, 1, 2, 3].map((head) => known.attention[`L${layer}H${head}`][name]))
  t.true(most(0, 'previous') > 0.5)
  t.true(most(1, 'induction') > 0.6)
  t.true(most(0, 'induction') < 0.1)
})
