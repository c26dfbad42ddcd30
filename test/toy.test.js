import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import anyTest from 'ava'
import ort from 'onnxruntime-node'
import { openModel } from '../dist/index.js'
import { seededRandom } from '../dist/math/random.js'
import { decomposeToy } from '../dist/toy/decompose.js'
import { exportToy, readToyConfig, toyModelBytes } from '../dist/toy/export.js'
import { initialWeights, toyLoss, WEIGHT_NAMES, zeroWeights } from '../dist/toy/model.js'
import { TOY_DEFAULTS, ToyTask } from '../dist/toy/task.js'
import { QUICK_TRAINING, trainToy } from '../dist/toy/train.js'
import { ENERGY } from './helpers/rank-rules.js'
import { differenceGradient } from './helpers/toy-difference.js'
import { textbookLogits } from './helpers/toy-forward.js'
import { latentDecoder } from './helpers/toy-latents.js'

/** Every test has a folder of its own. */
const test = /** @type {import('ava').TestFn<{ folder: string }>} */ (anyTest)

const CLI = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const BUNDLED = fileURLToPath(new URL('../lib/bundled/toys/', import.meta.url))
const SHORT = { ...QUICK_TRAINING, steps: 50 }

const toyConfig = (changes) => ({ ...TOY_DEFAULTS, task: 1, r1: 3, r2: 5, dHead: 16, seed: 7, ...changes })
const sampleOf = (config, size) => {
  const task = new ToyTask(config)
  return task.sample(seededRandom(99), task.allocate(size))
}

/** Runs the command; resolves with its exit status and what it printed. */
function qkspace(...args) {
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...args.map(String)], (error, stdout, stderr) => {
      resolve({ status: error ? error.code : 0, stdout, stderr })
    })
  })
}

test.beforeEach(async (t) => {
  t.context.folder = await mkdtemp(path.join(tmpdir(), 'qkspace-toy-'))
})
test.afterEach.always((t) => rm(t.context.folder, { recursive: true }))

for (const task of [1, 2]) {
  test(`task ${task}: gradients agree with central differences`, (t) => {
    const config = toyConfig({ task, dModel: 9, dHead: 5, context: 6, payloads: 4 })
    // Larger than at the start of training, so that the attention is far from even.
    const weights = initialWeights(config, seededRandom(3))
    for (const name of WEIGHT_NAMES) {
      for (let i = 0; i < weights[name].length; i++) {
        weights[name][i] *= 2
      }
    }
    const batch = sampleOf(config, 12)
    const gradient = zeroWeights(config)
    toyLoss(config, weights, batch, gradient)
    const expected = differenceGradient(config, weights, batch)
    for (const name of WEIGHT_NAMES) {
      const difference = Math.hypot(...gradient[name].map((g, i) => g - expected[name][i]))
      const relative = difference / Math.hypot(...expected[name])
      t.true(relative < 1e-6, `${name}: ${relative}`)
    }
  })

  test(`task ${task}: exactly one token matches the query in both latents`, (t) => {
    const config = toyConfig({ task, r1: 2, r2: 2, noise: 0 })
    const { encoders } = new ToyTask(config)
    const { size, tokens, queries, answers } = sampleOf(config, 50)
    const { dModel, context, payloads } = config
    // Without noise a vector minus its payload is known by its latents, which least squares gives back.
    const decode = latentDecoder([encoders.a1, encoders.a2, encoders.payload], dModel)
    const decodeQuery = latentDecoder([encoders.b1, encoders.b2], dModel)
    for (let b = 0; b < size; b++) {
      const wanted = decodeQuery(queries.subarray(b * dModel, (b + 1) * dModel))
      const matching = []
      for (let i = 0; i < context; i++) {
        const at = (b * context + i) * dModel
        const found = decode(tokens.subarray(at, at + dModel))
        const payload = found.slice(4)
        t.is(payload.filter((p) => Math.abs(p) > 1e-6).length, 1)
        t.is(payload.length, payloads)
        if (task === 1) {
          for (const z of found.slice(0, 4)) {
            t.true(Math.abs(Math.abs(z) - 1) < 1e-6)
          }
        }
        if (wanted.every((z, c) => Math.abs(z - found[c]) < 1e-6)) {
          matching.push(payload.findIndex((p) => Math.abs(p - 1) < 1e-6))
        }
      }
      t.deepEqual(matching, [answers[b]])
    }
  })

  test(`task ${task}: the same seed gives the same bits, another seed other ones`, async (t) => {
    const [first, again, other] = [
      await trainToy(toyConfig({ task }), { training: SHORT }),
      await trainToy(toyConfig({ task }), { training: SHORT }),
      await trainToy(toyConfig({ task, seed: 8 }), { training: SHORT }),
    ]
    t.deepEqual(toyModelBytes(first), toyModelBytes(again))
    t.notDeepEqual(toyModelBytes(first), toyModelBytes(other))
  })
}

