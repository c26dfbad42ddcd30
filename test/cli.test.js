/** The command line: documents, tables, exit statuses, and that bad input leaves nothing behind. */

import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { bundledFile, bundledWords } from '../dist/bundled/files.js'
import { boxesOrder } from '../dist/contrast/families/boxes.js'
import { writeSafetensors } from '../dist/store/safetensors.js'
import { cli, temporaryFolder } from './helpers/files.js'
import { writeTinyModel } from './helpers/tiny-model.js'

const folder = temporaryFolder(test)
const boxes = bundledFile('boxes.onnx')
const tokenizer = bundledFile('boxes.tokenizer.json')
const prompts = path.join(folder, 'boxes.jsonl')
writeFileSync(
  prompts,
  boxesOrder({ ...bundledWords(), prompts: 24, seed: 1 })
    .map((p) => JSON.stringify(p))
    .join('\n'),
)

/**
 * Runs the command; its output, status, and what it left in a fresh folder.
 * @param {string[]} args
 * @param {{ env?: Record<string, string>, signal?: NodeJS.Signals }} [options]
 */
function run(args, { env = {}, signal } = {}) {
  const cwd = mkdtempSync(path.join(folder, 'run-'))
  const child = spawn(process.execPath, [cli, ...args], { cwd, env: { ...process.env, ...env } })
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) {
    child[name].on('data', (chunk) => {
      text[name] += chunk
    })
  }
  if (signal) {
    setTimeout(() => child.kill(signal), 400)
  }
  return new Promise((resolve) => {
    child.on('close', (status, killedBy) =>
      resolve({ ...text, status, killedBy, left: readdirSync(cwd), cwd }),
    )
  })
}

test('inspect --json prints one document', async (t) => {
  const { stdout, stderr, status } = await run(['inspect', boxes, '--json'])
  t.is(status, 0)
  t.is(stderr, '')
  const { model, sites } = JSON.parse(stdout)
  t.is(model, boxes)
  const { relativeError, scale, ...first } = sites[0]
  t.like(first, { layer: 0, op: 'MatMul', causal: true, rotary: true, cross: false })
  t.true(relativeError < 1e-5)
  t.true(Math.abs(scale * Math.sqrt(first.headDim) - 1) < 1e-5)
})

test('decompose saves a result and prints what is in it', async (t) => {
  const args = ['decompose', '--model', boxes, '--tokenizer', tokenizer, '--prompts', prompts]
  const json = await run([
    ...args,
    '--out',
    'r.safetensors',
    '--json',
    '--rank',
    'fixed:2',
    '--heads',
    'L1H0',
  ])
  t.is(json.stderr, '')
  t.is(json.status, 0)
  const document = JSON.parse(json.stdout)
  t.deepEqual(Object.keys(document), ['model', 'prompts', 'backend', 'sites', 'heads'])
  t.like(document.heads.L1H0.order, { rank: 2, terms: 24 })
  t.is(document.heads.L1H0.order.s.length, 2)
  t.deepEqual(json.left, ['r.safetensors'])
  const table = await run([...args, '--out', 'r.safetensors', '--backend', 'js'])
  t.is(table.status, 0)
  // No progress where standard error is not a terminal.
  t.regex(table.stderr, /^qkspace: warning: order: 24 units; p assumes symmetric unit contributions .*\n$/)
  t.regex(table.stdout, /of 16 heads and contrasts discovered at a false discovery rate of 0\.05/)
  t.regex(table.stdout, /order: 24 terms/)
  t.regex(table.stdout, /saved r\.safetensors/)
})

test('the same command twice writes the same bytes', async (t) => {
  const args = ['decompose', '--model', boxes, '--tokenizer', tokenizer, '--prompts', prompts, '--out', 'r']
  const [a, b] = [await run(args), await run(args)]
  t.deepEqual(readFileSync(path.join(a.cwd, 'r')), readFileSync(path.join(b.cwd, 'r')))
})

test('doctor says what works, and why the rest does not', async (t) => {
  const { stdout, status } = await run(['doctor', '--json'])
  t.is(status, 0)
  const { backends } = JSON.parse(stdout)
  t.is(backends.find((b) => b.name === 'js').available, true)
  for (const backend of backends) {
    t.true(backend.available || backend.reason.length > 0)
  }
  const env = { QKSPACE_CUDA_LIBRARY: '/nowhere/qkspace_cuda.so' }
  const table = await run(['doctor'], { env })
  t.is(table.status, 0)
  t.regex(table.stdout, /^cuda +not available$/m)
  t.regex(table.stdout, /^cuda: .* there is no \/nowhere\/qkspace_cuda\.so\nQKSPACE_CUDA_LIBRARY names/m)
  t.notRegex(table.stdout, /^GPU/m)
})

