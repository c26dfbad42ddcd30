/** Capture: attention is found in its many spellings, and what is captured is what enters the product. */

import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import test from 'ava'
import { accumulate, decompose, openModel } from '../dist/index.js'
import { temporaryFolder } from './helpers/files.js'
import { GraphBuilder, valueInfo } from './helpers/graph-builder.js'
import { naiveCovariances, relativeDifference } from './helpers/linear-algebra.js'
import { ENERGY } from './helpers/rank-rules.js'
import { writeTinyModel } from './helpers/tiny-model.js'
import { TINY, tinyReference } from './helpers/tiny-weights.js'

const folder = temporaryFolder(test)
const ort = createRequire(import.meta.url)('onnxruntime-node')

const PROMPTS = [
  {
    contrast: 'c',
    tokens: [1, 5, 7, 3, 5, 9],
    terms: [
      { query: -1, positive: [1], negative: [2, 3] },
      { query: 4, positive: [1, 2], negative: [0] },
    ],
  },
  {
    contrast: 'c',
    tokens: [2, 2, 8, 11, 3, 12, 4, 6, 8],
    terms: [{ query: -1, positive: [2], negative: [3, 4] }],
  },
]

/** C+ and C- of one head from the formulas alone. */
function expected(head, options, estimator) {
  const terms = PROMPTS.flatMap(({ tokens, terms: list }) => {
    const { q, k } = tinyReference(tokens, options)
    const keyHead = Math.floor(head / (TINY.heads / TINY.kvHeads))
    const key = (t) => k[t][keyHead]
    return list.map(({ query, positive, negative }) => ({
      q: q[query < 0 ? query + tokens.length : query][head],
      pos: positive.map(key),
      neg: negative.map(key),
    }))
  })
  return naiveCovariances(terms, TINY.headDim, estimator)
}

async function covariancesOf(file, options = {}) {
  const model = await openModel(file)
  const sums = await accumulate(model, PROMPTS, options)
  const result = await decompose(sums, { rank: ENERGY, keepCovariances: true })
  return { site: model.sites[0], result }
}

const VARIANTS = [
  { repeat: 'tile' },
  { repeat: 'concat' },
  { repeat: 'gather' },
  { softmax: 'exp', mask: 'where' },
  { softmax: 'shifted' },
  { softmax: 'reciprocal' },
  { softmax: 'log' },
  { sink: 'first' },
  { sink: 'last', softmax: 'shifted' },
  { scale: 'mul' },
  { scale: 'query' },
  { scale: 'split' },
  { scale: 'computed' },
  { mask: 'where' },
  { mask: 'none' },
  { product: 'einsum' },
  { product: 'einsum', scale: 'split', mask: 'where' },
  { rope: false },
  { norm: true },
  { packed: true },
  { packed: true, repeat: 'tile', scale: 'computed' },
  { external: true },
  { fold: 'plain' },
  { fold: 'plain', scale: 'query', mask: 'none' },
  { fold: 'untraceable', mask: 'where' },
  { half: true },
  {},
]

for (const variant of VARIANTS) {
  test(`captures queries and keys as the formulas give them: ${JSON.stringify(variant)}`, async (t) => {
    const { site, result } = await covariancesOf(writeTinyModel(folder, variant))
    t.is(site.heads, TINY.heads)
    t.is(site.kvHeads, TINY.kvHeads)
    t.is(site.headDim, TINY.headDim)
    t.is(site.rotary, variant.rope ?? true)
    t.is(site.causal, variant.mask !== 'none')
    t.true(Math.abs(Number(site.scale) - 0.5) < (variant.half ? 1e-3 : 1e-6))
    t.true(site.relativeError < (variant.half ? 1e-2 : 1e-5))
    for (let head = 0; head < TINY.heads; head++) {
      const { cPos, cNeg } = result.head(`L0H${head}`).contrast('c')
      const want = expected(head, variant)
      const limit = variant.half ? 1e-2 : 1e-5
      t.true(relativeDifference(cPos, want.cPos) < limit)
      t.true(relativeDifference(cNeg, want.cNeg) < limit)
    }
  })
}

