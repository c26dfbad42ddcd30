/** Shards put together are one pass: moments to 1e-12, rows, p-values and ranks exactly, in any order. */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import {
  accumulate,
  decompose,
  disposeSums,
  drawShard,
  mergeSums,
  openDraws,
  saveSums,
} from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'
import { temporaryFolder } from '../helpers/files.js'
import { mixedPrompts, onePass, openBoxes, resultHash, testsOf } from '../helpers/scale.js'

const folder = temporaryFolder(test)
const HEADS = 'L0H1,L3H0,L3H2'
const SHARDS = 5
let model
let prompts

test.before(async () => {
  model = await openBoxes()
  prompts = mixedPrompts()
})

/**
 * The files of all shards.
 * @param {string} name
 * @param {import('../../dist/index.js').AccumulateOptions & { count?: number, of?: any[] }} [options]
 */
async function shards(name, { count = SHARDS, of = prompts, ...options } = {}) {
  const files = []
  for (let index = 1; index <= count; index++) {
    const sums = await accumulate(model, of, { heads: HEADS, shard: { index, count }, ...options })
    const file = path.join(folder, `${name}-${index}.safetensors`)
    await saveSums(sums, file)
    disposeSums(sums)
    files.push(file)
  }
  return files
}

async function merged(files, options = {}) {
  const sums = await mergeSums(model, files)
  try {
    return await decompose(sums, { nulls: 2, ...options })
  } finally {
    disposeSums(sums)
  }
}

test('twenty random orders: the same bits, and the tests of one pass', async (t) => {
  const files = await shards('orders')
  const one = await onePass(model, prompts, { accumulateWith: { heads: HEADS } })
  const random = seededRandom(3)
  const hashes = new Set()
  for (let i = 0; i < 20; i++) {
    const order = files.map((file) => [random.next(), file]).sort(([a], [b]) => a - b)
    const result = await merged(order.map(([, file]) => file))
    hashes.add(resultHash(result))
    t.deepEqual(testsOf(result), testsOf(one))
  }
  t.is(hashes.size, 1)
})

/** @type {[import('../../dist/index.js').Sums['estimator'], { center?: boolean }][]} */
const ESTIMATORS = [
  ['per-pair', {}],
  ['sum', {}],
  ['per-query', { center: true }],
]

for (const [estimator, options] of ESTIMATORS) {
  test(`moments to 1e-12, tests exactly: ${estimator}${options.center ? ', centred' : ''}`, async (t) => {
    const of = prompts.filter(({ contrast }) => contrast !== 'same-letter')
    const files = await shards(`moments-${estimator}-${!!options.center}`, { estimator, of })
    const one = await accumulate(model, of, { heads: HEADS, estimator })
    const all = await mergeSums(model, files)
    for (const [s, { groups }] of one.sites.entries()) {
      for (const [g, { covariance }] of groups.entries()) {
        const a = await covariance.moments()
        const b = await all.sites[s].groups[g].covariance.moments()
        t.deepEqual(b.terms, a.terms)
        for (const side of ['positive', 'negative']) {
          for (const what of ['weight', 'q', 'k', 'qk']) {
            const largest = a[side][what].reduce((most, x) => Math.max(most, Math.abs(x)), 0)
            const worst = a[side][what].reduce(
              (most, x, i) => Math.max(most, Math.abs(x - b[side][what][i])),
              0,
            )
            t.true(worst <= 1e-12 * largest, `${side}.${what}: ${worst} of ${largest}`)
          }
        }
      }
    }
    const settings = { nulls: 0, ...options }
    t.deepEqual(testsOf(await decompose(all, settings)), testsOf(await decompose(one, settings)))
    disposeSums(one)
    disposeSums(all)
  })
}

test('more shards than batches, and a single one', async (t) => {
  const one = testsOf(await onePass(model, prompts, { accumulateWith: { heads: HEADS } }))
  t.deepEqual(testsOf(await merged(await shards('many', { count: 30 }))), one)
  t.deepEqual(testsOf(await merged(await shards('single', { count: 1 }))), one)
})

test('without rows: subspaces by another rule, and no test', async (t) => {
  const files = await shards('bare', { nullBytes: 0 })
  const rank = { rule: 'energy', threshold: 0.99 }
  const result = await merged(files, { rank, nulls: 0 })
  const one = await onePass(model, prompts, {
    accumulateWith: { heads: HEADS, nullBytes: 0 },
    decomposeWith: { rank, nulls: 0 },
  })
  const ranks = (found) =>
    found.headNames.map((head) => found.contrastNames.map((c) => found.head(head).contrast(c).rank))
  t.deepEqual(ranks(result), ranks(one))
  await t.throwsAsync(merged(files), { code: 'ERR_ARGUMENT', message: /needs rows/ })
})