test('encoders have the variance of the paper', (t) => {
  const { encoders } = new ToyTask(toyConfig({ r1: 40, r2: 80, payloads: 60, dModel: 200 }))
  const variance = (v) => v.reduce((sum, x) => sum + x * x, 0) / v.length
  const close = (actual, expected) => t.true(Math.abs(actual / expected - 1) < 0.05, `${actual}, ${expected}`)
  close(variance(encoders.a1), 1 / 40)
  close(variance(encoders.b1), 1 / 40)
  close(variance(encoders.a2), 1 / 80)
  close(variance(encoders.b2), 1 / 80)
  close(variance(encoders.payload), 1 / 200)
})

test('contrast prompts: the two keys of a pair differ in one latent and the payload', (t) => {
  const config = toyConfig({ task: 2, r1: 2, r2: 3, noise: 0 })
  const task = new ToyTask(config)
  const { a1, a2, b1, b2, payload } = task.encoders
  const decode = latentDecoder([a1, a2, payload], config.dModel)
  const decodeQuery = latentDecoder([b1, b2], config.dModel)
  const near = (a, b) => a.every((x, i) => Math.abs(x - b[i]) < 1e-6)
  const z1 = (v) => v.slice(0, 2)
  const z2 = (v) => v.slice(2, 5)
  for (const { inputs, contrasts } of /** @type {Iterable<any>} */ (task.contrastPrompts(20, 1))) {
    const query = decodeQuery(inputs.query.data)
    const token = (i) => decode(inputs.context.data.subarray(i * config.dModel, (i + 1) * config.dModel))
    for (const { name, mine, shared } of [
      { name: 'z1', mine: z1, shared: z2 },
      { name: 'z2', mine: z2, shared: z1 },
    ]) {
      t.is(contrasts[name].terms.length, 4)
      for (const term of contrasts[name].terms) {
        const [positive, negative] = [token(term.positive[0]), token(term.negative[0])]
        t.true(near(mine(positive), mine(query)))
        t.false(near(mine(negative), mine(query)))
        t.true(near(shared(positive), shared(negative)))
        t.false(near(shared(positive), shared(query)))
      }
    }
  }
})

test('training reports its progress and stops on abort', async (t) => {
  const config = toyConfig()
  const seen = []
  await trainToy(config, { training: SHORT, onProgress: ({ step, steps }) => seen.push([step, steps]) })
  t.deepEqual(
    seen,
    Array.from({ length: 50 }, (_, i) => [i + 1, 50]),
  )
  const abort = new AbortController()
  const stopped = trainToy(config, {
    signal: abort.signal,
    onProgress: ({ step }) => step === 3 && abort.abort(),
  })
  await t.throwsAsync(stopped, { code: 'ERR_ABORTED' })
})

test('the exported model computes what was trained', async (t) => {
  const config = toyConfig({ task: 2 })
  const toy = await trainToy(config, { training: { ...QUICK_TRAINING, steps: 300 } })
  const file = path.join(t.context.folder, 'toy.onnx')
  await exportToy(file, toy)

  const model = await openModel(file)
  t.deepEqual(readToyConfig(model), config)
  t.is(model.sites.length, 1)
  const [{ heads, kvHeads, headDim, scale, cross, relativeError }] = model.sites
  t.like({ heads, kvHeads, headDim, cross }, { heads: 1, kvHeads: 1, headDim: 16, cross: true })
  t.true(Math.abs(Number(scale) - 0.25) < 1e-6)
  t.true(relativeError < 1e-4)

  const { size, tokens, queries, answers } = sampleOf(config, 40)
  const { dModel, context, payloads } = config
  const session = await ort.InferenceSession.create(file)
  const { logits } = await session.run({
    query: new ort.Tensor('float32', Float32Array.from(queries), [size, 1, dModel]),
    context: new ort.Tensor('float32', Float32Array.from(tokens), [size, context, dModel]),
  })
  t.deepEqual(logits.dims, [size, 1, payloads])
  let right = 0
  for (let b = 0; b < size; b++) {
    const query = queries.subarray(b * dModel, (b + 1) * dModel)
    const own = tokens.subarray(b * context * dModel, (b + 1) * context * dModel)
    const expected = textbookLogits(config, toy.weights, query, own)
    const found = /** @type {Float32Array} */ (logits.data)
    const actual = Array.from(found.slice(b * payloads, (b + 1) * payloads))
    const worst = Math.max(...actual.map((x, i) => Math.abs(x - expected[i])))
    t.true(worst < 1e-4 * Math.max(...expected.map(Math.abs)), `${worst}`)
    if (actual.indexOf(Math.max(...actual)) === answers[b]) {
      right += 1
    }
  }
  t.is(right / size, toyLoss(config, toy.weights, sampleOf(config, size)).accuracy)
})