for (const variant of [{}, { scale: 'query' }, { fold: 'plain' }, { packed: true, mask: 'where' }]) {
  test(`a model as onnxruntime saves it, optimised: ${JSON.stringify(variant)}`, async (t) => {
    const file = writeTinyModel(folder, { seed: 30, ...variant })
    const optimizedModelFilePath = file.replace('.onnx', '.optimised.onnx')
    await ort.InferenceSession.create(file, { optimizedModelFilePath, graphOptimizationLevel: 'extended' })
    const { site, result } = await covariancesOf(optimizedModelFilePath)
    t.like(site, { op: 'FusedMatMul', heads: TINY.heads, kvHeads: TINY.kvHeads, causal: true, rotary: true })
    t.true(Math.abs(Number(site.scale) - 0.5) < 1e-6)
    t.true(site.relativeError < 1e-5)
    for (let head = 0; head < TINY.heads; head++) {
      const { cPos, cNeg } = result.head(`L0H${head}`).contrast('c')
      const want = expected(head, { seed: 30, ...variant })
      t.true(relativeDifference(cPos, want.cPos) < 1e-5)
      t.true(relativeDifference(cNeg, want.cNeg) < 1e-5)
    }
  })
}

for (const estimator of ['per-query', 'per-pair', 'sum']) {
  test(`the estimator ${estimator} is the definition's`, async (t) => {
    const { result } = await covariancesOf(writeTinyModel(folder, { seed: 3 }), { estimator })
    const { cPos, cNeg } = result.head('L0H2').contrast('c')
    const want = expected(2, { seed: 3 }, estimator)
    t.true(relativeDifference(cPos, want.cPos) < 1e-5)
    t.true(relativeDifference(cNeg, want.cNeg) < 1e-5)
  })
}

test('some heads alone give what they give among all', async (t) => {
  const file = writeTinyModel(folder, { seed: 4 })
  const { result: all } = await covariancesOf(file)
  const { result: some } = await covariancesOf(file, { heads: 'L0H1, 0.3' })
  t.deepEqual(some.headNames, ['L0H1', 'L0H3'])
  for (const head of some.headNames) {
    const [a, b] = [some, all].map((r) => r.head(head).contrast('c'))
    t.true(relativeDifference(a.cPos, b.cPos) < 1e-6)
    t.true(relativeDifference(a.s, b.s) < 1e-6)
  }
})

test('what the requested heads do not need is removed from the graph', async (t) => {
  const { captureGraph } = await import('../dist/model/graphs/capture-graph.js')
  const { fromBinary } = await import('@bufbuild/protobuf')
  const { ModelProtoSchema } = await import('../dist/model/onnx/proto/onnx_pb.js')
  const model = await openModel(writeTinyModel(folder, { seed: 5 }))
  const { bytes } = captureGraph(model.graph, [{ site: model.sites[0] }])
  const { graph } = fromBinary(ModelProtoSchema, bytes)
  t.false(graph.node.some((n) => n.opType === 'Softmax' || n.opType === 'Expand'))
  const names = graph.initializer.map((i) => i.name)
  t.true(names.includes('w_q') && names.includes('w_k'))
  t.false(names.includes('w_v') || names.includes('w_o'))
})

test('large weights are neither decoded nor copied', async (t) => {
  const { readModel } = await import('../dist/model/onnx/read-model.js')
  const g = new GraphBuilder()
  const values = Float32Array.from({ length: 64 * 64 }, (_, i) => i)
  g.node('MatMul', ['x', g.float('w', [64, 64], values)], {}, 'y')
  const file = g.write(path.join(folder, 'large.onnx'), [valueInfo('x', 1, ['n', 64])], ['y'])
  const { proto, weightsFolder, files } = readModel(file)
  const [tensor] = proto.graph.initializer
  t.is(tensor.rawData.length, 0)
  const entry = Object.fromEntries(tensor.externalData.map((e) => [e.key, e.value]))
  t.is(path.join(weightsFolder, entry.location), files[0])
  const bytes = readFileSync(file).subarray(Number(entry.offset), Number(entry.offset) + Number(entry.length))
  t.deepEqual(new Float32Array(Uint8Array.from(bytes).buffer), values)
})

