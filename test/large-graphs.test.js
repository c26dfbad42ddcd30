/** Graphs that are long, wide or deeply nested open: nothing recurses along them. */

import path from 'node:path'
import test from 'ava'
import { lowerAttention } from '../dist/model/fused/lower.js'
import { modelInputs } from '../dist/model/inference/inputs.js'
import { probeFeeds } from '../dist/model/inference/probe.js'
import { GraphEditor } from '../dist/model/onnx/graph-editor.js'
import { openGraph } from '../dist/model/open-graph.js'
import { findSites } from '../dist/model/sites/search/find.js'
import { temporaryFolder } from './helpers/files.js'
import { valueInfo } from './helpers/graph-builder.js'
import {
  FLOAT,
  INT64,
  modelOf,
  node,
  onnxFunction,
  subgraph,
  tensor,
  writeModel,
} from './helpers/onnx-parts.js'

const folder = temporaryFolder(test)
const X = valueInfo('x', FLOAT, ['batch', 'seq', 8])
const square = (name) => tensor(name, FLOAT, [8, 8], Array(64).fill(0.5))
const weights = [square('w_q'), square('w_k')]

/** Attention over `input`, ending in `output`. */
function attention(input, output) {
  const own = (name) => `${output}.${name}`
  return [
    node('MatMul', [input, 'w_q'], [own('q')]),
    node('MatMul', [input, 'w_k'], [own('k')]),
    node('Transpose', [own('k')], [own('kt')], { perm: [0, 2, 1] }),
    node('MatMul', [own('q'), own('kt')], [own('scores')]),
    node('Softmax', [own('scores')], [own('pattern')], { axis: -1 }),
    node('MatMul', [own('pattern'), input], [output]),
  ]
}

const chain = (length, from, op = (input, output) => node('Abs', [input], [output])) =>
  Array.from({ length }, (_, i) => op(i === 0 ? from : `${from}.${i - 1}`, `${from}.${i}`))

const local = { domain: 'local' }

const graphs = {
  'a long chain before the attention': {
    nodes: [...chain(30_000, 'x'), ...attention('x.29999', 'y')],
  },
  'a long chain, written backwards': {
    nodes: [...chain(30_000, 'x'), ...attention('x.29999', 'y')].reverse(),
  },
  'a tensor with 50,000 consumers': {
    nodes: [
      ...attention('x', 'y'),
      ...Array.from({ length: 50_000 }, (_, i) => node('Add', ['y', 'y'], [`z${i}`])),
    ],
  },
  'a node with 200,000 inputs': {
    nodes: [
      ...Array.from({ length: 200_000 }, (_, i) => node('Abs', ['x'], [`z${i}`])),
      node(
        'Sum',
        Array.from({ length: 200_000 }, (_, i) => `z${i}`),
        ['sum'],
      ),
      ...attention('sum', 'y'),
    ],
  },
  'many initializers': {
    initializers: Array.from({ length: 30_000 }, (_, i) => tensor(`i${i}`, FLOAT, [], [i])),
    nodes: [
      ...chain(30_000, 'x', (input, output) => node('Add', [input, `i${output.slice(2)}`], [output])),
      ...attention('x.29999', 'y'),
    ],
  },
  'functions that call one another, 5,000 deep': {
    functions: Array.from({ length: 5000 }, (_, i) =>
      onnxFunction({
        name: `F${i}`,
        inputs: ['a'],
        outputs: ['b'],
        opsets: { '': 17, local: 1 },
        nodes: [
          node('Abs', ['a'], ['c']),
          i === 4999 ? node('Neg', ['c'], ['b']) : node(`F${i + 1}`, ['c'], ['b'], {}, local),
        ],
      }),
    ),
    nodes: [node('F0', ['x'], ['z'], {}, local), ...attention('z', 'y')],
  },
}