test('bundled toys: the ranks of both latents are recovered where they fit', async (t) => {
  const files = (await readdir(BUNDLED)).filter((name) => /^toy-.*\.onnx$/.test(name))
  t.is(files.length, 8)
  for (const name of files) {
    const model = await openModel(path.join(BUNDLED, name))
    const { task, r1, r2, dHead } = readToyConfig(model)
    t.is(name, `toy-task${task}-r${r1}-r${r2}-d${dHead}.onnx`)
    const head = (await decomposeToy(model, { prompts: 1500, rank: ENERGY })).head('L0H0')
    const found = [head.contrast('z1').rank, head.contrast('z2').rank]
    if (r1 + r2 <= dHead) {
      t.deepEqual(found, [r1, r2], name)
    } else {
      t.true(found[0] + found[1] < r1 + r2, name)
    }
  }
})

test('a model that is not a toy says so', async (t) => {
  const toy = await trainToy(toyConfig(), { training: { ...SHORT, steps: 1 } })
  const model = await openModel(await written(t, toy))
  model.graph.model.proto.metadataProps = []
  t.throws(() => readToyConfig(model), { code: 'ERR_UNSUPPORTED_MODEL', message: /not a toy model/ })
})

test('toy train writes a model that inspect reads', async (t) => {
  const out = path.join(t.context.folder, 'toy.onnx')
  const flags = ['--r1', 3, '--r2', 5, '--task', 1, '--d-head', 16, '--seed', 4, '--out', out]
  const trained = await qkspace('toy', 'train', ...flags, '--quick', '--json')
  t.is(trained.status, 0, trained.stderr)
  t.is(trained.stderr, '')
  const { seconds, loss, accuracy, ...told } = JSON.parse(trained.stdout)
  t.deepEqual(told, { out, config: toyConfig({ seed: 4 }), steps: QUICK_TRAINING.steps })
  t.true(seconds > 0 && loss < 0.1 && accuracy > 0.99)
  t.deepEqual(await readdir(t.context.folder), ['toy.onnx'])

  const inspected = await qkspace('inspect', out, '--json')
  t.is(inspected.status, 0, inspected.stderr)
  t.like(JSON.parse(inspected.stdout).sites[0], { heads: 1, kvHeads: 1, headDim: 16 })
})

test('toy train refuses bad usage and writes nothing', async (t) => {
  const out = path.join(t.context.folder, 'toy.onnx')
  const good = { '--r1': 3, '--r2': 5, '--task': 1, '--out': out }
  const bad = [
    { '--task': 3 },
    { '--r1': 0 },
    { '--r2': 'many' },
    { '--d-head': 1.5 },
    { '--d-head': 1e6 },
    { '--seed': -1 },
    { '--seed': 2 ** 32 },
    { '--r1': undefined },
    { '--out': undefined },
    { '--speed': 3 },
  ]
  for (const change of bad) {
    const flags = Object.entries({ ...good, ...change }).filter(([, value]) => value !== undefined)
    const { status, stdout, stderr } = await qkspace('toy', 'train', ...flags.flat())
    t.is(status, 2, JSON.stringify(change))
    t.is(stdout, '')
    t.regex(stderr, /^error: /)
  }
  const nowhere = path.join(t.context.folder, 'none', 'toy.onnx')
  const { status, stderr } = await qkspace(
    'toy',
    'train',
    ...Object.entries({ ...good, '--out': nowhere }).flat(),
  )
  t.is(status, 1)
  t.regex(stderr, /there is no folder/)
  t.deepEqual(await readdir(t.context.folder), [])
})

test('the exported file is small and names its weights', async (t) => {
  const toy = await trainToy(toyConfig(), { training: { ...SHORT, steps: 1 } })
  const file = await written(t, toy)
  t.true((await readFile(file)).length < 10_000)
  const { initializer } = (await openModel(file)).graph.model.proto.graph
  t.deepEqual(
    initializer.map(({ name, dims }) => [name, dims.map(Number)]),
    [
      ['W_Q', [32, 16]],
      ['W_K', [32, 16]],
      ['W_V', [32, 16]],
      ['W_O', [16, 10]],
      ['scale', []],
    ],
  )
})

async function written(t, toy) {
  const file = path.join(t.context.folder, 'model.onnx')
  await exportToy(file, toy)
  return file
}
