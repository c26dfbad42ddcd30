/** Functions and Ifs are flattened, and the flat graph gives what the model gives. */

import { appendFileSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import test from 'ava'
import { accumulate, decompose, openModel } from '../dist/index.js'
import { seededRandom } from '../dist/math/random.js'
import { InferenceSession } from '../dist/model/inference/session.js'
import { ModelProtoSchema, StringStringEntryProtoSchema } from '../dist/model/onnx/proto/onnx_pb.js'
import { openGraph } from '../dist/model/open-graph.js'
import { findSites } from '../dist/model/sites/search/find.js'
import { temporaryFolder } from './helpers/files.js'
import { valueInfo } from './helpers/graph-builder.js'
import {
  BOOL,
  FLOAT,
  INT64,
  modelOf,
  node,
  onnxFunction,
  Ref,
  subgraph,
  tensor,
  writeModel,
} from './helpers/onnx-parts.js'
import { ENERGY } from './helpers/rank-rules.js'
import { writeTinyModel } from './helpers/tiny-model.js'

const folder = temporaryFolder(test)
let files = 0
const write = (model) => writeModel(path.join(folder, `${files++}.onnx`), model)

const random = seededRandom(7)
const normal = (size) => Float32Array.from({ length: size }, () => random.normal())
const X = valueInfo('x', FLOAT, ['batch', 'seq', 8])
const x = { type: 'float32', dims: [2, 5, 8], data: normal(80) }
const flag = (value) => ({ type: 'bool', dims: [1], data: Uint8Array.of(Number(value)) })
const yes = () => tensor('yes', BOOL, [], [true])

async function outputsOf(bytes, weightsFolder, feeds) {
  const session = await InferenceSession.open({ bytes, weightsFolder, threads: 1 })
  try {
    return await session.run(feeds)
  } finally {
    await session.close()
  }
}

/** Opens a file, and asserts that the flat graph's outputs are the model's own to the last bit. */
async function sameOutputs(t, file, feeds, chosen = {}) {
  const graph = openGraph(file)
  const flat = toBinary(ModelProtoSchema, graph.model.proto)
  const theirs = await outputsOf(readFileSync(file), path.dirname(file), { ...feeds, ...chosen })
  const ours = await outputsOf(flat, graph.model.weightsFolder, feeds)
  t.deepEqual(Object.keys(ours), Object.keys(theirs))
  for (const [name, { dims, data }] of Object.entries(theirs)) {
    t.deepEqual(ours[name].dims, dims)
    t.deepEqual(ours[name].data, data)
  }
  return graph
}

const ops = (graph) => graph.nodes.map(({ opType }) => opType)

/** Attention over rows of x [batch, seq, 8], as nodes that end in `output`; names begin with `p`. */
function attentionNodes(p, { input = 'x', output, w = { q: 'w_q', k: 'w_k' } }) {
  return [
    node('MatMul', [input, w.q], [`${p}q`]),
    node('MatMul', [input, w.k], [`${p}k`]),
    node('Transpose', [`${p}k`], [`${p}kt`], { perm: [0, 2, 1] }),
    node('MatMul', [`${p}q`, `${p}kt`], [`${p}scores`], {}, { name: `${p}product` }),
    node('Softmax', [`${p}scores`], [`${p}pattern`], { axis: -1 }),
    node('MatMul', [`${p}pattern`, input], [output]),
  ]
}

const weights = () => [tensor('w_q', FLOAT, [8, 8], normal(64)), tensor('w_k', FLOAT, [8, 8], normal(64))]

test('functions are inlined: nested calls, attributes by reference, defaults, arguments left out', async (t) => {
  const attend = onnxFunction({
    name: 'Attend',
    inputs: ['q', 'k', 'v', 'bias'],
    outputs: ['mixed', 'pattern'],
    attributes: ['perm'],
    defaults: { axis: -1, slope: 0.5 },
    opsets: { '': 17, local: 1 },
    nodes: [
      node('Transpose', ['k'], ['x'], { perm: new Ref('perm', 'INTS') }),
      node('MatMul', ['q', 'x'], ['scores'], {}, { name: 'product' }),
      node(
        'Bounded',
        ['scores', '', 'bias'],
        ['kept'],
        { slope: new Ref('slope', 'FLOAT') },
        {
          domain: 'local',
          name: 'bounded',
        },
      ),
      node('Softmax', ['kept'], ['pattern'], { axis: new Ref('axis'), nothing: new Ref('absent') }),
      node('MatMul', ['pattern', 'v'], ['mixed']),
    ],
  })
  const bounded = onnxFunction({
    name: 'Bounded',
    inputs: ['x', 'low', 'high'],
    outputs: ['y'],
    attributes: ['slope'],
    nodes: [
      node('Clip', ['x', 'low', 'high'], ['scores']),
      node('LeakyRelu', ['x'], ['leaky'], { alpha: new Ref('slope', 'FLOAT') }),
      node('Add', ['scores', 'leaky'], ['y']),
    ],
  })
  const call = (output, attributes, inputs) =>
    node(
      'Attend',
      inputs,
      output,
      { perm: [0, 2, 1], ...attributes },
      { domain: 'local', name: `call_${output[0]}` },
    )
  const file = write(
    modelOf({
      functions: [attend, bounded],
      opsets: { '': 17, local: 1 },
      inputs: [X],
      outputs: ['a', 'p', 'b', 'scores', 'c'],
      initializers: [...weights(), tensor('top', FLOAT, [], [1.5])],
      nodes: [
        node('MatMul', ['x', 'w_q'], ['q']),
        node('MatMul', ['x', 'w_k'], ['k']),
        call(['a', 'p'], {}, ['q', 'k', 'x']),
        call(['b', ''], { axis: 1, slope: 0.25 }, ['q', 'k', 'x', 'top']),
        // The model's own "scores" is not the function's.
        node('Add', ['a', 'b'], ['scores']),
        node('Bounded', ['scores'], ['c'], {}, { domain: 'local' }),
      ],
    }),
  )
  const graph = await sameOutputs(t, file, { x })
  t.is(ops(graph).filter((op) => op === 'Softmax').length, 2)
  t.false(ops(graph).some((op) => op === 'Attend' || op === 'Bounded'))
  t.deepEqual(graph.model.proto.functions, [])
  const found = findSites(graph, [])
  t.deepEqual(
    found.candidates.map(({ product }) => product.name),
    ['call_a/product', 'call_b/product'],
  )
})

test('functions of one name are told apart by their overload', async (t) => {
  const fn = (overload, op) =>
    onnxFunction({ name: 'F', overload, inputs: ['a'], outputs: ['b'], nodes: [node(op, ['a'], ['b'])] })
  const call = (overload, output) => node('F', ['x'], [output], {}, { domain: 'local', overload })
  const file = write(
    modelOf({
      functions: [fn('', 'Abs'), fn('other', 'Neg')],
      opsets: { '': 17, local: 1 },
      inputs: [X],
      outputs: ['y', 'z'],
      nodes: [call('other', 'y'), call('', 'z')],
    }),
  )
  t.deepEqual(ops(await sameOutputs(t, file, { x })), ['Neg', 'Abs'])
})

test('a function that passes an input on, and one result under two names', (t) => {
  // onnxruntime refuses such functions; the standard allows them.
  const fn = onnxFunction({
    name: 'Both',
    inputs: ['a'],
    outputs: ['a', 'b', 'b'],
    nodes: [node('Abs', ['a'], ['b'])],
  })
  const graph = openGraph(
    write(
      modelOf({
        functions: [fn],
        opsets: { '': 17, local: 1 },
        inputs: [X],
        outputs: ['same', 'abs', 'again'],
        nodes: [node('Both', ['x'], ['same', 'abs', 'again'], {}, { domain: 'local' })],
      }),
    ),
  )
  t.deepEqual(
    graph.nodes.map(({ opType, input, output }) => [opType, ...input, ...output]),
    [
      ['Abs', 'x', 'abs'],
      ['Identity', 'x', 'same'],
      ['Identity', 'abs', 'again'],
    ],
  )
})

test('a function runs under the versions of the model, as in onnxruntime; its own imports are added', async (t) => {
  // Before version 13 the default axis of Softmax was the second, over all that follow.
  const fn = onnxFunction({
    name: 'F',
    inputs: ['a'],
    outputs: ['b'],
    opsets: { '': 11, 'com.microsoft': 1 },
    nodes: [node('Softmax', ['a'], ['s']), node('FastGelu', ['s'], ['b'], {}, { domain: 'com.microsoft' })],
  })
  const file = write(
    modelOf({
      functions: [fn],
      opsets: { '': 17, local: 1 },
      inputs: [X],
      outputs: ['y'],
      nodes: [node('F', ['x'], ['y'], {}, { domain: 'local' })],
    }),
  )
  const graph = await sameOutputs(t, file, { x })
  t.deepEqual(ops(graph), ['Softmax', 'FastGelu'])
  t.true(graph.model.proto.opsetImport.some(({ domain }) => domain === 'com.microsoft'))
})

test('onnxruntime’s own operators are not replaced by functions of their names', async (t) => {
  const fn = onnxFunction({
    name: 'Gelu',
    domain: 'com.microsoft',
    inputs: ['a'],
    outputs: ['b'],
    nodes: [node('Neg', ['a'], ['b'])],
  })
  const file = write(
    modelOf({
      functions: [fn],
      opsets: { '': 17, 'com.microsoft': 1 },
      inputs: [X],
      outputs: ['y'],
      nodes: [node('Gelu', ['x'], ['y'], {}, { domain: 'com.microsoft' })],
    }),
  )
  const graph = await sameOutputs(t, file, { x })
  t.deepEqual(ops(graph), ['Gelu'])
})

test('calls inside subgraphs that stay are left to onnxruntime, names of bodies do not clash', async (t) => {
  // The function's branches define "x", which is the model's input: they are renamed where they surface.
  const inner = (output) =>
    subgraph({ nodes: [node('Exp', ['v'], ['x']), node('Neg', ['x'], [output])], outputs: [output] })
  const fn = onnxFunction({
    name: 'Either',
    inputs: ['v', 'positive'],
    outputs: ['out'],
    nodes: [
      node('ReduceMax', ['v'], ['most'], { keepdims: 0 }),
      node('Greater', ['most', 'positive'], ['condition']),
      node('If', ['condition'], ['out'], { then_branch: inner('t'), else_branch: inner('e') }),
    ],
  })
  const call = (input, output) => node('Either', [input, 'zero'], [output], {}, { domain: 'local' })
  const file = write(
    modelOf({
      functions: [fn],
      opsets: { '': 17, local: 1 },
      inputs: [X, valueInfo('c', BOOL, [1])],
      outputs: ['y', 'z'],
      initializers: [tensor('zero', FLOAT, [], [0])],
      nodes: [
        call('x', 'y'),
        node('If', ['c'], ['z'], {
          then_branch: subgraph({ nodes: [call('y', 'z1')], outputs: ['z1'] }),
          else_branch: subgraph({ nodes: [node('Neg', ['y'], ['z2'])], outputs: ['z2'] }),
        }),
      ],
    }),
  )
  const graph = await sameOutputs(t, file, { x, c: flag(true) })
  t.deepEqual(ops(graph), ['ReduceMax', 'Greater', 'If', 'If'])
  t.is(graph.model.proto.functions.length, 1)
  t.deepEqual(graph.model.notes, [])
})

/** Two decoders in the branches of one If, as Optimum merges them: names are the same in both. */
function mergedDecoder({ condition = 'use_cache_branch', external = undefined } = {}) {
  const branch = (factor) => {
    const scale = tensor(
      'scale',
      FLOAT,
      [8, 8],
      normal(64).map((v) => v * factor),
    )
    if (external) {
      moveOut(scale, external)
    }
    return subgraph({
      initializers: [scale],
      nodes: [
        node('MatMul', [factor === 1 ? 'x' : 'past', 'scale'], ['hidden']),
        ...attentionNodes('', { input: 'hidden', output: 'attended' }),
        node('Identity', ['x'], ['present']),
      ],
      outputs: ['attended', 'present', 'scale'],
    })
  }
  return modelOf({
    inputs: [X, valueInfo('past', FLOAT, ['batch', 'seq', 8]), valueInfo(condition, BOOL, [1])],
    outputs: ['logits', 'present.0', 'scale_out'],
    initializers: weights(),
    nodes: [
      node(
        'If',
        [condition],
        ['logits', 'present.0', 'scale_out'],
        { then_branch: branch(2), else_branch: branch(1) },
        { name: 'optimum::if' },
      ),
    ],
  })
}

/** Moves a tensor's data to the end of a file. */
function moveOut(moved, file) {
  const offset = existsSync(file) ? statSync(file).size : 0
  appendFileSync(file, moved.rawData)
  const entries = { location: path.basename(file), offset, length: moved.rawData.length }
  moved.externalData = Object.entries(entries).map(([key, value]) =>
    create(StringStringEntryProtoSchema, { key, value: `${value}` }),
  )
  moved.dataLocation = 1
  moved.rawData = new Uint8Array()
}

test('of a merged decoder the branch without cache is taken', async (t) => {
  const file = write(mergedDecoder())
  const graph = await sameOutputs(t, file, { x }, { past: x, use_cache_branch: flag(false) })
  t.deepEqual(
    graph.inputs.map(({ name }) => name),
    ['x'],
  )
  t.deepEqual(graph.model.notes, [
    'If "optimum::if": the branch for false, since its input "use_cache_branch" is taken to be false',
  ])
  t.is(findSites(graph, []).candidates.length, 1)
  t.is(graph.declaredTypes.get('logits').value.value.elemType, FLOAT)
  // The names of the branch that stays are its own.
  t.true(graph.producers.has('scores'))
  t.true(graph.initializers.has('scale'))

  const model = await openModel(file)
  t.deepEqual(model.notes, graph.model.notes)
  t.is(model.sites.length, 1)
  t.true(model.sites[0].relativeError < 1e-5)
})

test('a merged decoder gives the covariances of the decoder in its branch', async (t) => {
  const plain = writeTinyModel(folder, { seed: 31 })
  const { graph, opsetImport } = fromBinary(ModelProtoSchema, readFileSync(plain))
  const [embedding, ...rest] = graph.initializer
  const branch = (also) =>
    subgraph({ nodes: [...graph.node, ...also], outputs: ['output'], initializers: rest })
  const cache = valueInfo('past_key_values.0.key', FLOAT, ['batch', 2, 'past', 4])
  const merged = write(
    modelOf({
      opsetImport,
      inputs: [...graph.input, cache, valueInfo('use_cache_branch', BOOL, [1])],
      outputs: ['output'],
      initializers: [embedding],
      nodes: [
        node('If', ['use_cache_branch'], ['output'], {
          then_branch: branch([node('Identity', [cache.name], ['read'])]),
          else_branch: branch([]),
        }),
      ],
    }),
  )
  const covariances = async (file) => {
    const model = await openModel(file)
    t.true(model.takesTokens)
    t.deepEqual(
      model.inputs.map(({ name }) => name),
      ['input_ids', 'attention_mask'],
    )
    const prompt = {
      contrast: 'c',
      tokens: [1, 5, 7, 3],
      terms: [{ query: -1, positive: [1], negative: [2] }],
    }
    const result = await decompose(await accumulate(model, [prompt]), { rank: ENERGY, keepCovariances: true })
    return result.headNames.map((head) => Array.from(result.head(head).contrast('c').cPos))
  }
  t.deepEqual(await covariances(merged), await covariances(plain))
})

test('another switch goes to where attention is, and every reader of it sees the same value', async (t) => {
  const file = write(
    modelOf({
      inputs: [X, valueInfo('fast', BOOL, [1]), valueInfo('other', FLOAT, ['batch', 'seq', 8])],
      outputs: ['y', 'z', 'w'],
      initializers: weights(),
      nodes: [
        node('If', ['fast'], ['before'], {
          then_branch: subgraph({ nodes: [node('Neg', ['x'], ['scores'])], outputs: ['scores'] }),
          else_branch: subgraph({ nodes: [node('Abs', ['x'], ['b2'])], outputs: ['b2'] }),
        }),
        node('Identity', ['fast'], ['alias']),
        node('If', ['alias'], ['y'], {
          then_branch: subgraph({ nodes: attentionNodes('', { output: 'out' }), outputs: ['out'] }),
          else_branch: subgraph({ nodes: [node('Sub', ['x', 'other'], ['out'])], outputs: ['out'] }),
        }),
        node('Where', ['fast', 'before', 'y'], ['z']),
        node('Neg', ['other'], ['w']),
      ],
    }),
  )
  const graph = await sameOutputs(t, file, { x, other: x }, { fast: flag(true) })
  t.deepEqual(graph.model.notes, ['If "y": the branch for true, since its input "fast" is taken to be true'])
  t.deepEqual(
    graph.inputs.map(({ name }) => name),
    ['x', 'other'],
  )
  // The If that stays has a "scores" of its own.
  t.is(findSites(graph, []).candidates[0].product.output[0], 'scores.2')
})

test('an If on a constant is replaced, at any depth, with initializers, bodies and outer tensors', async (t) => {
  const loop = subgraph({
    inputs: [valueInfo('i', INT64, []), valueInfo('on', BOOL, []), valueInfo('v', FLOAT)],
    nodes: [node('Identity', ['on'], ['on_out']), node('Add', ['v', 'mixed'], ['v_out'])],
    outputs: [valueInfo('on_out', BOOL), 'v_out'],
  })
  const inner = subgraph({
    initializers: [tensor('turns', INT64, [], [3])],
    nodes: [
      ...attentionNodes('', { output: 'mixed' }),
      node('Loop', ['turns', '', 'mixed'], ['looped'], { body: loop }),
      node('Identity', ['x'], ['x_again']),
    ],
    outputs: ['looped', 'mixed', 'x_again'],
  })
  const zeros = (names) =>
    subgraph({ nodes: names.map((name) => node('Sub', ['x', 'x'], [name])), outputs: names })
  const outer = subgraph({
    nodes: [
      node('Constant', [], ['no'], { value: tensor('', BOOL, [1], [false]) }),
      node('If', ['no'], ['l', 'm', 'n'], { then_branch: zeros(['a0', 'a1', 'a2']), else_branch: inner }),
    ],
    outputs: ['l', 'm', 'n'],
  })
  const file = write(
    modelOf({
      inputs: [X],
      outputs: ['looped', 'a', 'b', 'mixed'],
      initializers: [...weights(), yes()],
      nodes: [
        node('If', ['yes'], ['looped', 'a', 'b'], {
          then_branch: outer,
          else_branch: zeros(['b0', 'b1', 'b2']),
        }),
        node('Neg', ['a'], ['mixed']),
      ],
    }),
  )
  const graph = await sameOutputs(t, file, { x })
  t.false(ops(graph).includes('If'))
  t.true(ops(graph).includes('Loop'))
  t.is(graph.model.notes.length, 2)
  t.is(findSites(graph, []).candidates.length, 1)
})

test('an If on what is computed, or without attention, stays and is named', async (t) => {
  const file = write(
    modelOf({
      inputs: [X],
      outputs: ['y', 'z'],
      initializers: [...weights(), yes(), tensor('zero', FLOAT, [], [0])],
      nodes: [
        node('ReduceMax', ['x'], ['most'], { keepdims: 0 }),
        node('Greater', ['most', 'zero'], ['condition']),
        node('If', ['condition'], ['y'], {
          then_branch: subgraph({ nodes: attentionNodes('', { output: 'out' }), outputs: ['out'] }),
          else_branch: subgraph({ nodes: [node('Neg', ['x'], ['minus'])], outputs: ['minus'] }),
        }),
        node('If', ['yes'], ['z'], {
          then_branch: subgraph({ nodes: [node('Neg', ['x'], ['z1'])], outputs: ['z1'] }),
          else_branch: subgraph({ nodes: [node('Abs', ['x'], ['z2'])], outputs: ['z2'] }),
        }),
      ],
    }),
  )
  const graph = await sameOutputs(t, file, { x })
  t.deepEqual(ops(graph), ['ReduceMax', 'Greater', 'If', 'If'])
  const { candidates, unsupported } = findSites(graph, [])
  t.is(candidates.length, 0)
  t.deepEqual(
    unsupported.map(({ node: name, op }) => [name, op]),
    [['y', 'If']],
  )
})

test('attention in a function that a Loop calls is not reached, and named', (t) => {
  const attend = onnxFunction({
    name: 'Attend',
    inputs: ['x', 'w_q', 'w_k'],
    outputs: ['out'],
    opsets: { '': 17 },
    nodes: attentionNodes('', { output: 'out' }),
  })
  const body = subgraph({
    inputs: [valueInfo('i', INT64, []), valueInfo('on', BOOL, []), valueInfo('v', FLOAT)],
    nodes: [
      node('Identity', ['on'], ['on_out']),
      node('Attend', ['v', 'w_q', 'w_k'], ['v_out'], {}, { domain: 'local' }),
    ],
    outputs: [valueInfo('on_out', BOOL), 'v_out'],
  })
  const file = write(
    modelOf({
      functions: [attend],
      opsets: { '': 17, local: 1 },
      inputs: [X],
      outputs: ['y'],
      initializers: [...weights(), tensor('turns', INT64, [], [2])],
      nodes: [node('Loop', ['turns', '', 'x'], ['y'], { body }, { name: 'again' })],
    }),
  )
  const { candidates, unsupported } = findSites(openGraph(file), [])
  t.is(candidates.length, 0)
  t.like(unsupported[0], { node: 'again', op: 'Loop' })
  t.regex(unsupported[0].reason, /inside a subgraph of Loop/)
})

test('external data of subgraphs is found', async (t) => {
  const nested = path.join(folder, 'nested')
  mkdirSync(nested)
  const file = writeModel(
    path.join(nested, 'merged.onnx'),
    mergedDecoder({ external: path.join(nested, 'merged.data') }),
  )
  const graph = await sameOutputs(t, file, { x }, { past: x, use_cache_branch: flag(false) })
  t.is(graph.model.files.length, 2)
  const [location] = graph.initializers.get('scale').externalData
  t.is(path.join(graph.model.weightsFolder, location.value), graph.model.files[1])

  const evil = mergedDecoder({ external: path.join(nested, 'evil.data') })
  evil.graph.node[0].attribute[0].g.initializer[0].externalData[0].value = '../evil.data'
  const escaping = writeModel(path.join(nested, 'evil.onnx'), evil)
  t.throws(() => openGraph(escaping), { code: 'ERR_FILE', message: /points outside its folder/ })
})