const wrong = (change) => {
  const given = { '--model': boxes, '--tokenizer': tokenizer, '--prompts': prompts, '--out': 'r', ...change }
  return [
    'decompose',
    ...Object.entries(given)
      .filter(([, value]) => value !== undefined)
      .flat(),
  ]
}
const line = (prompt) => {
  const file = path.join(folder, `${Math.random()}.jsonl`)
  writeFileSync(file, JSON.stringify(prompt))
  return file
}
const term = (part) => ({
  contrast: 'c',
  text: 'The apple is in Box O',
  terms: [{ query: -1, positive: [1], negative: [2], ...part }],
})
const noise = path.join(folder, 'noise.onnx')
writeFileSync(noise, 'not a model')

const foreignWeights = path.join(folder, 'weights.safetensors')
test.before(() => writeSafetensors(foreignWeights, [['w', { data: Float32Array.of(1), shape: [1] }]], {}))

/** @type {[string, string[], number, RegExp][]} */
const failures = [
  ['a missing model', wrong({ '--model': 'none.onnx' }), 1, /cannot open none\.onnx/],
  ['a model that is not ONNX', wrong({ '--model': noise }), 1, /not a whole ONNX file/],
  ['missing prompts', wrong({ '--prompts': 'none.jsonl' }), 1, /cannot open the prompts none\.jsonl/],
  ['a missing tokenizer', wrong({ '--tokenizer': 'none.json' }), 1, /cannot open the tokenizer/],
  ['a tokenizer that is none', wrong({ '--tokenizer': noise }), 1, /is not a tokenizer\.json/],
  ['text without a tokenizer', wrong({ '--tokenizer': undefined }), 1, /text needs a tokenizer/],
  ['an unknown head', wrong({ '--heads': 'L9H9' }), 1, /there is no head L9H9/],
  ['a folder that does not exist', wrong({ '--out': 'no/folder/r' }), 1, /there is no folder/],
  [
    'a position outside the prompt',
    wrong({ '--prompts': line(term({ query: 99 })) }),
    1,
    /position 99 is outside/,
  ],
  [
    'a match that is not there',
    wrong({ '--prompts': line(term({ positive: [{ match: 'plum' }] })) }),
    1,
    /"plum" is not in/,
  ],
  ['an empty positive set', wrong({ '--prompts': line(term({ positive: [] })) }), 1, /no positive position/],
  ['a model in place of the result', wrong({ '--out': boxes }), 1, /it exists, and is not a result/],
  ['a prompt set in place of the result', wrong({ '--out': prompts }), 1, /it exists, and is not a result/],
  [
    'foreign weights in place of the result',
    wrong({ '--out': foreignWeights }),
    1,
    /it exists, and is not a result/,
  ],
  [
    'a text in place of a toy',
    ['toy', 'train', '--task', '1', '--r1', '3', '--r2', '3', '--out', prompts],
    1,
    /it exists, and is not a toy model/,
  ],
  [
    'a key after its query, in a causal model',
    wrong({ '--prompts': line(term({ query: 1, positive: [4], negative: [0] })) }),
    1,
    /term 0: a positive key is at 4, after the query at 1\n.*causal/,
  ],
  ['a centred sum', [...wrong({ '--estimator': 'sum' }), '--center'], 2, /cannot be centred/],
  ['nonsense for heads', wrong({ '--heads': 'foo' }), 2, /does not name a head/],
  [
    'a token beyond the vocabulary',
    wrong({
      '--prompts': line({
        contrast: 'c',
        tokens: [1, 9999, 2],
        terms: [{ query: 2, positive: [0], negative: [1] }],
      }),
    }),
    1,
    /jsonl:1: token 1 has the id 9999, and the model's table of embeddings has \d+ rows/,
  ],
  ['no model at all', wrong({ '--model': undefined }), 2, /required option '--model/],
  ['an unknown option', [...wrong({}), '--fast'], 2, /unknown option '--fast'/],
  ['an unknown command', ['decompile'], 2, /unknown command 'decompile'/],
  ['an unknown backend', wrong({ '--backend': 'tpu' }), 2, /There is no backend "tpu"/],
  ['a device named twice', wrong({ '--backend': 'cuda:0,0' }), 2, /names the device 0 twice/],
  ['a comma without a device', wrong({ '--backend': 'cuda:,' }), 2, /cuda:0,1 for several/],
  ['a GPU that is not here', wrong({ '--backend': 'cuda:GPU-none' }), 1, /CUDA/],
  ['an unknown estimator', wrong({ '--estimator': 'mean' }), 2, /There is no estimator "mean"/],
  ['a rank rule that is none', wrong({ '--rank': 'split-half' }), 2, /no rank rule/],
  ['a level of no test', wrong({ '--rank': 'permutation:1' }), 2, /above 0 and below 1/],
  ['an energy above one', wrong({ '--rank': 'energy:1.5' }), 2, /above 0 and at most 1/],
  ['a rank of nothing', wrong({ '--rank': 'fixed:0' }), 2, /whole number/],
  ['a negative seed', wrong({ '--seed': '-1' }), 2, /whole number/],
]

for (const [what, args, expected, message] of failures) {
  test(`${what}: exit status ${expected}, a clear message, nothing written`, async (t) => {
    const { stdout, stderr, status, left } = await run([
      ...args,
      ...(args[0] === 'decompose' ? ['--json'] : []),
    ])
    t.is(status, expected)
    t.is(stdout, '')
    t.regex(stderr, message)
    t.notRegex(stderr, /\n\s+at /, 'no stack')
    t.deepEqual(left, [])
  })
}

test('NaN in activations: exit status 1, nothing written', async (t) => {
  const model = writeTinyModel(folder, { nanToken: 5 })
  const set = line({ contrast: 'c', tokens: [1, 5, 7], terms: [{ query: 2, positive: [1], negative: [0] }] })
  const { status, stderr, left } = await run(wrong({ '--model': model, '--prompts': set }))
  t.is(status, 1)
  t.regex(stderr, /at position 1 are not finite/)
  t.deepEqual(left, [])
})

test('a reader that closes the pipe early is no failure', async (t) => {
  const child = spawn('sh', ['-c', `"${process.execPath}" "${cli}" inspect "${boxes}" | head -c 10; exit 0`])
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  await new Promise((resolve) => child.on('close', resolve))
  t.is(stderr, '')
})

test('help names every command, and no option that is still to come', async (t) => {
  const { stdout, status } = await run(['--help'])
  t.is(status, 0)
  for (const command of ['inspect', 'decompose', 'prompts', 'doctor', 'toy', 'demo']) {
    t.regex(stdout, new RegExp(`\\b${command}\\b`))
  }
  const help = await run(['decompose', '--help'])
  t.is(help.status, 0)
  t.notRegex(help.stdout, /split-half/)
})

test('interrupted in the middle, it ends at once and leaves nothing', async (t) => {
  const many = path.join(folder, 'many.jsonl')
  const set = boxesOrder({ ...bundledWords(), prompts: 20_000, seed: 1 }).map((p) => JSON.stringify(p))
  writeFileSync(many, set.join('\n'))
  const { status, killedBy, left } = await run(wrong({ '--prompts': many }), { signal: 'SIGINT' })
  t.is(status, null)
  t.is(killedBy, 'SIGINT')
  t.deepEqual(left, [])
  t.false(existsSync('r'))
})

test('attribute and intervene: tables, one JSON document, files that are not overwritten', async (t) => {
  const words = bundledWords()
  const lines = (seed, prompts) =>
    boxesOrder({ ...words, prompts, seed })
      .map((p) => JSON.stringify(p))
      .join('\n')
  const [train, held, saved, out] = ['train.jsonl', 'held.jsonl', 'order.safetensors', 'moves.json'].map(
    (name) => path.join(folder, name),
  )
  writeFileSync(train, lines(1, 60))
  writeFileSync(held, lines(2, 12))
  const model = ['--model', bundledFile('boxes.onnx'), '--tokenizer', bundledFile('boxes.tokenizer.json')]
  t.is(
    (await run(['decompose', ...model, '--prompts', train, '--rank', 'energy:0.99', '--out', saved])).status,
    0,
  )
  const common = [...model, '--prompts', held, '--result', saved, '--heads', 'L3H0']
  const table = await run(['intervene', ...common, '--randoms', '2', '--out', out])
  t.is(table.status, 0)
  t.regex(table.stdout, /random, rank of order/)
  const { variants } = JSON.parse(readFileSync(out, 'utf8'))
  t.deepEqual(
    variants.map((v) => v.kind),
    ['features', 'random', 'complement', 'whole'],
  )
  const json = await run(['intervene', ...common, '--randoms', '2', '--json'])
  t.deepEqual(JSON.parse(json.stdout).variants, variants)
  const split = await run(['attribute', ...common, '--sides', 'both', '--json'])
  t.deepEqual(JSON.parse(split.stdout).examples[0].rows[0].table.names, ['order', 'rest'])
  const printed = await run([
    'attribute',
    ...common,
    '--method',
    'residualize',
    '--keys',
    'all',
    '--no-centered',
  ])
  t.regex(printed.stdout, /12 rows of scores, all keys; query side; residualize; /)
  t.regex(printed.stdout, /null 95%.*keys.*mean query.*random/)
  t.regex(printed.stdout, /no null: the result was made without null subspaces/)
  const onto = await run(['attribute', ...common, '--out', train])
  t.is(onto.status, 1)
  t.regex(onto.stderr, /it exists, and is not an attribution/)
  t.is(readFileSync(train, 'utf8'), lines(1, 60))
  t.is((await run(['intervene', ...common, '--edit', 'erase'])).status, 2)
  t.is((await run(['intervene', ...common, '--features', 'colour'])).status, 1)
})
