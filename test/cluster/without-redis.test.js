/** What a cluster needs is loaded with it, and wrong input is told before anything is queued. */

import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { bundledFile, bundledWords } from '../../dist/bundled/files.js'
import { modelHashes, readModels } from '../../dist/cluster/models-file.js'
import { readMergeJob, readShardJob, runId } from '../../dist/cluster/run-spec.js'
import { mergeRun, shardIsDone } from '../../dist/cluster/run-work.js'
import { boxesOrder } from '../../dist/contrast/families/boxes.js'
import { identityOf } from '../../dist/covariance/saved/identity.js'
import { accumulate, disposeSums } from '../../dist/index.js'
import { Running } from '../helpers/cluster.js'
import { temporaryFolder } from '../helpers/files.js'
import { copyPackage } from '../helpers/package-copy.js'
import { openBoxes } from '../helpers/scale.js'

const folder = temporaryFolder(test)
const at = (...parts) => path.join(folder, ...parts)
const boxes = { model: bundledFile('boxes.onnx'), tokenizer: bundledFile('boxes.tokenizer.json') }
const prompts = boxesOrder({ ...bundledWords(), prompts: 8, seed: 1 })
writeFileSync(at('prompts.jsonl'), prompts.map((prompt) => JSON.stringify(prompt)).join('\n'))
writeFileSync(at('models.json'), JSON.stringify({ boxes }))

const run = (args, options) => new Running(args, { cwd: folder, ...options }).ended

const SUBMIT = [
  'submit',
  'decompose',
  '--models',
  'models.json',
  '--model',
  'boxes',
  '--prompts',
  'prompts.jsonl',
  '--shards',
  '2',
  '--folder',
  'runs',
  '--out',
  'out.safetensors',
]

test('without bullmq: submit and worker say what to install, everything else works', async (t) => {
  const command = copyPackage(at('bare'), { packages: ['bullmq', 'ioredis'] })
  for (const args of [SUBMIT, ['submit', 'status', 'decompose-1'], ['worker', '--models', 'models.json']]) {
    const { status, stderr } = await run(args, { command })
    t.is(status, 1)
    t.regex(stderr, /bullmq and ioredis, which are not installed/)
    t.regex(stderr, /npm install bullmq ioredis/)
  }
})

test('without ioredis alone', async (t) => {
  const command = copyPackage(at('driverless'), { packages: ['ioredis'] })
  const { status, stderr } = await run(SUBMIT, { command })
  t.is(status, 1)
  t.regex(stderr, /npm install bullmq ioredis/)
})

test('decompose loads nothing of a cluster, nor of checkpoints', async (t) => {
  const command = copyPackage(at('without'), {
    packages: ['bullmq', 'ioredis'],
    parts: ['cluster', 'covariance/saved', 'spectrum/rank/draw-parts.js', 'sweep/shards.js'],
  })
  const args = [
    'decompose',
    '--model',
    boxes.model,
    '--tokenizer',
    boxes.tokenizer,
    '--prompts',
    'prompts.jsonl',
  ]
  const { status, stderr } = await run([...args, '--rank', 'fixed:2', '--out', 'alone.safetensors'], {
    command,
  })
  t.is(status, 0, stderr)
})

test('no Redis', async (t) => {
  const { status, stderr } = await run([...SUBMIT, '--redis', 'redis://user:secret@127.0.0.1:1'])
  t.is(status, 1)
  t.regex(stderr, /no Redis answers at redis:\/\/127\.0\.0\.1:1: /)
  t.regex(stderr, /redis-server --appendonly yes --appendfsync always/)
  t.notRegex(stderr, /secret/)
})

test('the address may come from the environment', async (t) => {
  const { status, stderr } = await run(SUBMIT, { env: { QKSPACE_REDIS: 'redis://127.0.0.1:2' } })
  t.is(status, 1)
  t.regex(stderr, /no Redis answers at redis:\/\/127\.0\.0\.1:2: /)
})

/** @type {[string, string[], RegExp][]} */
const WRONG_USAGE = [
  ['an address', [...SUBMIT, '--redis', 'localhost:6379'], /"localhost:6379" is no address of Redis/],
  ['a queue', [...SUBMIT, '--queue', 'a:b'], /"a:b" is no name of a queue/],
  ['an ending', [...SUBMIT.slice(0, -1), 'out.txt'], /out\.txt/],
  ['a number of shards', [...SUBMIT, '--shards', '0'], /whole number from 1/],
  ['an estimator that is not centred', [...SUBMIT, '--center', '--estimator', 'sum'], /cannot be centred/],
  ['prompts by standard input', [...SUBMIT, '--prompts', '-'], /--prompts is a file that they share/],
  ['a queue of a worker', ['worker', '--models', 'models.json', '--queue', ''], /"" is no name of a queue/],
  ['a time', ['worker', '--models', 'models.json', '--takeover', 'soon'], /Write a time/],
]
for (const [name, args, message] of WRONG_USAGE) {
  test(`wrong usage: ${name}`, async (t) => {
    const { status, stderr } = await run(args)
    t.is(status, 2, stderr)
    t.regex(stderr, message)
  })
}

