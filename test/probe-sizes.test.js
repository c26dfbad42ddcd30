/** Sizes of free axes: the graph tells them, the caller does, or the model is refused by name; none takes long. */

import path from 'node:path'
import test from 'ava'
import { openModel } from '../dist/index.js'
import { modelInputs } from '../dist/model/inference/inputs.js'
import { probeFeeds, probeSizes } from '../dist/model/inference/probe.js'
import { ProbeBudget } from '../dist/model/inference/probe-budget.js'
import { settledInputs } from '../dist/model/inference/sizes/given.js'
import { tensorValues } from '../dist/model/inference/values.js'
import { openGraph } from '../dist/model/open-graph.js'
import { findSites } from '../dist/model/sites/search/find.js'
import { probe } from '../dist/model/sites/site-probe.js'
import { runCommand } from './helpers/command.js'
import { temporaryFolder } from './helpers/files.js'
import { FLOAT, GraphBuilder, INT8, INT32, INT64, valueInfo } from './helpers/graph-builder.js'

const folder = temporaryFolder(test)
let files = 0
const target = () => path.join(folder, `${files++}.onnx`)
const CONTRIB = 'com.microsoft'

/** Packed weights that are inputs: what microbenchmarks of onnxruntime run. */
function packedAttention() {
  const g = new GraphBuilder()
  g.node('Attention', ['x', 'w', 'b', 'mask_index'], { num_heads: 12 }, 'y', CONTRIB)
  const inputs = [
    valueInfo('x', FLOAT, ['batch', 'seq', 'hidden']),
    valueInfo('w', FLOAT, ['hidden', '']),
    valueInfo('b', FLOAT, ['']),
    valueInfo('mask_index', INT32, ['batch']),
  ]
  return g.write(target(), inputs, ['y'])
}

/** One token of a Whisper decoder, with beams and a past in a shared buffer. */
function decoder(opType) {
  const g = new GraphBuilder()
  const shared = ['past_k', 'past_v', 'past_seq_len']
  const masked = opType === 'DecoderMaskedMultiHeadAttention'
  const inputs = masked
    ? ['q', 'k', 'v', '', '', ...shared, 'beam_width', 'cache_indir', 'b']
    : ['q', 'k', 'v', 'b', '', '', ...shared, 'cache_indir']
  const attributes = masked ? { past_present_share_buffer: 1 } : { unidirectional: 1 }
  const outputs = ['o', 'present_k', 'present_v']
  g.node(opType, inputs, { num_heads: 2, ...attributes }, outputs, CONTRIB)
  const taken = [
    ...['q', 'k', 'v'].map((name) => valueInfo(name, FLOAT, ['batch', 'sequence', 64])),
    valueInfo('b', FLOAT, [192]),
    ...['past_k', 'past_v'].map((name) => valueInfo(name, FLOAT, ['batch', 2, 'most', 32])),
    valueInfo('past_seq_len', INT32, [1]),
    ...(masked ? [valueInfo('beam_width', INT32, [1])] : []),
    valueInfo('cache_indir', INT32, ['batch', 'num_beams', 'most']),
  ]
  return g.write(target(), taken, outputs)
}

for (const [what, file] of [
  ['packed attention whose weights are inputs', packedAttention()],
  ['a masked decoder step with beams', decoder('DecoderMaskedMultiHeadAttention')],
  ['multi-head attention with beams', decoder('MultiHeadAttention')],
]) {
  test(`${what} runs on sizes that its operator tells`, async (t) => {
    const { sites } = await openModel(file)
    t.is(sites.length, 1)
    t.true(sites[0].relativeError < 1e-5)
  })
}

test('a buffer is not filled beyond its end', (t) => {
  const graph = openGraph(decoder('DecoderMaskedMultiHeadAttention'))
  const inputs = modelInputs(graph)
  for (const [most, filled] of [
    [7, 2],
    [2, 1],
    [1, 0],
  ]) {
    const [sizes] = probeSizes(inputs, new Map([['most', most]]))
    const feeds = probeFeeds(graph, inputs, sizes)
    t.deepEqual(feeds.past_k.dims, [3, 2, most, 32])
    t.deepEqual([...tensorValues(feeds.past_seq_len)], [filled])
    t.deepEqual([...tensorValues(feeds.beam_width)], [1])
    t.true(tensorValues(feeds.cache_indir).every((beam) => beam === 0))
  }
})

const WIDTH = 24
const random = (n) => Float32Array.from({ length: n }, (_, i) => Math.sin(7 * i + 1))

/** Attention of x [batch, positions, features] over itself, in which `enter` makes its way to the weights. */
function attentionOver(shape, enter) {
  const g = new GraphBuilder()
  const x = enter(g, 'x')
  const [q, k] = ['q', 'k'].map((side) =>
    g.node('MatMul', [x, g.float(`w_${side}`, [WIDTH, WIDTH], random(WIDTH ** 2))]),
  )
  const scores = g.node('MatMul', [q, g.node('Transpose', [k], { perm: [0, 2, 1] })])
  g.node('MatMul', [g.node('Softmax', [scores], { axis: -1 }), x], {}, 'y')
  return g.write(target(), [valueInfo('x', FLOAT, shape)], ['y'])
}

