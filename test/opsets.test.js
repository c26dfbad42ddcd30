/** Graphs of opsets 9 and 10 mean the same after they are lifted to opset 11; what does not run is named. */

import { createRequire } from 'node:module'
import path from 'node:path'
import test from 'ava'
import { capture, openModel } from '../dist/index.js'
import { InferenceSession } from '../dist/model/inference/session.js'
import { GraphEditor } from '../dist/model/onnx/graph-editor.js'
import { liftObstacle } from '../dist/model/onnx/lift-opset.js'
import { openGraph } from '../dist/model/open-graph.js'
import { temporaryFolder } from './helpers/files.js'
import { FLOAT, FLOAT16, GraphBuilder, INT32, INT64, valueInfo } from './helpers/graph-builder.js'

const ort = createRequire(import.meta.url)('onnxruntime-node')
const folder = temporaryFolder(test)
let files = 0
const target = () => path.join(folder, `${files++}.onnx`)
const wave = (n) => Float32Array.from({ length: n }, (_, i) => Math.sin(3 * i + 1))

const [WIDTH, HEADS, D] = [8, 2, 4]

/** A decoder layer with packed, clipped projections, as exporters wrote it for each opset. */
function tinyDecoder(opset) {
  const g = new GraphBuilder()
  const x = g.node('Gather', [g.float('table', [16, WIDTH], wave(16 * WIDTH)), 'input_ids'])
  const packed = g.node('MatMul', [x, g.float('w_qkv', [WIDTH, 3 * WIDTH], wave(3 * WIDTH ** 2))])
  const bounds = [g.scalar(-0.9), g.scalar(0.8)]
  const clipped =
    opset < 11 ? g.node('Clip', [packed], { min: -0.9, max: 0.8 }) : g.node('Clip', [packed, ...bounds])
  const [q, k, v] = [0, 1, 2].map((part) => {
    const [starts, ends] = [[part * WIDTH], [(part + 1) * WIDTH]]
    const cut =
      opset < 10
        ? g.node('Slice', [clipped], { starts, ends, axes: [2] })
        : g.node('Slice', [clipped, g.ints(starts), g.ints(ends), g.ints([2])])
    return g.node('Transpose', [g.node('Reshape', [cut, g.ints([0, 0, HEADS, D])])], { perm: [0, 2, 1, 3] })
  })
  const product = g.node('MatMul', [q, g.node('Transpose', [k], { perm: [0, 1, 3, 2] })])
  const scores = g.node('Div', [product, g.scalar(Math.sqrt(D))])
  const kept = g.node('Dropout', [g.node('Softmax', [scores], { axis: 3 })])
  const joined = g.node('Transpose', [g.node('MatMul', [kept, v])], { perm: [0, 2, 1, 3] })
  g.node('Reshape', [joined, g.ints([0, 0, WIDTH])], {}, 'y')
  return g.write(target(), [valueInfo('input_ids', INT64, ['batch', 'seq'])], ['y'], { opset })
}

for (const opset of [9, 10]) {
  test(`a decoder of opset ${opset} is captured as that of opset 11`, async (t) => {
    const [old, newer] = await Promise.all([opset, 11].map((version) => openModel(tinyDecoder(version))))
    t.is(old.sites[0].heads, HEADS)
    t.is(old.sites[0].scale, newer.sites[0].scale)
    t.true(old.sites[0].relativeError < 1e-5)
    t.deepEqual(old.notes, [`its operators are read as those of opset 11; the file is of opset ${opset}`])
    const [a, b] = await Promise.all(
      [old, newer].map((model) => capture(model, { tokens: [3, 1, 4, 1, 5] }, { scores: true })),
    )
    for (const name of ['q', 'k', 'attn_scores']) {
      t.deepEqual(
        a.activations[`blocks.0.attn.hook_${name}`].data,
        b.activations[`blocks.0.attn.hook_${name}`].data,
      )
    }
  })
}

