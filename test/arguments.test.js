/** Arguments of the API that are none: an error with a code that names the argument, and nothing taken from the caller. */

import test from 'ava'
import { bundledFile, bundledWords } from '../dist/bundled/files.js'
import { onAbort } from '../dist/errors.js'
import {
  accumulate,
  attribute,
  boxesOrder,
  capture,
  captureMany,
  checkPromptSet,
  decompose,
  explain,
  intervene,
  openModel,
  orthonormalBasis,
  QKCovariance,
  QkError,
  randomBasis,
  runPaper,
  svd,
  sweep,
  testRank,
  uploadTensor,
  writeReport,
} from '../dist/index.js'
import { boxesResult } from './helpers/small-results.js'

const made = {}
test.before(async () => {
  made.model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  made.prompts = boxesOrder({ ...bundledWords(), prompts: 24, seed: 1 })
  made.sums = await accumulate(made.model, made.prompts, { heads: 'L3H0' })
  made.result = await boxesResult({ nulls: 2 }, { heads: 'L3H0', prompts: 24 })
})

const values = (n) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 1.7))
const tensor = () => ({ data: values(2 * 30 * 2 * 4), shape: [2, 30, 2, 4] })
const counting = (n) => Array.from({ length: n }, (_, i) => i)
const terms = () => ({
  contrast: 'a',
  query: counting(24),
  pos: counting(24),
  posOffsets: counting(25),
  neg: counting(24).map((i) => i + 1),
  negOffsets: counting(25),
})
const add = (batch) => new QKCovariance({ heads: 2, headDim: 4, contrasts: ['a'] }).add(batch)

/** Every public function that takes a signal, with options that are fine but for what is added. */
const withSignal = {
  openModel: (more) => openModel(bundledFile('boxes.onnx'), more),
  accumulate: (more) => accumulate(made.model, made.prompts, more),
  decompose: (more) => decompose(made.sums, more),
  sweep: (more) => sweep(made.model, made.prompts, more),
  capture: (more) => capture(made.model, { text: 'The' }, more),
  captureMany: (more) => captureMany(made.model, made.prompts, more).next(),
  attribute: (more) => attribute(made.model, made.prompts, { result: made.result, ...more }),
  intervene: (more) => intervene(made.model, made.prompts, { result: made.result, ...more }),
  explain: (more) => explain(made.model, made.prompts, { result: made.result, ...more }),
  checkPromptSet: (more) => checkPromptSet(made.prompts, more),
  runPaper: (more) => runPaper({ quick: true, only: [5], ...more }),
  testRank: (more) => testRank({ q: tensor(), k: tensor(), terms: terms(), ...more }),
  svd: (more) => svd(values(16), { n: 1, rows: 4, cols: 4, ...more }),
  add: (more) => add({ q: tensor(), k: tensor(), terms: terms(), ...more }),
  uploadTensor: (more) => uploadTensor(tensor(), more),
}
const withoutProgress = ['capture', 'captureMany', 'svd', 'add', 'uploadTensor']

for (const [name, call] of Object.entries(withSignal)) {
  test(`${name}: what is no signal, and what is no function to tell, is refused by name`, async (t) => {
    for (const signal of [5, 'stop', true, null, {}, [], () => {}, new AbortController()]) {
      await t.throwsAsync(async () => call({ signal }), {
        code: 'ERR_TYPE',
        message: /^signal must be an AbortSignal/,
      })
    }
    if (withoutProgress.includes(name)) {
      return
    }
    for (const onProgress of [5, 'tell', true, null, {}, []]) {
      await t.throwsAsync(async () => call({ onProgress }), {
        code: 'ERR_TYPE',
        message: /^onProgress must be a function/,
      })
    }
  })
}

test('a signal of another realm is one', async (t) => {
  const signal = { aborted: true, reason: 'enough', addEventListener() {}, removeEventListener() {} }
  await t.throwsAsync(withSignal.svd({ signal }), { code: 'ERR_ABORTED' })
})

test('memory limits that are none are refused', async (t) => {
  for (const memoryLimit of /** @type {any[]} */ ([
    Number.POSITIVE_INFINITY,
    Number.NaN,
    -1,
    '5',
    5n,
    null,
  ])) {
    const error = { code: 'ERR_ARGUMENT', message: /^memoryLimit is / }
    t.throws(() => new QKCovariance({ heads: 1, headDim: 4, contrasts: ['a'], memoryLimit }), error)
    await t.throwsAsync(accumulate(made.model, made.prompts, { memoryLimit }), error)
  }
})

