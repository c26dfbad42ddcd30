/**
 * Models on which a capture was once called verified and was wrong (test/fixtures/models: random weights, exported from
 * PyTorch): their right queries, keys, scores and gaps were computed in float64 outside of qkspace.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import test from 'ava'
import { accumulate, attribute, capture, decompose, intervene, openModel } from '../dist/index.js'
import { seededRandom } from '../dist/math/random.js'
import { ModelProtoSchema, NodeProtoSchema } from '../dist/model/onnx/proto/onnx_pb.js'
import { temporaryFolder } from './helpers/files.js'
import { FLOAT, GraphBuilder, INT64, valueInfo } from './helpers/graph-builder.js'
import { relativeDifference } from './helpers/linear-algebra.js'
import { writeTinyModel } from './helpers/tiny-model.js'

const file = (name) => fileURLToPath(new URL(`fixtures/models/${name}`, import.meta.url))
const open = (name) => openModel(file(`${name}.onnx`))
const json = (name) => JSON.parse(readFileSync(file(name), 'utf8'))

const folder = temporaryFolder(test)

const ATT = {
  contrast: 'c',
  tokens: [3, 7, 9, 11, 2, 5],
  terms: [{ query: -1, positive: [1], negative: [2] }],
}
/** @type {import('../dist/index.js').DecomposeOptions} */
const RANK = { rank: { rule: 'fixed', rank: 1 } }

async function gaps(model, prompts, options) {
  const result = await decompose(await accumulate(model, prompts, options), RANK)
  return result.headNames.map((head) => result.head(head).contrast('c').scoreGap)
}

/** Of each head, the difference of the two scores of ATT as the model computed them. */
async function scoreDifferences(model) {
  const { activations, sites } = await capture(model, { tokens: ATT.tokens }, { scores: true })
  return sites.flatMap(({ hooks, heads }) => {
    const { data, shape } = activations[hooks.scores]
    const [, , queries, keys] = shape
    const { before: q } = sites[0].site.otherRows?.query ?? { before: 0 }
    const { before: k } = sites[0].site.otherRows?.key ?? { before: 0 }
    const row = (h) => (h * queries + q + ATT.tokens.length - 1) * keys + k
    return heads.map((_, h) => data[row(h) + 1] - data[row(h) + 2])
  })
}

const near = (t, actual, expected, limit) => {
  t.is(actual.length, expected.length)
  t.true(relativeDifference(actual, expected) < limit, `${actual} against ${expected}`)
}

for (const name of ['conv', 'cosine', 'logn', 'mla', 'softcap1', 'soft', 'prefix']) {
  test(`${name}: queries, keys and scores are those of the formulas`, async (t) => {
    const expected = json(`${name}.exp.json`)
    const { shape, data } = json(`${name}.in.json`).inputs.input_ids
    const model = await open(name)
    const tokens = data.slice(0, shape[1])
    const { activations, sites } = await capture(model, { tokens }, { scores: true })
    const { hooks } = sites[0]
    for (const [key, hook] of [
      ['q', hooks.q],
      ['k', hooks.k],
      ['s', hooks.scores],
    ]) {
      const ofFirst = expected[key].data.slice(0, expected[key].data.length / shape[0])
      const own = [...activations[hook].data]
      // A causal model masks what the formula leaves.
      const seen = ofFirst.map((_, i) => key !== 's' || own[i] > -1e30)
      const kept = (values) => values.filter((_, i) => seen[i])
      const capped = name === 'softcap1' && key === 's'
      near(t, kept(own), kept(capped ? ofFirst.map((x) => 5 * Math.tanh(x / 5)) : ofFirst), 1e-6)
    }
  })
}

