/** No file makes opening crash or hang: it works, or says which node or tensor is wrong, and why. */

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { openModel, QkError } from '../dist/index.js'
import { seededRandom } from '../dist/math/random.js'
import { lowerAttention } from '../dist/model/fused/lower.js'
import { GraphEditor } from '../dist/model/onnx/graph-editor.js'
import { openGraph } from '../dist/model/open-graph.js'
import { findSites } from '../dist/model/sites/search/find.js'
import { temporaryFolder } from './helpers/files.js'
import { valueInfo } from './helpers/graph-builder.js'
import {
  BOOL,
  FLOAT,
  modelOf,
  node,
  onnxFunction,
  subgraph,
  tensor,
  writeModel,
} from './helpers/onnx-parts.js'
import { writeTinyModel } from './helpers/tiny-model.js'

const folder = temporaryFolder(test)
let files = 0
const write = (model) => writeModel(path.join(folder, `${files++}.onnx`), model)

const X = valueInfo('x', FLOAT, ['batch', 'seq', 8])
const abs = node('Abs', ['x'], ['y'], {}, { name: 'abs' })
const called = (opType, input, output) => node(opType, input, output, {}, { domain: 'local', name: 'call' })
const withFunctions = (functions, nodes) =>
  modelOf({ functions, opsets: { '': 17, local: 1 }, inputs: [X], outputs: ['y'], nodes })
const inLocal = (name, nodes) =>
  onnxFunction({ name, inputs: ['a'], outputs: ['b'], opsets: { '': 17, local: 1 }, nodes })

