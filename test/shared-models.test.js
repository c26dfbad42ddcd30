/** Real models from a collection beside the checkout; skipped by name where it is absent. */

import { createRequire } from 'node:module'
import test from 'ava'
import { accumulate, capture, decompose, intervene, openModel } from '../dist/index.js'
import { f16ToNumber } from '../dist/math/tensor.js'
import { sharedModel, withSharedModels } from './helpers/files.js'
import { projector, relativeDifference, visibleScores } from './helpers/linear-algebra.js'
import { ENERGY } from './helpers/rank-rules.js'

const shared = withSharedModels(test)
const numbers = ({ data, dtype }) => Array.from(data, dtype === 'f16' ? f16ToNumber : Number)
const stories = (name) => sharedModel(`tinystories-260k/${name}`)

/**
 * Model, operator, head dimension, largest error of a site.
 * @type {[string, string, number, number][]}
 */
const DIALECTS = [
  ['tinystories-260k/eager.onnx', 'MatMul', 8, 1e-4],
  ['tinystories-260k/packed.onnx', 'MatMul', 8, 1e-4],
  ['tinystories-260k/mha.onnx', 'com.microsoft.MultiHeadAttention', 8, 1e-4],
  ['tinystories-260k/attn23.onnx', 'Attention', 8, 1e-4],
  ['tinystories-260k/eager_ext.onnx', 'MatMul', 8, 1e-4],
  ['tinystories-260k/eager_fp16.onnx', 'MatMul', 8, 1e-2],
  ['babyllama-105/eager.onnx', 'MatMul', 16, 1e-4],
  ['babyllama-105/gqa.onnx', 'com.microsoft.GroupQueryAttention', 16, 1e-4],
]

for (const [name, op, headDim, limit] of DIALECTS) {
  shared(`${name}: five sites of eight query and four key heads`, async (t) => {
    const model = await openModel(sharedModel(name))
    t.is(model.sites.length, 5)
    t.deepEqual(model.unsupported, [])
    for (const site of model.sites) {
      t.like(site, { op, heads: 8, kvHeads: 4, headDim, causal: true, rotary: true, cross: false })
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
  return decompose(await accumulate(model, STORIES, options), { rank: ENERGY })
}

/**
 * A model, another dialect of it than eager, head dimension, limits of captured activations and of singular values. In
 * float16 singular values of the smallest heads are up to 1.6e-3 off: the weights are.
 * @type {[string, string, number, number, number][]}
 */
const PAIRS = [
  ['tinystories-260k', 'packed', 8, 1e-4, 1e-3],
  ['tinystories-260k', 'mha', 8, 1e-4, 1e-3],
  ['tinystories-260k', 'attn23', 8, 1e-4, 1e-3],
  ['tinystories-260k', 'eager_ext', 8, 1e-4, 1e-3],
  ['tinystories-260k', 'eager_fp16', 8, 1e-2, 3e-3],
  ['babyllama-105', 'gqa', 16, 1e-4, 1e-3],
]

for (const [name, dialect, d, activationLimit, limit] of PAIRS) {
  shared(
    `${name}/${dialect} gives the subspaces of eager, and the same change under the same edit`,
    async (t) => {
      const tokenizer = sharedModel(`${name}/tokenizer.json`)
      const [eager, other] = await Promise.all(
        ['eager', dialect].map(async (file) => {
          const model = await openModel(sharedModel(`${name}/${file}.onnx`), { tokenizer })
          const sums = await accumulate(model, STORIES)
          return { model, result: await decompose(sums, { rank: { rule: 'fixed', rank: 2 } }) }
        }),
      )
      for (const head of eager.result.headNames) {
        const [a, b] = [eager, other].map(({ result }) => result.head(head).contrast('name'))
        t.true(relativeDifference(a.s, b.s) < limit, head)
        t.true(relativeDifference(projector(a, d), projector(b, d)) < 1e-2, head)
      }
      const [own, others] = await Promise.all(
        [eager, other].map(async ({ model }) => {
          const { activations } = await capture(
            model,
            { text: STORIES[0].text },
            { scores: true, pattern: true },
          )
          return activations
        }),
      )
      t.is(Object.keys(own).length, 20)
      for (const [hook, { shape }] of Object.entries(own)) {
        t.deepEqual(others[hook].shape, shape)
        const [a, b] = [own, others].map((all) => visibleScores(numbers(all[hook])))
        t.true(relativeDifference(b, a) < activationLimit, hook)
      }
      const [before, after] = await Promise.all(
        [eager, other].map(async ({ model, result }) => {
          const heads = 'L1H2,L2H3,L3H0'
          const rows = /** @type {const} */ ('all')
          const options = { result, heads, features: ['name'], randoms: 1, rows }
          const { heads: moves, output } = (await intervene(model, STORIES, options)).variants[0]
          return [
            ...Object.values(moves).flatMap(({ origin, target }) => [origin.after.mean, target.after.mean]),
            output.answerLogProb.after.mean - output.answerLogProb.before.mean,
            output.kl.mean,
          ]
        }),
      )
      // Both figures of the output are small beside the logits that they are made of, of about 10.
      const rounding = dialect === 'eager_fp16' ? 2 ** -7 : 2 ** -18
      before.forEach((value, i) => {
        t.true(Math.abs(value - after[i]) < limit * Math.abs(value) + rounding, `${value} ${after[i]}`)
      })
    },
  )
}

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

/** Kinds and operators of the sites, in the order of the file. */
const FIXTURES = {
  attention_past_unidir: ['MatMul'],
  attention_mha: ['com.microsoft.MultiHeadAttention'],
  bert_toy_optimized: Array(5).fill('MatMul'),
  dmmha_cross_attn: ['com.microsoft.DecoderMaskedMultiHeadAttention'],
  gpt2_past: Array(12).fill('MatMul'),
  hf_fp32_encoder_self_attention: ['com.microsoft.Attention'],
  hf_fp32_decoder_attention_no_past: [
    'dec com.microsoft.Attention',
    'cross com.microsoft.MultiHeadAttention',
  ],
  hf_fp32_decoder_attention_with_past: [
    'dec com.microsoft.MultiHeadAttention',
    'cross com.microsoft.MultiHeadAttention',
  ],
  mlm_bert_e2e: ['MatMul'],
}
for (const [name, sites] of Object.entries(FIXTURES)) {
  shared(`${name}: captured and verified`, async (t) => {
    const model = await openModel(sharedModel(`ort-fixtures/${name}.onnx`))
    t.deepEqual(
      model.sites.map(({ kind, op }) => (kind ? `${kind} ${op}` : op)),
      sites,
    )
    for (const { relativeError } of model.sites) {
      t.true(relativeError < 1e-5)
    }
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