/** What the file itself gives, and what its lifted graph gives. */
async function bothResults(file, dims, type = 'float32') {
  const n = dims.reduce((a, b) => a * b, 1)
  const data = type === 'float16' ? new Uint16Array(n).map((_, i) => 0x3800 + 37 * i) : wave(n)
  const session = await ort.InferenceSession.create(file, { logSeverityLevel: 4 })
  const { y } = await session.run({ x: new ort.Tensor(type, data, dims) })
  const graph = openGraph(file)
  const editor = new GraphEditor(graph)
  editor.output('y')
  const { bytes } = editor.build()
  const lifted = await InferenceSession.open({ bytes, weightsFolder: folder, threads: 1, once: true })
  const found = (await lifted.run({ x: { type, data, dims } })).y
  await lifted.close()
  return { graph, own: [[...y.dims], y.data], lifted: [[...found.dims], found.data] }
}

/** @type {Record<string, [number, (g: GraphBuilder) => void]>} */
const changed = {
  'Clip without bounds': [9, (g) => g.node('Clip', ['x'], {}, 'y')],
  'Clip with one bound': [9, (g) => g.node('Clip', ['x'], { max: 0.25 }, 'y')],
  'Pad with a value': [10, (g) => g.node('Pad', ['x'], { pads: [0, 0, 1, 2, 0, 0, 0, 1], value: 2.5 }, 'y')],
  'Pad by reflection': [
    9,
    (g) => g.node('Pad', ['x'], { pads: [0, 0, 1, 2, 0, 0, 0, 1], mode: 'reflect' }, 'y'),
  ],
  'Slice without axes': [9, (g) => g.node('Slice', ['x'], { starts: [0, 1], ends: [1, 9] }, 'y')],
  'TopK with an attribute': [9, (g) => g.node('TopK', ['x'], { k: 2, axis: 3 }, ['y', 'at'])],
  'TopK with an input': [10, (g) => g.node('TopK', ['x', g.ints([2])], { axis: 3 }, ['y', 'at'])],
  'Upsample of opset 9': [
    9,
    (g) => g.node('Upsample', ['x', g.float('s', [4], [1, 1, 1.5, 2])], { mode: 'nearest' }, 'y'),
  ],
  'Upsample between pixels': [
    9,
    (g) => g.node('Upsample', ['x', g.float('s', [4], [1, 1, 2, 2])], { mode: 'linear' }, 'y'),
  ],
  'Resize of opset 10': [
    10,
    (g) => g.node('Resize', ['x', g.float('s', [4], [1, 1, 1.4, 2.5])], { mode: 'nearest' }, 'y'),
  ],
  'Resize to fewer pixels': [
    10,
    (g) => g.node('Resize', ['x', g.float('s', [4], [1, 1, 0.7, 0.6])], { mode: 'nearest' }, 'y'),
  ],
  'Resize between pixels': [
    10,
    (g) => g.node('Resize', ['x', g.float('s', [4], [1, 1, 1.4, 2])], { mode: 'linear' }, 'y'),
  ],
  'Resize to fewer, between pixels': [
    10,
    (g) => g.node('Resize', ['x', g.float('s', [4], [1, 1, 0.7, 0.6])], { mode: 'linear' }, 'y'),
  ],
  Scatter: [
    9,
    (g) =>
      g.node('Scatter', ['x', g.ints([1], [1, 1, 1, 1]), g.float('u', [1, 1, 1, 1], [7])], { axis: 3 }, 'y'),
  ],
}

for (const [what, [opset, write]] of Object.entries(changed)) {
  test(`${what} means the same`, async (t) => {
    const g = new GraphBuilder()
    write(g)
    const file = g.write(target(), [valueInfo('x', FLOAT, [1, 2, 3, 4])], ['y'], { opset })
    const { graph, own, lifted } = await bothResults(file, [1, 2, 3, 4])
    t.is(graph.opset, 11)
    t.deepEqual(lifted, own)
  })
}

test('bounds are of the element type of what they bound', async (t) => {
  const g = new GraphBuilder({ half: true })
  g.node('Pad', ['x'], { pads: [1, 0], value: 0.5 }, 'y')
  const file = g.write(target(), [valueInfo('x', FLOAT16, [6])], ['y'], { opset: 10 })
  const graph = openGraph(file)
  t.is(graph.producers.get(graph.producers.get('y').input[2]).opType, 'Cast')
})