test('what does not make a whole is refused with the list', async (t) => {
  const files = await shards('lists')
  const others = await shards('others', { batchSize: 8 })
  const fewer = await shards('fewer', { count: 2 })
  const refused = async (list, ...messages) => {
    const error = await t.throwsAsync(mergeSums(model, list), { code: 'ERR_PARTS' })
    for (const message of messages) {
      t.regex(error.message, message)
    }
  }
  await refused([files[0], files[4]], /missing of 5 shards: 2-4/)
  await refused([files[0], files[2], files[4]], /missing of 5 shards: 2, 4/)
  await refused([...files, files[1]], /shard 2\/5 is there 2 times: .*lists-2.*lists-2/)
  await refused([files[0], files[0]], /missing of 5 shards: 2-5/, /shard 1\/5 is there 2 times/)
  await refused(
    [...files.slice(1), others[0]],
    /others-1.*is of another run than|is of another run than .*others-1/,
    /the batch size/,
  )
  await refused([...files, ...fewer], /there are/)
})

test('another model, damaged and foreign files', async (t) => {
  const files = await shards('damaged', { count: 2 })
  const other = await openBoxes()
  Object.defineProperty(other, 'tokenizer', { value: undefined })
  await t.throwsAsync(mergeSums(other, files), { code: 'ERR_PARTS', message: /the tokenizer is none/ })
  const bytes = readFileSync(files[1])
  bytes[bytes.length - 5000] ^= 1
  writeFileSync(files[1], bytes)
  const error = await t.throwsAsync(merged(files), { code: 'ERR_FORMAT' })
  t.true(error.message.includes(files[1]), error.message)
  const text = path.join(folder, 'text.safetensors')
  writeFileSync(text, 'no tensors')
  await t.throwsAsync(mergeSums(model, [text]), { code: 'ERR_FORMAT' })
  await t.throwsAsync(mergeSums(model, [path.join(folder, 'absent.safetensors')]), { code: 'ERR_FILE' })
  await t.throwsAsync(mergeSums(model, []), { code: 'ERR_TYPE' })
  // @ts-expect-error a misspelt option
  await t.throwsAsync(mergeSums(model, files, { bckend: 'js' }), { code: 'ERR_ARGUMENT' })
})

test('the sums of a shard are not decomposed as if they were all', async (t) => {
  const sums = await accumulate(model, prompts, { heads: 'L0H1', shard: { index: 2, count: 3 } })
  await t.throwsAsync(decompose(sums), { code: 'ERR_ARGUMENT', message: /shard 2\/3/ })
  disposeSums(sums)
})

test('wrong shards', async (t) => {
  for (const shard of [
    { index: 0, count: 2 },
    { index: 3, count: 2 },
    { index: 1, count: 1.5 },
    { index: 1, count: 2, of: 3 },
  ]) {
    await t.throwsAsync(accumulate(model, prompts, { shard }), { code: 'ERR_ARGUMENT' })
  }
  // @ts-expect-error a shard is an object
  await t.throwsAsync(accumulate(model, prompts, { shard: '1/2' }), { code: 'ERR_TYPE' })
})

test('draws in parts: the same bits; those of other sums are refused', async (t) => {
  const files = await shards('drawn', { count: 2 })
  const place = (name) => path.join(folder, `${name}.draws`)
  const expected = resultHash(await merged(files))
  const sums = await mergeSums(model, files)
  const drawn = []
  for (let index = 1; index <= 3; index++) {
    await drawShard(sums, { index, count: 3 }, place(index))
    drawn.push(place(index))
  }
  const before = drawn.map((file) => readFileSync(file).length)
  // A second run finds all draws there.
  await drawShard(sums, { index: 1, count: 3 }, place(1))
  t.deepEqual(
    drawn.map((file) => readFileSync(file).length),
    before,
  )
  for (const some of [drawn, drawn.slice(1), []]) {
    const draws = await openDraws(sums, some)
    let asked = 0
    let computed = 0
    const counting = {
      draws: (key, compute) => {
        asked += 1
        return draws.draws(key, () => {
          computed += 1
          return compute()
        })
      },
    }
    t.is(resultHash(await decompose(sums, { nulls: 2, checkpoint: counting })), expected)
    await draws.close()
    t.is(computed === asked, some.length === 0)
    t.true(computed < asked || some.length === 0)
  }
  const others = await accumulate(model, prompts, { heads: 'L0H1' })
  await t.throwsAsync(openDraws(others, drawn), { code: 'ERR_PARTS', message: /are of other sums/ })
  await t.throwsAsync(drawShard(others, { index: 1, count: 1 }, place(1)), { code: 'ERR_PARTS' })
  writeFileSync(place('text'), 'a text that is longer than the head of a record, and none of ours')
  await t.throwsAsync(openDraws(sums, [place('text')]), { code: 'ERR_FORMAT' })
  await t.throwsAsync(drawShard(sums, { index: 1, count: 1 }, place('text')), { code: 'ERR_FILE' })
  await t.throwsAsync(
    drawShard(sums, { index: 1, count: 1 }, place('x'), {
      rank: /** @type {any} */ ({ rule: 'fixed', rank: 2 }),
    }),
    {
      code: 'ERR_ARGUMENT',
    },
  )
  disposeSums(sums)
  disposeSums(others)
})
