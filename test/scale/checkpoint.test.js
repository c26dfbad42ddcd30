/** A run that is stopped anywhere and started again ends with the same bits; what is no checkpoint of it is refused. */

import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { openCheckpoint } from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'
import { temporaryFolder } from '../helpers/files.js'
import { mixedPrompts, onePass, openBoxes, resultHash } from '../helpers/scale.js'

const folder = temporaryFolder(test)
const HEADS = 'L0H1,L3H0,L3H2'
let model
let prompts
let expected

test.before(async () => {
  model = await openBoxes()
  prompts = mixedPrompts()
  expected = resultHash(await onePass(model, prompts, { accumulateWith: { heads: HEADS } }))
})

/** A run with a checkpoint, aborted after some steps of capture or of tests. */
async function run(place, { after = Number.POSITIVE_INFINITY, accumulateWith = {}, every = 0 } = {}) {
  const checkpoint = await openCheckpoint(place, { every })
  const stop = new AbortController()
  let steps = 0
  const onProgress = () => {
    steps += 1
    if (steps >= after) {
      stop.abort()
    }
  }
  const common = { checkpoint, signal: stop.signal, onProgress }
  try {
    return await onePass(model, prompts, {
      accumulateWith: { heads: HEADS, ...common, ...accumulateWith },
      decomposeWith: common,
    })
  } finally {
    await checkpoint.close()
  }
}

test('stopped at thirty moments, one after another: the same bits', async (t) => {
  const place = path.join(folder, 'thirty')
  const random = seededRandom(7)
  for (let i = 0; i < 30; i++) {
    await t.throwsAsync(run(place, { after: 1 + random.below(5) }), { code: 'ERR_ABORTED' })
  }
  t.is(resultHash(await run(place)), expected)
  // Everything is there already.
  t.is(resultHash(await run(place)), expected)
})

test('stopped between two checkpoints: what came after the last one is done again', async (t) => {
  const place = path.join(folder, 'between')
  await t.throwsAsync(run(place, { after: 3 }), { code: 'ERR_ABORTED' })
  await t.throwsAsync(run(place, { after: 4, every: 1e6 }), { code: 'ERR_ABORTED' })
  t.is(resultHash(await run(place, { every: 1e6 })), expected)
})

test('a file that was begun when the process died does not count', async (t) => {
  const place = path.join(folder, 'begun')
  await t.throwsAsync(run(place, { after: 3 }), { code: 'ERR_ABORTED' })
  writeFileSync(path.join(place, 'rows-99.safetensors'), 'half')
  writeFileSync(path.join(place, 'draws.bin'), Buffer.alloc(20, 1))
  t.is(resultHash(await run(place)), expected)
})

test('a record of draws that is cut off is drawn again', async (t) => {
  const place = path.join(folder, 'cut')
  await run(place)
  const file = path.join(place, 'draws.bin')
  const { length } = readFileSync(file)
  for (const bytes of [length - 1, length - 40, Math.floor(length / 2), 3]) {
    truncateSync(file, Math.min(bytes, readFileSync(file).length))
    t.is(resultHash(await run(place)), expected)
  }
})

test('a process that was killed before its first checkpoint leaves a folder that can be used', async (t) => {
  const place = path.join(folder, 'first')
  mkdirSync(place)
  writeFileSync(path.join(place, 'rows-1.safetensors'), 'half')
  writeFileSync(path.join(place, 'lock'), '')
  t.is(resultHash(await run(place)), expected)
})

/** @type {Record<string, [options: import('../../dist/index.js').AccumulateOptions, message: RegExp]>} */
const OTHER_RUNS = {
  'other heads': [{ heads: 'L0H1' }, /the list of heads is L0H1, expected L0H1, L3H0, L3H2/],
  'another estimator': [{ estimator: 'per-pair' }, /the estimator is per-pair, expected per-query/],
  'another batch size': [{ batchSize: 8 }, /the batch size is 8, expected 16/],
  'no rows': [{ nullBytes: 0 }, /whether rows are kept for the test is false, expected true/],
  'a shard': [{ shard: { index: 1, count: 2 } }, /the shard is 1\/2, expected all/],
}