for (const [what, { initializers = [], ...parts }] of Object.entries(graphs)) {
  test(`opens ${what}`, (t) => {
    const model = modelOf({
      inputs: [X],
      outputs: ['y'],
      opsets: { '': 17, local: 1 },
      initializers: [...weights, ...initializers],
      ...parts,
    })
    const file = writeModel(path.join(folder, `${what.replaceAll(' ', '-')}.onnx`), model)
    const { graph, fused } = lowerAttention(openGraph(file))
    const { candidates } = findSites(graph, fused)
    t.deepEqual(
      candidates.map(({ softmaxInput }) => softmaxInput),
      ['y.scores'],
    )
    const editor = new GraphEditor(graph)
    editor.output('y.scores')
    t.deepEqual(editor.build().inputs, ['x'])
  })
}

/** Every node of a layer sums all of the layer before. */
function meshed(layers, width, from) {
  const nodes = []
  let before = [from]
  for (let layer = 0; layer < layers; layer++) {
    const now = Array.from({ length: width }, (_, i) => `${from}.${layer}.${i}`)
    nodes.push(...now.map((name) => node('Sum', before, [name])))
    before = now
  }
  return { nodes, last: before[0] }
}

test('a pattern that meets no values is given up, however many paths lead on from it', (t) => {
  const { nodes, last } = meshed(10, 60, 'pattern')
  const file = writeModel(
    path.join(folder, 'mesh.onnx'),
    modelOf({ inputs: [X], outputs: [last], nodes: [node('Softmax', ['x'], ['pattern']), ...nodes] }),
  )
  t.deepEqual(findSites(openGraph(file), []), { candidates: [], unsupported: [] })
})

test('the rank of a fused operator’s inputs is found through sums of sums', (t) => {
  const doubled = chain(60, 'x', (input, output) => node('Add', [input, input], [output]))
  const attention = node(
    'MultiHeadAttention',
    ['x.59', 'x.59', 'x.59'],
    ['y'],
    { num_heads: 2 },
    { domain: 'com.microsoft' },
  )
  const file = writeModel(
    path.join(folder, 'sums.onnx'),
    modelOf({
      opsets: { '': 17, 'com.microsoft': 1 },
      inputs: [X],
      outputs: ['y'],
      nodes: [...doubled, attention],
    }),
  )
  t.is(lowerAttention(openGraph(file)).fused.length, 1)
})

test('the table behind the ids is found at the end of a long chain', (t) => {
  const ids = valueInfo('input_ids', INT64, ['batch', 'seq'])
  const casts = chain(20_000, 'input_ids', (input, output) => node('Cast', [input], [output], { to: INT64 }))
  const file = writeModel(
    path.join(folder, 'casts.onnx'),
    modelOf({
      inputs: [ids],
      outputs: ['rows'],
      initializers: [tensor('table', FLOAT, [2, 1], [0, 1])],
      nodes: [...casts, node('Gather', ['table', 'input_ids.19999'], ['rows'])],
    }),
  )
  const graph = openGraph(file)
  const { input_ids: fed } = probeFeeds(graph, modelInputs(graph), { batch: 8, length: 8 })
  t.true(fed.data instanceof BigInt64Array && fed.data.every((id) => id < 2n))
})

test('every one of many branches is taken', (t) => {
  const count = 2000
  const branch = (i, input) => subgraph({ nodes: attention(input, 'out'), outputs: ['out'], name: `b${i}` })
  const file = writeModel(
    path.join(folder, 'branches.onnx'),
    modelOf({
      inputs: [X],
      outputs: [`y${count - 1}`],
      initializers: [...weights, tensor('yes', 9, [], [true])],
      nodes: Array.from({ length: count }, (_, i) => {
        const body = branch(i, i === 0 ? 'x' : `y${i - 1}`)
        return node('If', ['yes'], [`y${i}`], { then_branch: body, else_branch: body })
      }),
    }),
  )
  const graph = openGraph(file)
  t.is(findSites(graph, []).candidates.length, count)
  t.is(graph.model.notes.length, count)
})