const refused = {
  'a cycle': {
    model: modelOf({
      inputs: [X],
      outputs: ['y'],
      nodes: [
        node('Add', ['x', 'b'], ['a'], {}, { name: 'first' }),
        node('Neg', ['a'], ['b'], {}, { name: 'second' }),
        abs,
      ],
    }),
    message: /Add "first" depends on its own result, through Neg "second"/,
  },
  'a node that reads its own result': {
    model: modelOf({ inputs: [X], outputs: ['y'], nodes: [node('Add', ['x', 'y'], ['y'])] }),
    message: /Add "y" depends on its own result, through Add "y"/,
  },
  'a tensor that nothing makes': {
    model: modelOf({ inputs: [X], outputs: ['y'], nodes: [abs, node('Add', ['x', 'nobody'], ['z'])] }),
    message: /Add "z" reads the tensor "nobody", which nothing makes/,
  },
  'a tensor that nothing makes, read in a subgraph': {
    model: modelOf({
      inputs: [X, valueInfo('c', BOOL, [])],
      outputs: ['y'],
      nodes: [
        node('If', ['c'], ['y'], {
          then_branch: subgraph({ nodes: [node('Neg', ['nobody'], ['t'])], outputs: ['t'] }),
          else_branch: subgraph({ nodes: [node('Neg', ['x'], ['e'])], outputs: ['e'] }),
        }),
      ],
    }),
    message: /If "y" reads the tensor "nobody"/,
  },
  'an output that nothing makes': {
    model: modelOf({ inputs: [X], outputs: ['y', 'z'], nodes: [abs] }),
    message: /nothing makes its output "z"/,
  },
  'two nodes that make one tensor': {
    model: modelOf({ inputs: [X], outputs: ['y'], nodes: [abs, node('Neg', ['x'], ['y'])] }),
    message: /two things make the tensor "y": Abs "abs" and Neg "y"/,
  },
  'a node that makes an input': {
    model: modelOf({ inputs: [X], outputs: ['y'], nodes: [abs, node('Neg', ['y'], ['x'])] }),
    message: /two things make the tensor "x": an input and Neg "x"/,
  },
  'a node that makes an initializer': {
    model: modelOf({
      inputs: [X],
      outputs: ['y'],
      nodes: [abs],
      initializers: [tensor('y', FLOAT, [1], [0])],
    }),
    message: /two things make the tensor "y": an initializer and Abs "abs"/,
  },
  'two inputs of one name': {
    model: modelOf({ inputs: [X, X], outputs: ['y'], nodes: [abs] }),
    message: /two inputs called "x"/,
  },
  'no operator set': {
    model: modelOf({ opsets: {}, inputs: [X], outputs: ['y'], nodes: [abs] }),
    message: /Abs "abs" is a standard operator, and no version .* is imported/,
  },
  'no standard operator set': {
    model: modelOf({ opsets: { other: 1 }, inputs: [X], outputs: ['y'], nodes: [abs] }),
    message: /Abs "abs" is a standard operator/,
  },
  'two versions of an operator set': {
    model: modelOf({ opsets: { '': 17, 'ai.onnx': 11 }, inputs: [X], outputs: ['y'], nodes: [abs] }),
    message: /imports the operator set "" twice, in versions 17 and 11/,
  },
  'negative sizes of a weight': {
    model: modelOf({
      inputs: [X],
      outputs: ['y'],
      nodes: [abs],
      initializers: [tensor('w', FLOAT, [-1, 4], [1, 2])],
    }),
    message: /initializer "w" has the dimensions -1 x 4/,
  },
  'an input too large to make up': {
    model: modelOf({ inputs: [valueInfo('x', FLOAT, [2 ** 40, 8])], outputs: ['y'], nodes: [abs] }),
    code: 'ERR_UNSUPPORTED_MODEL',
    message: /input "x" has 1099511627776 x 8 elements/,
  },
  'a function that calls itself': {
    model: withFunctions([inLocal('F', [called('F', ['a'], ['b'])])], [called('F', ['x'], ['y'])]),
    message: /function "local\.F" calls itself/,
  },
  'functions that call each other': {
    model: withFunctions(
      [inLocal('F', [called('G', ['a'], ['b'])]), inLocal('G', [called('F', ['a'], ['b'])])],
      [called('F', ['x'], ['y'])],
    ),
    message: /function "local\.F" calls itself/,
  },
  'two functions of one name': {
    model: withFunctions(
      [inLocal('F', [node('Abs', ['a'], ['b'])]), inLocal('F', [node('Neg', ['a'], ['b'])])],
      [called('F', ['x'], ['y'])],
    ),
    message: /two functions are called "local\.F"/,
  },
  'a function with too many arguments': {
    model: withFunctions([inLocal('F', [node('Abs', ['a'], ['b'])])], [called('F', ['x', 'x'], ['y'])]),
    message: /F "call" calls the function "local\.F", which has 1 inputs and 1 outputs, with more/,
  },
  'a function that reads what it is not given': {
    model: withFunctions([inLocal('F', [node('Add', ['a', 'x'], ['b'])])], [called('F', ['x'], ['y'])]),
    message: /F "call" calls the function "local\.F", which reads "x"/,
  },
  'a function that does not make its output': {
    model: withFunctions([inLocal('F', [node('Abs', ['a'], ['c'])])], [called('F', ['x'], ['y'])]),
    message: /F "call" calls the function "local\.F", which reads "b"/,
  },
  'a function that writes to its input': {
    model: withFunctions([inLocal('F', [node('Abs', ['a'], ['a'])])], [called('F', ['x'], ['y'])]),
    message: /which writes to its own input "a"/,
  },
  'functions that multiply': {
    model: withFunctions(
      Array.from({ length: 60 }, (_, i) =>
        inLocal(`F${i}`, [called(`F${i + 1}`, ['a'], ['c']), called(`F${i + 1}`, ['c'], ['b'])]),
      ).concat(inLocal('F60', [node('Abs', ['a'], ['b'])])),
      [called('F0', ['x'], ['y'])],
    ),
    code: 'ERR_UNSUPPORTED_MODEL',
    message: /with its functions inlined, the graph would name 1\.04e\+19 tensors/,
  },
  'a branch with more results than its If': {
    model: modelOf({
      inputs: [X],
      outputs: ['y'],
      initializers: [tensor('yes', BOOL, [], [true])],
      nodes: [
        node('If', ['yes'], ['y'], {
          then_branch: subgraph({ nodes: [node('Softmax', ['x'], ['t'])], outputs: ['t', 't'] }),
          else_branch: subgraph({ nodes: [node('Neg', ['x'], ['e'])], outputs: ['e'] }),
        }),
      ],
    }),
    message: /If "y" has 1 outputs, its branch 2/,
  },
}