for (const [name, [accumulateWith, message]] of Object.entries(OTHER_RUNS)) {
  test(`the checkpoint of another run is refused, and left as it is: ${name}`, async (t) => {
    const place = path.join(folder, `other-${name.replaceAll(' ', '-')}`)
    await t.throwsAsync(run(place, { after: 3 }), { code: 'ERR_ABORTED' })
    const before = filesOf(place)
    const error = await t.throwsAsync(run(place, { accumulateWith }), { code: 'ERR_CHECKPOINT' })
    t.regex(error.message, message)
    t.deepEqual(filesOf(place), before)
  })
}

test('other prompts are another run', async (t) => {
  const place = path.join(folder, 'prompts')
  await t.throwsAsync(run(place, { after: 3 }), { code: 'ERR_ABORTED' })
  const checkpoint = await openCheckpoint(place)
  const accumulateWith = { heads: HEADS, checkpoint }
  await t.throwsAsync(onePass(model, prompts.slice(1), { accumulateWith }), {
    code: 'ERR_CHECKPOINT',
    message: /the prompt set is/,
  })
  await checkpoint.close()
})

test('every damaged file is refused by name, and nothing is changed', async (t) => {
  const place = path.join(folder, 'damaged')
  await t.throwsAsync(run(place, { after: 4 }), { code: 'ERR_ABORTED' })
  for (const name of readdirSync(place).filter((file) => file !== 'draws.bin')) {
    const copy = path.join(folder, 'damaged-copy')
    rmSync(copy, { recursive: true, force: true })
    cpSync(place, copy, { recursive: true })
    const bytes = readFileSync(path.join(copy, name))
    bytes[Math.floor(bytes.length / 2)] ^= 1
    writeFileSync(path.join(copy, name), bytes)
    const before = filesOf(copy)
    const error = await t.throwsAsync(run(copy), { code: 'ERR_FORMAT' })
    t.true(error.message.includes(name), error.message)
    t.deepEqual(filesOf(copy), before)
  }
})

test('a file of another checkpoint is refused by name', async (t) => {
  const [place, other] = ['mine', 'theirs'].map((name) => path.join(folder, name))
  await t.throwsAsync(run(place, { after: 3 }), { code: 'ERR_ABORTED' })
  await t.throwsAsync(run(other, { after: 3 }), { code: 'ERR_ABORTED' })
  cpSync(path.join(other, 'rows-1.safetensors'), path.join(place, 'rows-1.safetensors'))
  await t.throwsAsync(run(place), { code: 'ERR_CHECKPOINT', message: /rows-1.safetensors/ })
})

test('a damaged record of draws before the last is refused', async (t) => {
  const place = path.join(folder, 'draws')
  await run(place)
  const file = path.join(place, 'draws.bin')
  const bytes = readFileSync(file)
  bytes[60] ^= 1
  writeFileSync(file, bytes)
  await t.throwsAsync(run(place), { code: 'ERR_FORMAT', message: /draws\.bin is damaged at byte 0/ })
})

test('a folder with other files, and one that is in use, are refused', async (t) => {
  const place = path.join(folder, 'foreign')
  mkdirSync(place)
  writeFileSync(path.join(place, 'notes.txt'), 'mine')
  await t.throwsAsync(run(place), { code: 'ERR_CHECKPOINT', message: /it holds notes\.txt/ })
  t.deepEqual(readdirSync(place), ['notes.txt'])
  const held = await openCheckpoint(path.join(folder, 'held'))
  await t.throwsAsync(openCheckpoint(path.join(folder, 'held')), {
    code: 'ERR_CHECKPOINT',
    message: new RegExp(`in use by process ${process.pid}`),
  })
  await held.close()
  await (await openCheckpoint(path.join(folder, 'held'))).close()
})

test('wrong arguments', async (t) => {
  // @ts-expect-error no folder
  await t.throwsAsync(openCheckpoint(), { code: 'ERR_TYPE' })
  await t.throwsAsync(openCheckpoint(path.join(folder, 'wrong'), { every: -1 }), { code: 'ERR_ARGUMENT' })
  // @ts-expect-error a misspelt option
  await t.throwsAsync(openCheckpoint(path.join(folder, 'wrong'), { evry: 1 }), { code: 'ERR_ARGUMENT' })
  const unused = await openCheckpoint(path.join(folder, 'unused'))
  t.throws(() => unused.draws('key', async () => new Float64Array(1)), { code: 'ERR_ARGUMENT' })
  await unused.close()
})

function filesOf(place) {
  return Object.fromEntries(
    readdirSync(place)
      .sort()
      .map((name) => [name, readFileSync(path.join(place, name)).toString('base64')]),
  )
}
