/** Which tokens of the vocabulary a direction reads: against arithmetic on known weights, and over dialects of one model. */

import path from 'node:path'
import test from 'ava'
import { accumulate, attribute, decompose, disposeSums, openModel } from '../dist/index.js'
import { seededRandom } from '../dist/math/random.js'
import { bareRows, streamsOf } from './helpers/bare-rows.js'
import { sharedModel, temporaryFolder, withSharedModels } from './helpers/files.js'
import { relativeDifference } from './helpers/linear-algebra.js'
import { ownRows, SIZES, writeResidualModel } from './helpers/residual-model.js'
import { bertLike, writeTokenizer } from './helpers/small-tokenizers.js'
import { QUANTISED_MODELS, TINY_DIALECTS } from './helpers/tiny-dialects.js'
import { writeTinyModel } from './helpers/tiny-model.js'
import { tinyReference, tinySizes } from './helpers/tiny-weights.js'

const folder = temporaryFolder(test)
const shared = withSharedModels(test)
const words = Array.from({ length: SIZES.vocabulary - 4 }, (_, i) => `w${i}`)
const tokenizer = writeTokenizer(path.join(folder, 'tokenizer.json'), bertLike(words))
const tokenOf = (id) => ['[PAD]', '[UNK]', '[CLS]', '[SEP]', ...words][id]
/** @type {import('../dist/index.js').RankRule} */
const FIXED = { rule: 'fixed', rank: 2 }

/** Random tokens, of which one of the first three is positive. */
function prompts(vocabulary = SIZES.vocabulary, count = 24) {
  const random = seededRandom(5)
  return Array.from({ length: count }, () => ({
    contrast: 'one',
    tokens: Array.from({ length: 6 }, () => random.below(vocabulary)),
    terms: [{ query: 5, positive: [0], negative: [1, 2] }],
  }))
}

async function decomposed(model, set) {
  const sums = await accumulate(model, set)
  const result = await decompose(sums, { rank: FIXED, nulls: 1 })
  disposeSums(sums)
  return result
}

/** The five highest and lowest, in standard deviations, of a projection of each token. */
function endsOf(values) {
  const n = values.length
  const mean = values.reduce((a, b) => a + b) / n
  const sd = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1))
  const order = [...values.keys()].sort((a, b) => values[b] - values[a])
  const shown = (ids) => ids.map((id) => ({ token: tokenOf(id), value: (values[id] - mean) / sd }))
  return { top: shown(order.slice(0, 5)), bottom: shown(order.slice(-5).reverse()) }
}

function alike(t, reads, expected, limit, where) {
  for (const end of ['top', 'bottom']) {
    t.deepEqual(
      reads[end].map(({ token }) => token),
      expected[end].map(({ token }) => token),
      `${where}, ${end}`,
    )
    reads[end].forEach(({ value }, i) => {
      const apart = Math.abs(value - expected[end][i].value)
      t.true(apart <= limit, `${where}, ${end} ${i}: ${value}, expected ${expected[end][i].value}`)
    })
  }
}

const NORMS = {
  'rms written out': 'the RMSNorm before',
  'rms by a power': 'the RMSNorm before',
  'layer written out': 'the LayerNorm before',
  LayerNormalization: 'the LayerNorm before',
  SimplifiedLayerNormalization: 'the RMSNorm before',
  skip: 'the LayerNorm before',
  'simplified skip': 'the RMSNorm before',
  post: 'read the stream without a norm between',
  none: 'read the stream without a norm between',
}