const gain = (g) => g.float('gain', [WIDTH], random(WIDTH))
const ways = {
  'a normalisation': (g, x) => g.node('LayerNormalization', [x, gain(g)], { axis: -1, epsilon: 1e-3 }),
  'an added vector': (g, x) => g.node('Add', [g.node('Tanh', [x]), gain(g)]),
  'a constant shape': (g, x) => {
    const split = g.node('Reshape', [x, g.ints([0, 0, 3, 8])])
    return g.node('Reshape', [split, g.ints([0, 0, WIDTH])])
  },
  'a join': (g, x) => {
    const first = g.float('first', [1, 1, WIDTH], random(WIDTH))
    return g.node('Concat', [first, x], { axis: 1 })
  },
  'an equation': (g, x) => {
    const w = g.float('w', [WIDTH, WIDTH], random(WIDTH ** 2))
    return g.node('Einsum', [x, w], { equation: 'bsf,fg->bsg' })
  },
  'rows in one list': (g, x) => {
    const rows = g.node('Reshape', [x, g.ints([-1, WIDTH])])
    return g.node('Reshape', [rows, g.node('Shape', [x])])
  },
  'a quantised weight': (g, x) => {
    const stored = g.stored(
      'w',
      INT8,
      [WIDTH, WIDTH],
      Int8Array.from(random(WIDTH ** 2), (v) => 50 * v),
    )
    return g.node('MatMul', [x, g.node('DequantizeLinear', [stored, g.scalar(0.02)])])
  },
  'what is left of it': (g, x) => {
    const cut = g.node('Slice', [x, g.ints([1]), g.ints([99]), g.ints([1])])
    return g.node('Mul', [cut, gain(g)])
  },
  'a turned tensor': (g, x) => {
    const turned = g.node('Transpose', [x], { perm: [1, 0, 2] })
    return g.node('Transpose', [g.node('Mul', [turned, gain(g)])], { perm: [1, 0, 2] })
  },
}

for (const [what, enter] of Object.entries(ways)) {
  test(`the width of an input is told by ${what}`, async (t) => {
    const { sites } = await openModel(attentionOver(['batch', 'seq', 'features'], enter))
    t.is(sites[0].headDim, WIDTH)
    t.true(sites[0].relativeError < 1e-5)
  })
}

/** Features that a computed shape lays out: nothing tells how many there are. */
const untold = (g, x) => g.node('Reshape', [x, g.node('Identity', [g.ints([0, -1, WIDTH])])])