test('files of models: paths beside the file, errors with file and field', async (t) => {
  mkdirSync(at('models'))
  const file = (text) => {
    const name = at('models', 'models.json')
    writeFileSync(name, typeof text === 'string' ? text : JSON.stringify(text))
    return name
  }
  writeFileSync(at('models', 'here.onnx'), '')
  const found = await readModels(file({ boxes, here: { model: 'here.onnx' } }))
  t.deepEqual(
    [...found],
    [
      ['boxes', boxes],
      ['here', { model: at('models', 'here.onnx') }],
    ],
  )
  /** @type {[any, string, RegExp][]} */
  const faults = [
    ['{', 'ERR_FORMAT', /models\.json is not JSON/],
    [3, 'ERR_FORMAT', /models\.json: the document is 3, expected an object by name/],
    [{}, 'ERR_FORMAT', /models\.json: the document names no model/],
    [{ boxes: 'boxes.onnx' }, 'ERR_FORMAT', /models\.json: boxes is "boxes\.onnx", expected an object/],
    [{ boxes: {} }, 'ERR_FORMAT', /models\.json: boxes\.model is missing/],
    [
      { boxes: { ...boxes, tokenizer: 1 } },
      'ERR_FORMAT',
      /models\.json: boxes\.tokenizer is 1, expected a text/,
    ],
    [
      { boxes: { model: 'hf:org/name' } },
      'ERR_FORMAT',
      /boxes\.model is hf:org\/name: workers take files only/,
    ],
    [
      { boxes: { model: 'absent.onnx' } },
      'ERR_FILE',
      /models\.json: boxes\.model is absent\.onnx, and there is no/,
    ],
  ]
  for (const [value, code, message] of faults) {
    await t.throwsAsync(readModels(file(value)), { code, message })
  }
  await t.throwsAsync(readModels(at('absent.json')), { code: 'ERR_FILE', message: /absent\.json/ })
})

/** @type {import('../../dist/cluster/run-spec.js').RunSpec} */
const SPEC = {
  formatVersion: 1,
  version: '0.1.0',
  work: {
    command: 'decompose',
    capture: { heads: 'all', estimator: 'per-query', backend: 'auto', batchSize: 4, nullBytes: 2 ** 20 },
    decompose: { seed: 0 },
  },
  model: { name: 'boxes', sha256: 'a', tokenizer: 'b' },
  prompts: { file: at('prompts.jsonl'), sha256: 'c' },
  shards: 2,
  folder: at('runs'),
}

test('the name of a run says what is computed, not where', (t) => {
  const name = runId(SPEC)
  t.regex(name, /^decompose-[0-9a-f]{16}$/)
  t.is(runId({ ...SPEC, folder: '/elsewhere', prompts: { ...SPEC.prompts, file: '/elsewhere' } }), name)
  for (const other of [
    { version: '0.1.1' },
    { shards: 3 },
    { model: { ...SPEC.model, sha256: 'd' } },
    { model: { ...SPEC.model, tokenizer: 'd' } },
    { prompts: { ...SPEC.prompts, sha256: 'd' } },
    { work: { ...SPEC.work, decompose: { seed: 1 } } },
  ]) {
    t.not(runId({ ...SPEC, ...other }), name)
  }
})

test('jobs of other programs are refused with the field', (t) => {
  const { shards, ...partial } = SPEC
  /** @type {[(data: any) => any, any, RegExp][]} */
  const faults = [
    [readShardJob, undefined, /the job is none of qkspace: it is missing/],
    [readShardJob, { to: 'someone' }, /spec is missing/],
    [readShardJob, { spec: partial, shard: 1 }, /spec\.shards is missing/],
    [readShardJob, { spec: SPEC }, /shard is missing/],
    [readShardJob, { spec: { ...SPEC, formatVersion: 2 }, shard: 1 }, /spec\.formatVersion is 2, expected 1/],
    [readMergeJob, { spec: SPEC }, /out is missing/],
    [readMergeJob, { spec: { ...SPEC, work: { command: 'paper' } }, out: 'x' }, /spec\.work/],
  ]
  for (const [read, data, message] of faults) {
    t.throws(() => read(data), { code: 'ERR_FORMAT', message })
  }
  t.deepEqual(readShardJob({ spec: SPEC, shard: 1 }), { spec: SPEC, shard: 1 })
})

test('the hashes of a model are those that its sums carry', async (t) => {
  const model = await openBoxes()
  const sums = await accumulate(model, prompts, { heads: 'L0H1' })
  const { model: sha256, tokenizer } = await identityOf(sums)
  t.deepEqual(await modelHashes(boxes), { sha256, tokenizer })
  disposeSums(sums)
})

test('a merge says which shards lack, and why', async (t) => {
  t.false(await shardIsDone(SPEC, 1))
  const model = await openBoxes()
  /** @type {any} */
  const error = await t.throwsAsync(
    mergeRun({ spec: SPEC, out: at('x.safetensors') }, model, new Map([[2, 'the disk is full']]), {}),
    { code: 'ERR_PARTS' },
  )
  t.regex(
    error.message,
    /^2 of 2 shards lack:\n {2}shard 1\/2: .*shard-1-of-2\.safetensors is gone\n {2}shard 2\/2: the disk is full$/,
  )
  t.regex(error.hint, /Submit the run again/)
})