test('ids of [position, sequence] give what the same model gives with its sequences first', async (t) => {
  const prompts = [
    ATT,
    {
      contrast: 'c',
      tokens: [4, 8, 1, 12, 6, 5, 9, 9, 3, 1],
      terms: [{ query: -1, positive: [2], negative: [0] }],
    },
    { contrast: 'c', tokens: [14, 18, 21], terms: [{ query: -1, positive: [1], negative: [0] }] },
  ]
  const [turned, usual] = await Promise.all(['lm_sf', 'lm_bf'].map(open))
  t.true(turned.sequenceFirst)
  t.false(usual.sequenceFirst)
  t.like(turned.sites[0], { heads: 4, kvHeads: 4, headDim: 4, causal: true, cross: false })
  near(t, await gaps(turned, prompts), await gaps(usual, prompts), 1e-6)
  const written = await Promise.all(
    [turned, usual].map((model) => capture(model, { tokens: ATT.tokens }, { newTokens: 3, pattern: true })),
  )
  t.deepEqual(written[0].tokens, written[1].tokens)
  const reports = await Promise.all(
    [turned, usual].map(async (model) => {
      const result = await decompose(await accumulate(model, prompts), RANK)
      return intervene(model, prompts, { result, randoms: 1 })
    }),
  )
  const [a, b] = reports.map(({ variants }) => variants.at(-1))
  t.true(Math.abs(a.output.kl.mean - b.output.kl.mean) < 1e-6)
  t.true(a.output.kl.mean > 1e-4)
})

for (const [name, expected, rows] of [
  ['soft', [0.1389, -0.4373], { query: { before: 3, after: 0 }, key: { before: 3, after: 0 } }],
  ['prefix', [0.1813, -0.1274], { query: { before: 0, after: 0 }, key: { before: 3, after: 0 } }],
]) {
  test(`${name}: tokens are found among learned rows, and the rows are told apart`, async (t) => {
    const model = await open(name)
    t.deepEqual(model.sites[0].otherRows, rows)
    const found = await gaps(model, [ATT])
    near(t, found.slice(0, 2), expected, 1e-3)
    near(t, found, await scoreDifferences(model), 1e-5)
    const result = await decompose(await accumulate(model, [ATT]), RANK)
    const { examples } = await attribute(model, [ATT], { result })
    const { total } = examples[0].rows[0]
    t.is(total.length, ATT.tokens.length)
    t.true(Math.abs(total[1] - total[2] - found[0]) < 1e-5)
    const edited = await intervene(model, [ATT], { result, randoms: 0 })
    const whole = edited.variants.at(-1).heads.L0H0
    // Whole keys exchanged exchange the two columns of attention.
    t.true(Math.abs(whole.origin.after.mean - whole.target.before.mean) < 1e-5)
  })
}

for (const [name, scale] of /** @type {const} */ ([
  ['cosine', 'per head'],
  ['logn', 'per query'],
  ['soft', 0.5],
])) {
  test(`${name}: score gaps and attribution use the factor ${scale}`, async (t) => {
    const model = await open(name)
    t.is(model.sites[0].scale, scale)
    const expected = await scoreDifferences(model)
    near(t, await gaps(model, [ATT]), expected, 1e-5)
    const result = await decompose(await accumulate(model, [ATT]), RANK)
    const { examples } = await attribute(model, [ATT], { result })
    near(
      t,
      examples[0].rows.map(({ total }) => total[1] - total[2]),
      expected,
      1e-5,
    )
  })
}

test('scale and cap in one constant are told apart', async (t) => {
  const model = await open('softcap1')
  t.true(Math.abs(Number(model.sites[0].scale) - 1 / Math.sqrt(8)) < 1e-6)
})

test('scores as low as a mask are no mask: layers keep their names, causality and comparison', async (t) => {
  const model = await open('pythia3')
  t.deepEqual(
    model.sites.map(({ layer, kind, causal }) => ({ layer, kind, causal })),
    [0, 1, 2].map((layer) => ({ layer, kind: undefined, causal: true })),
  )
  for (const { relativeError } of model.sites) {
    t.true(relativeError > 0 && relativeError < 1e-5)
  }
})

test('queries and keys through low ranks are self attention', async (t) => {
  const [site] = (await open('mla')).sites
  t.like(site, { cross: false, causal: true })
})