for (const [what, { model, code = 'ERR_NOT_ONNX', message }] of Object.entries(refused)) {
  test(`refuses ${what}`, async (t) => {
    const file = write(model)
    const error = await t.throwsAsync(openModel(file), { instanceOf: QkError, code, message })
    t.true(error.message.includes(file))
  })
}

/** Attention over x with no head axis. */
const attention = [
  node('Transpose', ['k'], ['kt'], { perm: [0, 2, 1] }),
  node('MatMul', ['q', 'kt'], ['scores']),
  node('Softmax', ['scores'], ['pattern'], { axis: -1 }),
  node('MatMul', ['pattern', 'x'], ['y']),
]
const random = seededRandom(11)
const square = (name) =>
  tensor(
    name,
    FLOAT,
    [8, 8],
    Array.from({ length: 64 }, () => random.normal()),
  )
const weights = [square('w_q'), square('w_k')]
const projections = [node('MatMul', ['x', 'w_q'], ['q']), node('MatMul', ['x', 'w_k'], ['k'])]

const accepted = {
  'nodes in no order': { nodes: [...attention, ...projections].reverse() },
  'nodes without outputs': {
    nodes: [...projections, ...attention, node('Abs', ['x'], []), node('Abs', ['x'], [''])],
  },
  'an operator set that is imported twice': { opsets: { '': 17, 'ai.onnx': 17 } },
  'free axes written as negative sizes': { inputs: [valueInfo('x', FLOAT, [-1, -1, 8])] },
  'constants that are written twice, and once as an initializer': {
    initializers: [...weights, tensor('half', FLOAT, [], [9])],
    nodes: [
      node('Constant', [], ['half'], { value: tensor('', FLOAT, [], [7]) }),
      node('Constant', [], ['half'], { value: tensor('', FLOAT, [], [0.5]) }),
      ...projections.slice(1),
      node('MatMul', ['x', 'w_q'], ['whole']),
      node('Mul', ['whole', 'half'], ['q']),
      ...attention,
    ],
    scale: 0.5,
  },
  'weights among the inputs': {
    inputs: [X, ...['w_q', 'w_k'].map((name) => valueInfo(name, FLOAT, [8, 8]))],
  },
}

for (const [what, { scale = 1, ...changes }] of Object.entries(accepted)) {
  test(`opens a model with ${what}`, async (t) => {
    const plain = {
      inputs: [X],
      outputs: ['y'],
      initializers: weights,
      nodes: [...projections, ...attention],
    }
    const model = await openModel(write(modelOf({ ...plain, ...changes })))
    t.is(model.sites.length, 1)
    t.is(model.sites[0].scale, scale)
    t.true(model.sites[0].relativeError < 1e-5)
    t.deepEqual(
      model.inputs.map(({ name }) => name),
      ['x'],
    )
  })
}

test('a graph without inputs has no attention', async (t) => {
  const constant = [tensor('x', FLOAT, [1, 2, 8], Array(16).fill(1))]
  const nodes = [...projections, ...attention]
  const file = write(modelOf({ inputs: [], outputs: ['y'], initializers: [...weights, ...constant], nodes }))
  await t.throwsAsync(openModel(file), { code: 'ERR_NO_ATTENTION' })
})

test('an attribute of another type is onnxruntime’s to refuse', async (t) => {
  const wrong = attention.map((n) =>
    n.opType === 'Transpose' ? node('Transpose', ['k'], ['kt'], { perm: 'backwards' }) : n,
  )
  const file = write(
    modelOf({ inputs: [X], outputs: ['y'], initializers: weights, nodes: [...projections, ...wrong] }),
  )
  await t.throwsAsync(openModel(file), { code: 'ERR_INFERENCE', message: /perm/ })
})

test('a pipe is not waited for', async (t) => {
  const pipe = path.join(folder, 'pipe.onnx')
  execFileSync('mkfifo', [pipe])
  await t.throwsAsync(openModel(pipe), { code: 'ERR_FILE', message: /is not a file/ })
})