test('a size that nothing tells is given by the caller', async (t) => {
  const file = attentionOver(['batch', 'seq', 'features'], untold)
  /** @type {import('../dist/index.js').QkError} */
  const error = await t.throwsAsync(openModel(file), { code: 'ERR_INFERENCE' })
  t.regex(error.hint, /Its inputs are x \[batch,seq,features\].*sizes: \{.*--size features=24/)
  const { sites, inputs } = await openModel(file, { sizes: { features: WIDTH } })
  t.is(sites[0].headDim, WIDTH)
  t.deepEqual(inputs[0].shape, ['batch', 'seq', WIDTH])
  const unnamed = attentionOver(['batch', 'seq', ''], untold)
  const named = await openModel(unnamed, { sizes: { 'x.2': WIDTH } })
  t.is(named.sites[0].headDim, WIDTH)
})

test('sizes of what every prompt has its own of hold for the probe alone', (t) => {
  const graph = openGraph(attentionOver(['batch', 'seq', 'features'], untold))
  const given = new Map([
    ['batch', 2],
    ['seq', 5],
    ['features', WIDTH],
  ])
  const inputs = settledInputs(graph, modelInputs(graph), given)
  t.deepEqual(inputs[0].shape, ['batch', 'seq', WIDTH])
  const [sizes] = probeSizes(inputs, given)
  t.deepEqual(probeFeeds(graph, inputs, sizes).x.dims, [2, 5, WIDTH])
})

test('an axis that the model does not have is refused with those that it has', async (t) => {
  const file = attentionOver(['batch', 'seq', 'features'], untold)
  /** @type {import('../dist/index.js').QkError} */
  const error = await t.throwsAsync(openModel(file, { sizes: { width: 3 } }), {
    code: 'ERR_ARGUMENT',
    message: /no free axis "width"/,
  })
  t.is(error.hint, 'Free are batch, seq, features.')
  await t.throwsAsync(openModel(file, { sizes: { features: 0 } }), {
    code: 'ERR_ARGUMENT',
    message: /the size of "features" is 0/,
  })
})

test('the command takes sizes', async (t) => {
  const file = attentionOver(['batch', 'seq', 'features'], untold)
  const args = ['inspect', file, '--json', '--size', 'features=24', '--size', 'seq=5']
  const { stdout, stderr, status } = await runCommand(folder, args)
  t.is(status, 0, stderr)
  t.is(JSON.parse(stdout).sites[0].headDim, WIDTH)
  t.is((await runCommand(folder, ['inspect', file, '--size', 'features'])).status, 2)
})

const plain = (shape) => attentionOver(shape, (_, x) => x)

test('an input without a shape is refused by name before onnxruntime sees it', async (t) => {
  await t.throwsAsync(openModel(plain(undefined)), {
    code: 'ERR_UNSUPPORTED_MODEL',
    message: /its input "x" has no shape/,
  })
})

test('fixed sizes that no batch can be made of are refused at once', async (t) => {
  for (const shape of [
    [2, 1_000_000, 6, 8],
    [1024, 4096, WIDTH],
  ]) {
    const error = await t.throwsAsync(openModel(plain(shape)), { code: 'ERR_UNSUPPORTED_MODEL' })
    t.true(error.message.includes(`its input "x" has ${shape.join(' x ')} elements`))
  }
})

test('given sizes that no batch can be made of are refused by name', async (t) => {
  const file = plain(['batch', 'seq', 'features'])
  await t.throwsAsync(openModel(file, { sizes: { seq: 900_000, batch: 8 } }), {
    code: 'ERR_INFERENCE',
    message: /does not run on a synthetic batch.*172800000 elements, too many/,
  })
})

test('lengths whose scores would fill the memory are refused by name', async (t) => {
  const fixed = plain([1, 30_000, WIDTH])
  const message = /"x" has 1 x 30000 positions, whose scores in 1 layers are too many/
  await t.throwsAsync(openModel(fixed), { code: 'ERR_INFERENCE', message })
  const free = plain(['batch', 'seq', WIDTH])
  await t.throwsAsync(openModel(free, { sizes: { batch: 10_000, seq: 200 } }), {
    code: 'ERR_INFERENCE',
    message: /"x" has 10000 x 200 positions, whose scores in 1 layers are too many/,
  })
})

test('of a large batch only the first numbers are drawn, since drawing all would hold up the event loop', (t) => {
  const graph = openGraph(plain(['batch', 'seq', WIDTH]))
  const given = new Map([
    ['batch', 2],
    ['seq', 1_000_000],
  ])
  const inputs = modelInputs(graph)
  const { x } = probeFeeds(graph, inputs, probeSizes(inputs, given)[0])
  const data = /** @type {Float32Array} */ (x.data)
  t.is(data.length, 2 * 1_000_000 * WIDTH)
  const drawn = 65_537
  t.true(data.every((value, i) => i < drawn || value === data[i - drawn]))
  // Neither rows nor columns of weights' sizes are equal.
  t.notDeepEqual(data.slice(0, WIDTH), data.slice(65_536, 65_536 + WIDTH))
  t.deepEqual(data.slice(0, WIDTH), data.slice(65_537, 65_537 + WIDTH))
})

test('tries end when the time for them is over', async (t) => {
  const graph = openGraph(attentionOver(['batch', 'seq', 'features'], untold))
  const budget = new ProbeBudget()
  t.false(budget.isSpent)
  /** @type {any} */
  const context = {
    graph,
    inputs: modelInputs(graph),
    threads: 1,
    budget: { spend: (run) => run(), isSpent: true },
  }
  const { candidates } = findSites(graph, [])
  await t.throwsAsync(probe(context, candidates), {
    code: 'ERR_INFERENCE',
    message: /does not run on a synthetic batch \(1 of \d+ sizes tried in 5 s\)/,
  })
})

test('caches are as wide as the graph tells', async (t) => {
  const g = new GraphBuilder()
  const x = g.node('Gather', [g.float('table', [16, 8], random(128)), 'input_ids'])
  const heads = (name) => {
    const product = g.node('MatMul', [x, g.float(`w_${name}`, [8, 8], random(64))])
    return g.node('Transpose', [g.node('Reshape', [product, g.ints([0, 0, 2, 4])])], { perm: [0, 2, 1, 3] })
  }
  const k = g.node('Concat', ['past_key', heads('k')], { axis: 2 }, 'present_key')
  const scores = g.node('MatMul', [heads('q'), g.node('Transpose', [k], { perm: [0, 1, 3, 2] })])
  g.node('MatMul', [g.node('Softmax', [scores], { axis: -1 }), k], {}, 'y')
  const inputs = [
    valueInfo('input_ids', INT64, ['batch', 'seq']),
    valueInfo('past_key', FLOAT, ['batch', 'heads', 'past', 'width']),
  ]
  const model = await openModel(g.write(target(), inputs, ['y', 'present_key']))
  t.deepEqual(model.inputs[1].shape, ['batch', 2, 'past', 4])
  t.is(model.sites[0].heads, 2)
})