test('scores that go through eight bits are captured as floats, and keep the number of their layer', async (t) => {
  const { sites, unsupported } = await open('partial')
  t.deepEqual(
    sites.map(({ layer, kind }) => [layer, kind]),
    [
      [0, undefined],
      [1, undefined],
    ],
  )
  t.deepEqual(unsupported, [])
  // Scores that are rounded are named: gaps and attribution are those before.
  t.deepEqual(
    sites.map(({ altered }) => altered?.length),
    [1, undefined],
  )
  const [site] = (await openModel(writeTinyModel(folder, { quantised: true }))).sites
  t.true(site.relativeError < 1e-3)
})

test('attention behind an operation that is not followed is named, with the operation, and shifts no layer', async (t) => {
  const proto = fromBinary(ModelProtoSchema, readFileSync(file('lm_bf.onnx')))
  const softmax = proto.graph.node.find(({ opType }) => opType === 'Softmax')
  const [scores] = softmax.input
  proto.graph.node.splice(
    proto.graph.node.indexOf(softmax),
    0,
    create(NodeProtoSchema, { opType: 'Softplus', name: 'bend', input: [scores], output: ['bent'] }),
  )
  softmax.input = ['bent']
  const bent = path.join(folder, 'bent.onnx')
  writeFileSync(bent, toBinary(ModelProtoSchema, proto))
  const { sites, unsupported } = await openModel(bent)
  t.deepEqual(
    sites.map(({ layer, kind }) => [layer, kind]),
    [[1, undefined]],
  )
  t.like(unsupported[0], { layer: 0, node: softmax.name, op: 'Softmax' })
  t.regex(unsupported[0].reason, /^Softplus "bend" /)

  const error = await t.throwsAsync(openModel(writeTinyModel(folder, { mixed: true })), {
    code: 'ERR_NO_ATTENTION',
  })
  t.regex(error.message, /MatMul "MatMul_\d+" between its product and its softmax is not followed/)
})

for (const sink of ['first', 'last']) {
  test(`a sink that comes ${sink} is no key: patterns and edits have the columns of the keys alone`, async (t) => {
    const file = writeTinyModel(folder, { sink })
    const model = await openModel(file)
    t.true(model.sites[0].causal)
    const { activations, sites } = await capture(
      model,
      { tokens: ATT.tokens },
      { pattern: true, scores: true },
    )
    const { hooks } = sites[0]
    const n = ATT.tokens.length
    t.deepEqual(activations[hooks.pattern].shape, [1, model.sites[0].heads, n, n])
    const first = activations[hooks.pattern].data.subarray(0, n)
    // The first query sees its own key and the sink.
    t.true(first[0] > 0 && first[0] < 1)
    t.true(first.subarray(1).every((x) => x === 0))
    near(t, await gaps(model, [ATT]), await scoreDifferences(model), 1e-5)
    const result = await decompose(await accumulate(model, [ATT]), RANK)
    const { variants } = await intervene(model, [ATT], { result, randoms: 0 })
    const { origin, target } = variants.at(-1).heads.L0H0
    t.true(Math.abs(origin.after.mean - target.before.mean) < 1e-5)
    t.true(Math.abs(origin.before.mean - activations[hooks.pattern].data[(n - 1) * n + 1]) < 1e-6)
  })
}

test('prompts of a model whose rows depend on padding go with others of their length, and the result says so', async (t) => {
  const prompts = [
    ATT,
    {
      contrast: 'c',
      tokens: [4, 8, 1, 12, 6, 5, 9, 9, 3, 1],
      terms: [{ query: -1, positive: [2], negative: [0] }],
    },
    { contrast: 'c', tokens: [14, 18, 21], terms: [{ query: -1, positive: [1], negative: [0] }] },
  ]
  const model = await open('conv')
  const together = await decompose(await accumulate(model, prompts, { batchSize: 8 }), RANK)
  t.is(together.info.sharing, 'equal length')
  near(t, await gaps(model, prompts, { batchSize: 8 }), await gaps(model, prompts, { batchSize: 1 }), 1e-6)
  t.true(Math.abs(together.head('L0H0').contrast('c').scoreGap - -0.0144) < 1e-4)
  const edited = (batchSize) => intervene(model, prompts, { result: together, randoms: 0, batchSize })
  const [a, b] = (await Promise.all([edited(8), edited(1)])).map(({ variants }) => variants[0].heads.L0H0)
  t.true(Math.abs(a.origin.after.mean - b.origin.after.mean) < 1e-6)
  const plain = await openModel(writeTinyModel(folder, {}))
  const result = await decompose(await accumulate(plain, prompts.slice(0, 2)), RANK)
  t.is(result.info.sharing, 'padded')
})

