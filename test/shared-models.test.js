/** Real models from a collection beside the checkout; skipped by name where it is absent. */

import { createRequire } from 'node:module'
import test from 'ava'
import { accumulate, decompose, openModel } from '../dist/index.js'
import { sharedModel, withSharedModels } from './helpers/files.js'
import { relativeDifference } from './helpers/linear-algebra.js'

const shared = withSharedModels(test)
const stories = (name) => sharedModel(`tinystories-260k/${name}`)

const DECOMPOSED = [
  ['tinystories-260k/eager.onnx', 8, 1e-4],
  ['tinystories-260k/packed.onnx', 8, 1e-4],
  ['tinystories-260k/eager_ext.onnx', 8, 1e-4],
  ['tinystories-260k/eager_fp16.onnx', 8, 1e-2],
  ['babyllama-105/eager.onnx', 16, 1e-4],
]

for (const [name, headDim, limit] of DECOMPOSED) {
  shared(`${name}: five sites of eight query and four key heads`, async (t) => {
    const model = await openModel(sharedModel(name))
    t.is(model.sites.length, 5)
    for (const site of model.sites) {
      t.like(site, { heads: 8, kvHeads: 4, headDim, causal: true, rotary: true, cross: false })
      t.true(site.relativeError < limit)
    }
  })
}

const STORIES = [
  'Once upon a time, there was a little girl named Lily. Lily had a red ball and Tom had a blue car. One day, Tom',
  'Lily went to the park with her mom. She saw Ben and a dog. Then Tom came and Lily waved to Tom',
  'Tom and Lily were friends. They liked to play. Tom',
].map((text) => ({
  contrast: 'name',
  text,
  terms: [{ query: -1, positive: [{ match: 'Tom', nth: 0 }], negative: [{ match: 'Lily', nth: 0 }] }],
}))

async function decomposed(file, options) {
  const model = await openModel(file, { tokenizer: stories('tokenizer.json') })
  return decompose(await accumulate(model, STORIES, options))
}

shared('one prompt set gives the same singular values in every decomposed dialect', async (t) => {
  const [eager, ...others] = await Promise.all(
    ['eager', 'packed', 'eager_ext'].map((name) => decomposed(stories(`${name}.onnx`))),
  )
  for (const other of others) {
    for (const head of eager.headNames) {
      const [a, b] = [eager, other].map((r) => r.head(head).contrast('name'))
      t.true(relativeDifference(a.s, b.s) < 1e-4, head)
    }
  }
})

shared('float16 weights give nearly the same', async (t) => {
  const full = await decomposed(stories('eager.onnx'))
  const half = await decomposed(stories('eager_fp16.onnx'))
  for (const head of full.headNames) {
    const [a, b] = [full, half].map((r) => r.head(head).contrast('name').s[0])
    t.true(Math.abs(a - b) < 1e-2 * a, head)
  }
})

shared('a result does not depend on the batch, with padding and masks', async (t) => {
  const alone = await decomposed(stories('eager.onnx'), { batchSize: 1 })
  const together = await decomposed(stories('eager.onnx'), { batchSize: 3 })
  for (const head of alone.headNames) {
    const [a, b] = [alone, together].map((r) => r.head(head).contrast('name').s)
    t.true(relativeDifference(a, b) < 1e-5, head)
  }
})

shared('the tokenizer’s prepended space does not shift positions', async (t) => {
  const model = await openModel(stories('eager.onnx'), { tokenizer: stories('tokenizer.json') })
  const text = '😀 Once upon a time'
  const { ids, spans, special } = await model.tokenizer.encode(text)
  const last = ids.length - 1
  t.true(special[0])
  t.true(text.slice(...spans[last]).endsWith('time'))
  t.regex(model.tokenizer.token(ids[last]), /^.time$/)
})

const FIXTURES = [
  ['bert_toy_optimized', 5],
  ['attention_past_unidir', 1],
  ['gpt2_past', 12],
  ['mlm_bert_e2e', 1],
]
for (const [name, sites] of FIXTURES) {
  shared(`${name}: captured and verified`, async (t) => {
    const model = await openModel(sharedModel(`ort-fixtures/${name}.onnx`))
    t.is(model.sites.length, sites)
    for (const { relativeError } of model.sites) t.true(relativeError < 1e-5)
  })
}

const FUSED = [
  'tinystories-260k/mha',
  'tinystories-260k/attn23',
  'babyllama-105/gqa',
  'ort-fixtures/attention_mha',
  'ort-fixtures/dmmha_cross_attn',
  'ort-fixtures/hf_fp32_encoder_self_attention',
  'ort-fixtures/hf_fp32_decoder_attention_no_past',
  'ort-fixtures/hf_fp32_decoder_attention_with_past',
]
for (const name of FUSED) {
  shared(`${name}: refused, because its attention is fused`, async (t) => {
    await t.throwsAsync(openModel(sharedModel(`${name}.onnx`)), {
      code: 'ERR_NO_ATTENTION',
      message: /is a fused operator/,
    })
  })
}

shared(
  'attention_distilbert: refused with onnxruntime’s reason, since it does not run as written',
  async (t) => {
    await t.throwsAsync(openModel(sharedModel('ort-fixtures/attention_distilbert.onnx')), {
      code: 'ERR_INFERENCE',
      message: /does not run on a synthetic batch.*Reshape/s,
    })
  },
)

shared('the greedy continuation of a story is what the model is known to write', async (t) => {
  const ort = createRequire(import.meta.url)('onnxruntime-node')
  const model = await openModel(stories('eager.onnx'), { tokenizer: stories('tokenizer.json') })
  const session = await ort.InferenceSession.create(stories('eager.onnx'))
  const { ids } = await model.tokenizer.encode('Once upon a time')
  for (let step = 0; step < 14; step++) {
    const dims = [1, ids.length]
    const { logits } = await session.run({
      input_ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), dims),
      attention_mask: new ort.Tensor('int64', new BigInt64Array(ids.length).fill(1n), dims),
    })
    const row = logits.data.subarray(-logits.dims[2])
    ids.push(row.indexOf(Math.max(...row)))
  }
  const written = ids.map(model.tokenizer.token).join('').replaceAll('▁', ' ')
  t.regex(written, /Once upon a time, there was a little girl/)
})