for (const [norm, said] of Object.entries(NORMS)) {
  test(`reads are the embedding times norm, W and the direction: ${norm}`, async (t) => {
    const model = await openModel(writeResidualModel(folder, { norm }), { tokenizer })
    t.is(model.sites.length, 2)
    const set = prompts()
    const result = await decomposed(model, set)
    const { components, readsThrough, readsUnavailable } = await attribute(model, set, { result })
    t.is(readsUnavailable, undefined)
    t.deepEqual(Object.keys(readsThrough), ['L0H0', 'L0H1', 'L1H0', 'L1H1'])
    for (const [head, words] of Object.entries(readsThrough)) {
      t.true(words.startsWith(`W_Q and W_K of layer ${head[1]}`) && words.includes(said), words)
      t.true(
        words.endsWith(
          'of all 30 tokens, from the stream in front of layer 0, each token alone at position 0',
        ),
      )
      const [layer, h] = [Number(head[1]), Number(head[3])]
      const { u, v, rank, nulls } = result.head(head).contrast('one')
      const d = SIZES.headDim
      for (const { side, basis, ofNulls, field } of [
        { side: 'q', basis: u, ofNulls: nulls.u, field: 'query' },
        { side: 'k', basis: v, ofNulls: nulls.v, field: 'key' },
      ]) {
        const rows = ownRows(layer, side, norm)
        const list = components.one[field][head]
        t.is(list.length, 2)
        const along = (from, c) =>
          rows.map((row) => row[h].reduce((s, x, i) => s + x * from[i * rank + c], 0))
        list.forEach(({ reads, null: nulled }, c) => {
          alike(t, reads, endsOf(along(basis, c)), 1e-4, `${head} ${side} ${c}`)
          alike(
            t,
            nulled.reads,
            endsOf(along(ofNulls.subarray(0, d * rank), c)),
            2e-3,
            `${head} ${side} null ${c}`,
          )
        })
      }
    }
  })
}

test('without residual sums only the first layer has reads, and the reason is said', async (t) => {
  const model = await openModel(writeResidualModel(folder, { residual: false }), { tokenizer })
  const set = prompts()
  const { components, readsThrough, readsUnavailable } = await attribute(model, set, {
    result: await decomposed(model, set),
  })
  t.deepEqual(Object.keys(readsThrough), ['L0H0', 'L0H1'])
  t.deepEqual(Object.keys(readsUnavailable), ['L1H0', 'L1H1'])
  t.regex(readsUnavailable.L1H0, /its queries .* without a residual sum between .*; its keys /)
  t.truthy(components.one.key.L0H0[0].reads)
  t.is(components.one.key.L1H0[0].reads, undefined)
  t.is(components.one.key.L1H0[0].top.length, 5)
})

test('a number reads the first so many tokens, false and no tokenizer none', async (t) => {
  const file = writeResidualModel(folder)
  const model = await openModel(file, { tokenizer })
  const set = prompts()
  const result = await decomposed(model, set)
  const of = async (options, from = model) => attribute(from, set, { result, heads: 'L1H0', ...options })
  const few = await of({ reads: 10 })
  t.regex(few.readsThrough.L1H0, /the first 10 of 30 tokens/)
  const { top, bottom } = few.components.one.key.L1H0[0].reads
  const known = Array.from({ length: 10 }, (_, id) => tokenOf(id))
  t.true([...top, ...bottom].every(({ token }) => known.includes(token)))
  for (const report of [
    await of({ reads: false }),
    await of({}, await openModel(file, { tokenizer: false })),
  ]) {
    t.is(report.readsThrough, undefined)
    t.is(report.readsUnavailable, undefined)
    const [first] = report.components.one.query.L1H0
    t.is(first.reads, undefined)
    t.is(first.null.reads, undefined)
    t.is(first.top.length, 5)
  }
  for (const reads of ['yes', null, {}]) {
    await t.throwsAsync(of({ reads }), { code: 'ERR_TYPE' }, `${reads}`)
  }
  for (const reads of [-1, 1.5]) {
    await t.throwsAsync(of({ reads }), { code: 'ERR_ARGUMENT' }, `${reads}`)
  }
})

test('reads can be aborted', async (t) => {
  const model = await openModel(writeResidualModel(folder), { tokenizer })
  const set = prompts()
  const controller = new AbortController()
  const onProgress = ({ prompts: done, total }) => {
    if (done === total) {
      controller.abort()
    }
  }
  const options = { result: await decomposed(model, set), signal: controller.signal, onProgress }
  await t.throwsAsync(attribute(model, set, options), { code: 'ERR_ABORTED' })
})