test('subgraphs nested without end are refused', (t) => {
  let body = subgraph({ nodes: [node('Softmax', ['x'], ['y'])], outputs: ['y'] })
  for (let depth = 0; depth < 200; depth++) {
    body = subgraph({ nodes: [node('If', ['c'], ['y'], { then_branch: body })], outputs: ['y'] })
  }
  const file = write(modelOf({ inputs: [X], outputs: ['y'], nodes: body.node }))
  t.throws(() => openGraph(file), { code: 'ERR_NOT_ONNX', message: /recursion depth/ })
})

/** Reads a graph as opening does, up to onnxruntime. */
function survey(file) {
  const { graph, fused } = lowerAttention(openGraph(file))
  const { candidates } = findSites(graph, fused)
  const editor = new GraphEditor(graph)
  for (const { product, softmaxInput } of candidates) {
    for (const name of product.input) {
      editor.output(editor.node('Shape', [name]))
    }
    editor.output(softmaxInput)
  }
  for (const { name } of graph.model.proto.graph.output) {
    editor.output(name)
  }
  return { graph, candidates, ...editor.build() }
}

test('a file with any bytes changed opens, or says why not', (t) => {
  const random = seededRandom(20_602)
  const merged = readFileSync(write(mergedModel()))
  const sources = [readFileSync(writeTinyModel(folder, { seed: 21 })), merged, merged]
  const file = path.join(folder, 'changed.onnx')
  const codes = new Map()
  for (let round = 0; round < 4000; round++) {
    let bytes = Buffer.from(sources[round % sources.length])
    for (let change = random.below(4); change >= 0; change--) {
      bytes = changed(bytes, random)
    }
    writeFileSync(file, bytes)
    let outcome = 'opens'
    try {
      survey(file)
    } catch (error) {
      if (!(error instanceof QkError)) {
        throw new Error(`round ${round}: ${error.stack}`)
      }
      outcome = error.code
    }
    codes.set(outcome, (codes.get(outcome) ?? 0) + 1)
  }
  // Both happen often, or the changes would test little.
  t.true(codes.get('opens') > 200, `${[...codes]}`)
  t.true(codes.get('ERR_NOT_ONNX') > 200, `${[...codes]}`)
  t.deepEqual(
    [...codes.keys()].filter(
      (code) => !['opens', 'ERR_NOT_ONNX', 'ERR_FILE', 'ERR_UNSUPPORTED_MODEL'].includes(code),
    ),
    [],
  )
})

/** Functions and branches around attention. */
function mergedModel() {
  const project = inLocal('Project', [called('Twice', ['a'], ['c']), node('MatMul', ['c', 'c'], ['b'])])
  const twice = inLocal('Twice', [node('Add', ['a', 'a'], ['b'])])
  const branch = (extra) =>
    subgraph({ initializers: weights, nodes: [...extra, ...projections, ...attention], outputs: ['y'] })
  return modelOf({
    functions: [project, twice],
    opsets: { '': 17, local: 1 },
    inputs: [X, valueInfo('use_cache_branch', BOOL, [1])],
    outputs: ['out', 'z'],
    nodes: [
      node('If', ['use_cache_branch'], ['out'], {
        then_branch: branch([called('Project', ['x'], ['p'])]),
        else_branch: branch([]),
      }),
      called('Project', ['out'], ['z']),
    ],
  })
}

function changed(bytes, random) {
  const at = random.below(bytes.length)
  const kind = random.below(5)
  if (kind === 0) {
    bytes[at] ^= 1 << random.below(8)
  } else if (kind === 1) {
    bytes[at] = random.below(256)
  } else if (kind === 2) {
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(8))])
  } else if (kind === 3) {
    const length = 1 + random.below(40)
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at)])
  } else {
    // A letter of a name becomes another: names that meet, part, or change their operator.
    const letters = [...bytes.keys()].filter((i) => bytes[i] >= 97 && bytes[i] <= 122)
    bytes[letters[random.below(letters.length)]] = bytes[letters[random.below(letters.length)]]
  }
  return bytes
}