test('absurd sizes are errors that name the argument, on every backend', async (t) => {
  const options = { heads: 1, headDim: 4, contrasts: ['a'] }
  for (const backend of /** @type {const} */ (['cpu', 'js'])) {
    for (const [more, message] of /** @type {const} */ ([
      [{ heads: 0 }, /^heads is 0/],
      [{ heads: 1e15 }, /^heads is 1000000000000000/],
      [{ kvHeads: 0 }, /^kvHeads is 0/],
      [{ headDim: 1e15 }, /^headDim is/],
      [{ headDim: 0.5 }, /^headDim is 0.5/],
      [{ threads: 1e15 }, /^threads is/],
    ])) {
      t.throws(() => new QKCovariance({ ...options, backend, ...more }), { code: 'ERR_ARGUMENT', message })
    }
    // Within the limit that was given, and more than any machine has.
    const huge = { heads: 2 ** 20, headDim: 4096, memoryLimit: 1e300, backend }
    t.throws(() => new QKCovariance({ ...options, ...huge }), { code: 'ERR_OUT_OF_MEMORY' })
    const most = { ...huge, heads: 2 ** 31 - 1 }
    t.throws(() => new QKCovariance({ ...options, ...most }), { instanceOf: QkError })
  }
  const test = (more) => testRank({ q: tensor(), k: tensor(), terms: terms(), ...more })
  await t.throwsAsync(test({ draws: 1e15 }), { code: 'ERR_ARGUMENT', message: /^draws is/ })
  await t.throwsAsync(test({ mostDraws: 1e15 }), { code: 'ERR_ARGUMENT', message: /^mostDraws is/ })
  await t.throwsAsync(test({ terms: { ...terms(), contrast: new Int32Array(24).fill(1e9) } }), {
    code: 'ERR_RANGE',
    message: /^contrast 1000000000 is not below/,
  })
  t.throws(() => randomBasis(1e15, 1), { code: 'ERR_ARGUMENT', message: /^d is/ })
  // @ts-expect-error an object in the place of the seed
  t.throws(() => randomBasis(4, 1, {}), { code: 'ERR_ARGUMENT', message: /^seed is/ })
  for (const [name, call] of Object.entries({ attribute, intervene, explain })) {
    const run = call(made.model, made.prompts, { result: made.result, randoms: 1e9 })
    await t.throwsAsync(run, { code: 'ERR_ARGUMENT', message: /^randoms is 1000000000/ }, name)
  }
})

test('whatever stands in the place of an option, an error has a code', async (t) => {
  const weird = [
    1e15,
    Number.NaN,
    -1,
    0.5,
    '5',
    null,
    true,
    {},
    [],
    [null],
    () => {},
    5n,
    Symbol('s'),
    new Float32Array(0),
  ]
  const calls = {
    QKCovariance: [
      (o) => new QKCovariance(o),
      {
        heads: 2,
        kvHeads: 2,
        headDim: 4,
        contrasts: ['a'],
        estimator: 'sum',
        backend: 'cpu',
        threads: 1,
        allowNonFinite: true,
      },
    ],
    add: [add, { q: tensor(), k: tensor(), terms: terms(), labels: undefined, transfer: false }],
    terms: [
      (o) => add({ q: tensor(), k: tensor(), terms: o }),
      { ...terms(), weights: undefined, posWeights: undefined, group: undefined, queryNeg: undefined },
    ],
    tensor: [
      (o) => add({ q: o, k: tensor(), terms: terms() }),
      { ...tensor(), strides: undefined, dtype: 'f32' },
    ],
    labels: [
      (o) => add({ q: tensor(), k: tensor(), labels: o }),
      {
        contrast: 'a',
        keyScope: 'others',
        queryRows: [0, 1],
        queryLabels: [0, 1],
        keyRows: [0, 1],
        keyLabels: [0, 1],
        queryPositions: undefined,
      },
    ],
    read: [
      (o) => new QKCovariance({ heads: 2, headDim: 4, contrasts: ['a'] }).read(o),
      { heads: undefined, center: false, dtype: 'f64' },
    ],
    svd: [
      (o) => svd(values(32), o),
      { n: 2, rows: 4, cols: 4, energy: 0.9, maxRank: 2, backend: 'cpu', seed: 0, threads: 1 },
    ],
    testRank: [
      testRank,
      {
        q: tensor(),
        k: tensor(),
        terms: terms(),
        contrasts: ['a'],
        units: counting(24),
        alpha: 0.05,
        draws: 19,
        seed: 0,
        backend: 'cpu',
        exchangeable: undefined,
      },
    ],
    orthonormalBasis: [orthonormalBasis, { data: values(8), shape: [4, 2] }],
  }
  for (const [name, [call, base]] of Object.entries(/** @type {Record<string, any>} */ (calls))) {
    for (const key of Object.keys(base)) {
      for (const value of weird) {
        const error = await Promise.resolve()
          .then(() => call({ ...base, [key]: value }))
          .then(
            () => undefined,
            (thrown) => thrown,
          )
        t.true(
          error === undefined || error instanceof QkError,
          `${name} ${key} ${String(value)}: ${error?.stack}`,
        )
      }
    }
  }
})