/** @type {{ title: string, options: object, roundedActivations?: boolean }[]} */
const written = [
  { title: 'written out', options: {} },
  { title: 'written out, q/k norm, bias', options: { norm: true, bias: true, seed: 3 } },
  { title: 'written out, packed, folded', options: { packed: true, fold: 'plain' } },
  ...TINY_DIALECTS,
  ...QUANTISED_MODELS,
]
for (const { title, options, roundedActivations = false } of written) {
  test(`rows of bare tokens are those of the formulas: ${title}`, async (t) => {
    const model = await openModel(writeTinyModel(folder, options), { tokenizer: false })
    const { heads, kvHeads } = tinySizes(options)
    const tokens = [1, 5, 7, 12]
    const [{ q, k }] = await bareRows(model, tokens)
    const expected = tokens.map((token) => tinyReference([token], options))
    const repeated = expected.map((own) =>
      Array.from({ length: heads }, (_, h) => own.k[0][Math.floor((h * kvHeads) / heads)]),
    )
    // Activations in 256 steps leave the formulas at a distance.
    const limit = roundedActivations ? 2e-2 : 1e-4
    t.true(
      relativeDifference(
        q,
        expected.flatMap((own) => own.q.flat(2)),
      ) < limit,
    )
    t.true(relativeDifference(k, repeated.flat(2)) < limit)
  })
}

/** @import { SiteStream } from '../dist/model/graphs/reads-graph.js' */

/** Fixtures, and the norm of each. */
const STREAMS = [
  ['ort-fixtures/bert_toy_optimized.onnx', undefined],
  ['ort-fixtures/gpt2_past.onnx', 'LayerNorm'],
]

for (const [name, norm] of STREAMS) {
  shared(`${name}: every layer reads a stream that begins at the embeddings`, async (t) => {
    const model = await openModel(sharedModel(name), { tokenizer: false })
    const streams = streamsOf(model)
    const tensorOf = (site, side) => /** @type {SiteStream} */ (streams.get(site)[side]).tensor
    const first = tensorOf(model.sites[0], 'query')
    for (const [i, site] of model.sites.entries()) {
      for (const stream of Object.values(streams.get(site))) {
        t.like(stream, { embedding: first, from: model.sites[0], norm, atEmbedding: i === 0 })
      }
    }
    t.is(new Set(model.sites.map((site) => tensorOf(site, 'key'))).size, model.sites.length)
    for (const { q, k } of await bareRows(model, [3, 4])) {
      t.true([...q, ...k].every(Number.isFinite))
    }
  })
}

/**
 * Model, dialect that stands for all, the others, and the limit of each.
 * @type {[string, string, number][]}
 */
const DIALECTS = [
  ['tinystories-260k', 'packed', 1e-4],
  ['tinystories-260k', 'mha', 1e-4],
  ['tinystories-260k', 'attn23', 1e-4],
  ['tinystories-260k', 'eager_ext', 1e-4],
  ['tinystories-260k', 'eager_fp16', 3e-2],
  ['babyllama-105', 'gqa', 1e-4],
]

for (const [name, dialect, limit] of DIALECTS) {
  shared(`${name}/${dialect} reads what eager reads`, async (t) => {
    const open = (file) => {
      return openModel(sharedModel(`${name}/${file}.onnx`), {
        tokenizer: sharedModel(`${name}/tokenizer.json`),
      })
    }
    const [eager, other] = [await open('eager'), await open(dialect)]
    const set = prompts(100, 12)
    const result = await decomposed(eager, set)
    const heads = 'L0H1,L2H3,L4H7'
    const [own, others] = [
      await attribute(eager, set, { result, heads, randoms: 0 }),
      await attribute(other, set, { result, heads, randoms: 0 }),
    ]
    t.deepEqual(others.readsThrough, own.readsThrough)
    t.regex(own.readsThrough.L4H7, /layer 4 and the RMSNorm before; .* in front of layer 0/)
    for (const side of ['query', 'key']) {
      for (const head of heads.split(',')) {
        const [a, b] = [own, others].map(({ components }) => components.one[side][head])
        a.forEach(({ reads }, c) => {
          for (const end of ['top', 'bottom']) {
            const [x, y] = [reads[end], b[c].reads[end]].map((list) => list.map(({ value }) => value))
            t.is(x.length, 5)
            for (const [i, value] of x.entries()) {
              t.true(Math.abs(value - y[i]) <= limit, `${head} ${side}: ${value}, ${y[i]}`)
            }
            if (limit > 1e-2) {
              continue
            }
            t.deepEqual(
              b[c].reads[end].map(({ token }) => token),
              reads[end].map(({ token }) => token),
            )
          }
        })
      }
    }
  })
}