for (const [product, op] of [
  ['integer', 'MatMulInteger'],
  ['eight bits', 'QLinearMatMul'],
]) {
  test(`a product of quantised queries and keys by ${op} is named as such`, async (t) => {
    const error = await t.throwsAsync(openModel(writeTinyModel(folder, { product })), {
      code: 'ERR_NO_ATTENTION',
    })
    t.true(
      error.message.includes(
        `scores (${op}): its scores are a product of quantised queries and keys; needed: `,
      ),
    )
  })
}

/** Queries, keys and values of one head, from a table of random embeddings of 20 tokens. */
function writeProjections(g, width, random) {
  const stored = (name, rows) =>
    g.float(
      name,
      [rows, width],
      Float64Array.from({ length: rows * width }, () => random.normal()),
    )
  const x = g.node('Gather', [stored('table', 20), 'input_ids'])
  return ['q', 'k', 'v'].map((side) => g.node('MatMul', [x, stored(side, width)]))
}

test('a product by Gemm is captured, its factor too', async (t) => {
  const width = 6
  const g = new GraphBuilder()
  const [q, k, v] = writeProjections(g, width, seededRandom(3))
  const scores = g.node('Gemm', [q, k], { transB: 1, alpha: 0.25 }, 'scores')
  g.node('MatMul', [g.node('Softmax', [scores], { axis: -1 }), v], {}, 'output')
  const path = `${folder}/gemm.onnx`
  g.write(path, [valueInfo('input_ids', INT64, ['seq'])], [valueInfo('output', FLOAT, ['seq', width])])
  const model = await openModel(path)
  t.like(model.sites[0], { op: 'Gemm', heads: 1, headDim: width, scale: 0.25 })
  t.true(model.sites[0].relativeError < 1e-6)
  near(t, await gaps(model, [ATT]), await scoreDifferences(model), 1e-5)
})

test('a factor that the model reads is that of each prompt', async (t) => {
  const width = 6
  const g = new GraphBuilder()
  const [q, k, v] = writeProjections(g, width, seededRandom(4))
  const product = g.node('MatMul', [q, g.node('Transpose', [k], { perm: [0, 2, 1] })])
  const scores = g.node('Mul', [product, 'temperature'])
  g.node('MatMul', [g.node('Softmax', [scores], { axis: -1 }), v], {}, 'output')
  const inputs = [
    valueInfo('input_ids', INT64, ['batch', 'seq']),
    valueInfo('temperature', FLOAT, ['batch', 1, 1]),
  ]
  const path = `${folder}/temperature.onnx`
  g.write(path, inputs, [valueInfo('output', FLOAT, ['batch', 'seq', width])])
  const model = await openModel(path)
  t.is(model.sites[0].scale, 'computed')
  const prompt = (temperature) => ({
    contrast: 'c',
    inputs: {
      input_ids: { data: ATT.tokens, shape: [ATT.tokens.length] },
      temperature: { data: [temperature], shape: [1, 1] },
    },
    terms: [{ query: 5, positive: [1], negative: [2] }],
  })
  const [one] = await gaps(model, [prompt(1)])
  t.true(Math.abs(one) > 1e-3)
  near(t, await gaps(model, [prompt(3)]), [3 * one], 1e-5)
  near(t, await gaps(model, [prompt(3), prompt(1)]), [2 * one], 1e-5)
})