test('a batch that is refused has taken nothing from the caller', async (t) => {
  const shrunk = () => {
    const buffer = new ArrayBuffer(960 * 2, { maxByteLength: 4000 })
    const view = new Float32Array(buffer, 0, 480)
    buffer.resize(8)
    return view
  }
  for (const backend of /** @type {const} */ (['cpu', 'js'])) {
    for (const change of /** @type {any[]} */ ([
      { k: { ...tensor(), data: shrunk() } },
      { k: { ...tensor(), data: values(4) } },
      { terms: { ...terms(), pos: counting(24).map(() => 99) } },
      { terms: { ...terms(), posOffsets: [5, ...counting(24)] } },
      { labels: null },
      { transfer: 'yes' },
      { signal: AbortSignal.abort() },
    ])) {
      const q = tensor()
      const sums = new QKCovariance({ heads: 2, headDim: 4, contrasts: ['a'], backend })
      await t.throwsAsync(sums.add({ q, k: tensor(), terms: terms(), transfer: true, ...change }), {
        instanceOf: QkError,
      })
      t.is(q.data.length, 480)
    }
  }
})

test('one signal may end any number of calls without a warning, and is listened to no longer than they run', async (t) => {
  const { signal } = new AbortController()
  let listeners = 0
  const counted = {
    get aborted() {
      return signal.aborted
    },
    addEventListener: (/** @type {Parameters<AbortSignal['addEventListener']>} */ ...given) => {
      listeners += 1
      signal.addEventListener(...given)
    },
    removeEventListener: (/** @type {Parameters<AbortSignal['removeEventListener']>} */ ...given) => {
      listeners -= 1
      signal.removeEventListener(...given)
    },
  }
  const warnings = []
  const note = (warning) => warnings.push(warning.name)
  process.on('warning', note)
  await Promise.all(counting(40).map(() => withSignal.svd({ signal: counted })))
  await Promise.all(counting(40).map(() => withSignal.svd({ signal })))
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', note)
  t.deepEqual(warnings, [])
  t.is(listeners, 0)
})

test('a signal ends every call that waits for it, and none that is over', (t) => {
  const controller = new AbortController()
  const ended = []
  const release = [1, 2, 3].map((n) => onAbort(controller.signal, () => ended.push(n)))
  release[1]()
  release[1]()
  controller.abort()
  t.deepEqual(ended, [1, 3])
  release[0]()
  release[2]()
  t.notThrows(() => onAbort(undefined, () => {})())
})

test('a report refuses documents whose parts disagree, and what is none', async (t) => {
  const attribution = await attribute(made.model, made.prompts.slice(0, 2), {
    result: made.result,
    randoms: 0,
    points: 0,
  })
  const parts = (value) => ({
    results: [{ name: 'r', value: made.result }],
    attributions: [{ name: 'a', value }],
  })
  const file = '/nowhere/report.html'
  // What is fine is refused for the folder alone.
  await t.throwsAsync(writeReport(file, parts(attribution)), { code: 'ERR_FILE' })
  await t.throwsAsync(writeReport(file, parts({ ...attribution, heads: {} })), {
    code: 'ERR_TYPE',
    message: /^attributions\[0\]\.value\.examples\.0\.rows\.0\.head is "L3H0", which is none of the heads/,
  })
  await t.throwsAsync(writeReport(file, parts(null)), {
    code: 'ERR_TYPE',
    message: /^attributions\[0\]\.value is null/,
  })
  for (const list of /** @type {any[]} */ ([null, {}, [null], [{ value: attribution }], 'x'])) {
    await t.throwsAsync(writeReport(file, { ...parts(attribution), attributions: list }), {
      code: 'ERR_TYPE',
      message: /takes attributions as a list of \{ name, value \}/,
    })
  }
})