test('external data behind the links of a Hugging Face cache is found', async (t) => {
  const source = writeTinyModel(folder, { external: true, seed: 6 })
  const blobs = path.join(folder, 'hub/blobs')
  const snapshot = path.join(folder, 'hub/snapshots/main')
  for (const dir of [blobs, snapshot]) {
    mkdirSync(dir, { recursive: true })
  }
  copyFileSync(source, path.join(blobs, 'aaaa'))
  copyFileSync(`${source}_data`, path.join(blobs, 'bbbb'))
  const linked = path.join(snapshot, path.basename(source))
  symlinkSync('../../blobs/aaaa', linked)
  symlinkSync('../../blobs/bbbb', `${linked}_data`)
  const { result } = await covariancesOf(linked)
  const want = expected(0, { seed: 6 })
  t.true(relativeDifference(result.head('L0H0').contrast('c').cPos, want.cPos) < 1e-5)
})

test('a model may not read weights outside its folder', async (t) => {
  const source = writeTinyModel(folder, { external: true, seed: 7 })
  const bytes = readFileSync(source, 'latin1').replaceAll(
    path.basename(`${source}_data`),
    '../'.repeat(99).slice(0, path.basename(`${source}_data`).length),
  )
  const evil = path.join(folder, 'evil.onnx')
  writeFileSync(evil, bytes, 'latin1')
  await t.throwsAsync(openModel(evil), { code: 'ERR_FILE', message: /points outside its folder/ })
})

test('several attention layers are numbered in topological order', async (t) => {
  const { bundledFile } = await import('../dist/bundled/files.js')
  const model = await openModel(bundledFile('boxes.onnx'))
  t.deepEqual(
    model.sites.map((s) => s.layer),
    model.sites.map((_, i) => i),
  )
  t.deepEqual(model.sites[0].hooks, { q: 'blocks.0.attn.hook_rot_q', k: 'blocks.0.attn.hook_rot_k' })
})

const broken = {
  'a missing file': { code: 'ERR_FILE', make: () => path.join(folder, 'nowhere.onnx') },
  'a folder without a model': { code: 'ERR_FILE', make: () => mkdtempSync(path.join(folder, 'empty-')) },
  'an empty file': { code: 'ERR_NOT_ONNX', bytes: '' },
  text: {
    code: 'ERR_NOT_ONNX',
    bytes: 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n',
  },
  'random bytes': {
    code: 'ERR_NOT_ONNX',
    bytes: Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 73) % 251)),
  },
  'a truncated file': {
    code: 'ERR_NOT_ONNX',
    make: () => {
      const file = writeTinyModel(folder, { seed: 8 })
      truncateSync(file, 3000)
      return file
    },
  },
}

for (const [what, { code, bytes, make }] of Object.entries(broken)) {
  test(`refuses ${what}`, async (t) => {
    const file = make?.() ?? path.join(folder, `${what.replaceAll(' ', '-')}.onnx`)
    if (bytes !== undefined) {
      writeFileSync(file, bytes)
    }
    const error = await t.throwsAsync(openModel(file), { code })
    t.true(error.message.includes(file))
  })
}

test('refuses a model without attention', async (t) => {
  const g = new GraphBuilder()
  g.node('Softmax', [g.node('MatMul', ['x', g.float('w', [4, 4], Array(16).fill(0.5))])], { axis: -1 }, 'y')
  const file = g.write(path.join(folder, 'classifier.onnx'), [valueInfo('x', 1, ['n', 4])], ['y'])
  await t.throwsAsync(openModel(file), { code: 'ERR_NO_ATTENTION', message: /no Softmax lies between/ })
})

test('a capture whose scores are not the model’s is refused, and names the layer', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 9 }))
  model.sites[0].operandScale *= 1.01
  await t.throwsAsync(accumulate(model, PROMPTS), {
    code: 'ERR_CAPTURE_MISMATCH',
    message: /layer 0 .*relative error 1\.0e-2/,
  })
})

test('NaN in activations is named by prompt, head and position', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 10, nanToken: 11 }))
  await t.throwsAsync(
    accumulate(model, [
      { ...PROMPTS[0], id: 'fine' },
      { ...PROMPTS[1], id: 'poisoned' },
    ]),
    {
      code: 'ERR_NON_FINITE',
      message: /poisoned: the keys of layer 0, key head 0, at position 3 are not finite/,
    },
  )
})