test('an operator that cannot be lifted is named', async (t) => {
  const g = new GraphBuilder()
  const scores = g.node('MatMul', ['x', g.node('Transpose', ['x'], { perm: [0, 2, 1] })])
  const dropped = g.node('Dropout', [g.node('Softmax', [scores], { axis: 2 })], {}, ['kept', 'mask'])
  g.node('MatMul', [g.node('Mul', dropped), 'x'], {}, 'y')
  const file = g.write(target(), [valueInfo('x', FLOAT, ['batch', 'seq', 8])], ['y'], { opset: 9 })
  await t.throwsAsync(openModel(file), {
    code: 'ERR_UNSUPPORTED_MODEL',
    message: /uses opset 9, .*Dropout "kept" stands in the way: its mask has become boolean/,
  })
})

test('the nearest pixel is above or below by scales, which have to be known', (t) => {
  for (const scales of [
    (g) => g.float('s', [4], [1, 1, 1.4, 0.6]),
    (g) => g.node('Identity', [g.float('s', [4], [1, 1, 2, 2])]),
  ]) {
    const g = new GraphBuilder()
    g.node('Resize', ['x', scales(g)], { mode: 'nearest' }, 'y')
    const graph = openGraph(g.write(target(), [valueInfo('x', FLOAT, [1, 2, 3, 4])], ['y'], { opset: 10 }))
    t.is(graph.opset, 10)
    t.regex(liftObstacle(graph), /Resize "y" stands in the way: it takes the nearest pixel/)
  }
})

const BFLOAT16 = 16

function selfAttention(g, x, ...ends) {
  const scores = g.node('MatMul', [x, g.node('Transpose', [x], { perm: [0, 2, 1] })])
  return g.node('MatMul', [g.node('Softmax', [scores], { axis: -1 }), x], {}, ...ends)
}

test('inputs and products of bfloat16 are named as such', async (t) => {
  const taken = new GraphBuilder()
  selfAttention(taken, 'x', 'y')
  const input = taken.write(
    target(),
    [valueInfo('x', BFLOAT16, ['batch', 'seq', 8])],
    [valueInfo('y', BFLOAT16)],
  )
  await t.throwsAsync(openModel(input), {
    code: 'ERR_UNSUPPORTED_MODEL',
    message: /its input "x" is of bfloat16, an element type for which .* no kernels on the processor/,
  })
  const computed = new GraphBuilder()
  const weight = computed.stored(
    'w',
    BFLOAT16,
    [8, 8],
    Uint16Array.from({ length: 64 }, (_, i) => 0x3f00 + i),
  )
  const half = computed.node('Cast', ['x'], { to: BFLOAT16 })
  selfAttention(computed, computed.node('MatMul', [half, weight], {}, 'rows'), 'y')
  const inside = computed.write(
    target(),
    [valueInfo('x', FLOAT, ['batch', 'seq', 8])],
    [valueInfo('y', BFLOAT16)],
  )
  await t.throwsAsync(openModel(inside), {
    code: 'ERR_UNSUPPORTED_MODEL',
    message: /MatMul "rows" computes in bfloat16, an element type for which .* no kernels on the processor/,
  })
})

test('operators of GPUs are named as such, around attention too', async (t) => {
  const contrib = 'com.microsoft'
  const lengths = valueInfo('lengths', INT32, ['batch'])
  const x = valueInfo('x', FLOAT, ['batch', 'seq', 8])
  const removed = ['packed', 'offset', 'cumulated', 'most']
  const packed = new GraphBuilder()
  packed.node('RemovePadding', ['x', 'lengths'], {}, removed, contrib)
  const weights = [packed.float('w', [8, 24], wave(192)), packed.float('b', [24], wave(24))]
  packed.node(
    'PackedAttention',
    ['packed', ...weights, 'offset', 'cumulated'],
    { num_heads: 2 },
    'rows',
    contrib,
  )
  packed.node('RestorePadding', ['rows', 'offset'], {}, 'y', contrib)
  await t.throwsAsync(openModel(packed.write(target(), [x, lengths], ['y'])), {
    message: /com\.microsoft\.PackedAttention\): onnxruntime runs it on GPUs only/,
  })
  const around = new GraphBuilder()
  around.node('RemovePadding', ['x', 'lengths'], {}, removed, contrib)
  around.node('RestorePadding', ['packed', 'offset'], {}, 'again', contrib)
  selfAttention(around, 'again', 'y')
  await t.throwsAsync(openModel(around.write(target(), [x, lengths], ['y'])), {
    code: 'ERR_UNSUPPORTED_MODEL',
    message: /no kernel for Re(move|store)Padding ".*" on the processor/,
  })
})
