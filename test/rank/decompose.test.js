/** The test of rank from prompts to results: rows that are kept, what is decomposed, what is saved and said. */

import { existsSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'ava'
import { keepPlan, keptBytes } from '../../dist/covariance/kept/keep-plan.js'
import {
  accumulate,
  boxesLexical,
  boxesOrder,
  bundledFile,
  bundledWords,
  decompose,
  disposeSums,
  intervene,
  loadResult,
  openModel,
} from '../../dist/index.js'
import { testSums } from '../../dist/spectrum/rank/test-sums.js'
import { temporaryFolder } from '../helpers/files.js'
import { relativeDifference } from '../helpers/linear-algebra.js'
import { ENERGY } from '../helpers/rank-rules.js'
import { shuffledAnswers } from '../helpers/shuffled-answers.js'

const folder = temporaryFolder(test)
const words = bundledWords()
const openBoxes = () =>
  openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
const order = (prompts, seed = 1) => boxesOrder({ ...words, prompts, seed })

test('real answers are discovered and replicated in the heads that bind; shuffled ones in none', async (t) => {
  const model = await openBoxes()
  const prompts = order(300)
  const tests = async (set) => {
    const sums = await accumulate(model, set, { batchSize: 64 })
    const result = await decompose(sums)
    disposeSums(sums)
    return Object.fromEntries(
      result.headNames.map((head) => [head, result.head(head).contrast('order').test]),
    )
  }
  const real = await tests(prompts)
  for (const head of ['L3H0', 'L3H2']) {
    t.true(real[head].discovered && real[head].replication.replicated, head)
    t.true(real[head].rank >= 1 && real[head].units === 300, head)
  }
  t.true(
    ['L0H0', 'L0H1', 'L0H2', 'L0H3'].every((head) => real[head].rank === 0),
    'rows of layer 0 are noise',
  )
  const none = await tests(shuffledAnswers(prompts, 5))
  t.is(Object.values(none).filter(({ discovered }) => discovered).length, 0)
})

test('what is decomposed is what is tested: every estimator, centred or not', async (t) => {
  const model = await openBoxes()
  // Terms with 1 positive and 4 negatives, and counterfactual ones.
  const set = [...order(40), ...boxesLexical({ ...words, prompts: 40, seed: 2 })]
  for (const [estimator, center] of /** @type {const} */ ([
    ['per-query', false],
    ['per-query', true],
    ['per-pair', false],
    ['per-pair', true],
    ['sum', false],
  ])) {
    const sums = await accumulate(model, set, { estimator, heads: 'L2H1,L3H0' })
    /** @type {import('../../dist/index.js').RankRule} */
    const rule = { rule: 'permutation', draws: 19, mostDraws: 19 }
    const { tests } = await testSums(sums, { rule, center, seed: 0 })
    const result = await decompose(sums, { rank: rule, center, spectrum: true })
    for (const head of ['L2H1', 'L3H0']) {
      for (const contrast of ['order', 'lexical']) {
        const { spectrum, test, totalEnergy } = result.head(head).contrast(contrast)
        const what = `${estimator} ${center} ${head} ${contrast}`
        t.true(
          Math.abs(spectrum[0] / test.statistic - 1) < 1e-5,
          `${what}: ${spectrum[0]}, ${test.statistic}`,
        )
        t.true(Math.abs(spectrum.reduce((sum, s) => sum + s * s, 0) / totalEnergy - 1) < 1e-6, what)
        t.is(test.hypothesis, center ? 'interaction' : 'effect')
        t.is(test.p.interaction === null, estimator === 'sum')
      }
    }
    t.is(tests.size, 2)
    disposeSums(sums)
  }
})

test('label sequences: the difference from exchanged labels is decomposed, not the raw ΔC', async (t) => {
  const model = await openBoxes()
  const prompts = Array.from({ length: 24 }, (_, p) => {
    const tokens = Array.from({ length: 20 }, (_, i) => 3 + ((p * 17 + i * 5 + ((i * p) % 7)) % 60))
    const labels = tokens.map((id, i) => (i === 0 ? null : ['x', 'y', 'z'][id % 3]))
    return { id: `p${p}`, contrast: 'class', tokens, labels: { query: labels, causal: true } }
  })
  const sums = await accumulate(model, prompts, { heads: 'L1H0,L1H1' })
  /** @type {import('../../dist/index.js').RankRule} */
  const rule = { rule: 'permutation', draws: 39, mostDraws: 39 }
  const result = await decompose(sums, { rank: rule, spectrum: true })
  const raw = await decompose(sums, { rank: ENERGY, spectrum: true })
  for (const head of ['L1H0', 'L1H1']) {
    const { spectrum, test } = result.head(head).contrast('class')
    t.true(Math.abs(spectrum[0] / test.statistic - 1) < 1e-4)
    t.true(Math.abs(raw.head(head).contrast('class').spectrum[0] / test.statistic - 1) > 1e-3)
    t.is(test.units, 24)
  }
  disposeSums(sums)
})

test('rows in memory and in a temporary file give the same bits, and the file is nobody’s to find', async (t) => {
  const model = await openBoxes()
  const set = order(60)
  const before = new Set(readdirSync(tmpdir()))
  const run = async (nullBytes) => {
    const sums = await accumulate(model, set, { nullBytes })
    t.deepEqual(sums.warnings, [])
    const left = readdirSync(tmpdir()).filter((name) => name.startsWith('.qkspace-rows') && !before.has(name))
    t.deepEqual(left, [])
    const result = await decompose(sums, { rank: { rule: 'permutation', mostDraws: 199 } })
    disposeSums(sums)
    return result.info.heads
  }
  t.deepEqual(await run(1), await run(2 ** 30))
})

test('the batch that a prompt fell into changes no p-value', async (t) => {
  const model = await openBoxes()
  const set = [3, 5, 8].flatMap((pairs, i) => boxesOrder({ ...words, pairs, prompts: 20, seed: i }))
  const run = async (prompts, batchSize) => {
    const sums = await accumulate(model, prompts, { batchSize })
    const result = await decompose(sums, { rank: { rule: 'permutation', mostDraws: 999 } })
    disposeSums(sums)
    return result.headNames.map((head) => {
      const { test } = result.head(head).contrast('order')
      return [test.p, test.componentP, test.rank]
    })
  }
  const named = set.map((prompt, i) => ({ ...prompt, id: `${i}` }))
  const first = await run(named, 16)
  t.deepEqual(await run(named, 1), first)
  t.deepEqual(await run(named.toReversed(), 16), first)
})

test.serial('the plan: memory, then disk, then a sample of units that is the same everywhere', async (t) => {
  const sizes = [{ heads: 4, kvHeads: 2, headDim: 8 }]
  const definition = (rule, terms, queries = 0, keys = 0) => ({
    rule,
    terms,
    prompts: 1,
    labelled: { queries, keys },
  })
  const summary = (/** @type {any} */ definitions) => ({
    source: 'set.jsonl',
    sha256: '',
    prompts: 1,
    contrasts: Object.keys(definitions),
    definitions,
  })
  t.is(keptBytes(summary({ a: definition('terms', 10) }), sizes, 'per-query'), 4 * 8 * (4 * 10 + 2 * 10))
  t.is(keptBytes(summary({ a: definition('counterfactual', 10) }), sizes, 'per-query'), 4 * 8 * 6 * 20)
  t.is(keptBytes(summary({ a: definition('terms', 10) }), sizes, 'per-pair'), 4 * 8 * 6 * 20)
  t.is(keptBytes(summary({ a: definition('labels', 0, 7, 9) }), sizes, 'sum'), 4 * 8 * (4 * 7 + 2 * 9))
  const inMemory = await keepPlan(100, 100, 0)
  t.is(inMemory.folder, undefined)
  t.is(inMemory.fraction, 1)
  const onDisk = await keepPlan(101, 100, 0)
  t.true(existsSync(onDisk.folder))
  t.is(onDisk.fraction, 1)
  const sample = await keepPlan(2 ** 60, 100, 0)
  t.true(sample.fraction < 1 && sample.warning.includes('sample'))
  const folderOf = process.env.TMPDIR
  process.env.TMPDIR = path.join(folder, 'none')
  try {
    await t.throwsAsync(keepPlan(101, 100, 0), { code: 'ERR_FILE', message: /none/ })
  } finally {
    if (folderOf === undefined) {
      delete process.env.TMPDIR
    } else {
      process.env.TMPDIR = folderOf
    }
  }
})

test('a sample of units: seeded, said, and enough for what is strong', async (t) => {
  const { KeptRows } = await import('../../dist/covariance/kept/kept-rows.js')
  const { unitKey, unitWord, STREAMS } = await import('../../dist/math/unit-hash.js')
  const keeps = (unit) => unitWord(0, unit, STREAMS.sample, 0) / 2 ** 32 < 0.25
  const { RowIndex } = await import('../../dist/covariance/kept/row-index.js')
  const index = new RowIndex('per-query', [false], keeps)
  const kept = new KeptRows({ heads: 1, kvHeads: 1, headDim: 2 }, index, undefined)
  const n = 400

  const counting = (length) => Int32Array.from({ length }, (_, i) => i)
  const terms = {
    contrast: new Int32Array(n),
    query: counting(n),
    queryNeg: counting(n),
    posOffsets: counting(n + 1),
    pos: counting(n),
    negOffsets: counting(n + 1),
    neg: counting(n).reverse(),
  }
  /** @type {import('../../dist/backend/backend.js').RowTensor} */
  const rows = {
    data: Float32Array.from({ length: 2 * n }, (_, i) => i),
    dtype: 'f32',
    shape: [1, n, 1, 2],
    strides: [2 * n, 2, 2, 1],
  }
  const termUnits = Array.from({ length: n }, (_, i) => `u${i}`)
  const batch = { index: 0, terms, termUnits, labels: [], labelUnits: [] }
  await kept.add({ q: rows, k: rows, ...batch })
  const { units: ids, pairs } = kept.contrast(0)
  t.deepEqual(
    ids,
    termUnits.filter((id) => keeps(unitKey(id))),
  )
  t.true(ids.length > 60 && ids.length < 140)
  const read = /** @type {import('../../dist/covariance/kept/kept-rows.js').KeptTerms} */ (await kept.read(0))
  t.is(read.rows, ids.length)
  t.is(read.q[0], 2 * Number(ids[0].slice(1)))
  t.deepEqual(pairs, [n, n], 'pairs are those of all units')
})

test('without rows there is no test: a clear error, and the other rules work', async (t) => {
  const model = await openBoxes()
  const sums = await accumulate(model, order(24), { nullBytes: 0, heads: 'L3H0' })
  await t.throwsAsync(decompose(sums), { code: 'ERR_ARGUMENT', message: /nullBytes: 0 kept none/ })
  const result = await decompose(sums, { rank: ENERGY })
  t.false('test' in result.head('L3H0').contrast('order'))
  await t.throwsAsync(accumulate(model, order(2), { nullBytes: -1 }), {
    code: 'ERR_ARGUMENT',
    message: /nullBytes/,
  })
  await t.throwsAsync(decompose(sums, { rank: { rule: 'permutation', alpha: 2 } }), { code: 'ERR_ARGUMENT' })
  // @ts-expect-error a misspelt option
  await t.throwsAsync(decompose(sums, { rank: { rule: 'permutation', alfa: 0.01 } }), {
    message: /has no "alfa"/,
  })
})

test('sums that have been disposed of, and a contrast of terms and labels, are named', async (t) => {
  const model = await openBoxes()
  const sums = await accumulate(model, order(24), { heads: 'L3H0' })
  disposeSums(sums)
  await t.throwsAsync(decompose(sums), { code: 'ERR_ARGUMENT', message: /disposed of/ })
  const tokens = Array.from({ length: 12 }, (_, i) => 3 + i)
  const labels = tokens.map((id) => ['x', 'y'][id % 2])
  const mixed = [...order(24), { contrast: 'order', tokens, labels: { query: labels } }]
  await t.throwsAsync(decompose(await accumulate(model, mixed, { heads: 'L3H0' })), {
    code: 'ERR_ARGUMENT',
    message: /prompts with terms and prompts with labels/,
  })
})

test('few prompts are refused, prompts of a group are one unit', async (t) => {
  const model = await openBoxes()
  const run = async (prompts) => decompose(await accumulate(model, prompts, { heads: 'L3H0' }))
  await t.throwsAsync(run(order(5)), { code: 'ERR_FEW_UNITS', message: /order: 5 units that/ })
  const grouped = order(40).map((prompt, i) => ({ ...prompt, group: `g${i >> 1}` }))
  const result = await run(grouped)
  t.is(result.head('L3H0').contrast('order').test.units, 20)
  t.regex(result.info.warnings[0], /assumes symmetric unit contributions/)
})

test('tests are saved with the subspaces and come back; an undiscovered head has nothing to edit', async (t) => {
  const model = await openBoxes()
  const sums = await accumulate(model, order(100), { heads: 'L0H0,L3H0' })
  const result = await decompose(sums)
  disposeSums(sums)
  const file = path.join(folder, 'tested.safetensors')
  await result.save(file)
  const loaded = await loadResult(file)
  t.deepEqual(loaded.info, JSON.parse(JSON.stringify(result.info)))
  const { test, u, rank } = loaded.head('L3H0').contrast('order')
  t.deepEqual(test, result.head('L3H0').contrast('order').test)
  t.is(u.length, 32 * rank)
  t.deepEqual(loaded.info.rank, { rule: 'permutation', alpha: 0.05 })
  t.true(relativeDifference(u, result.head('L3H0').contrast('order').u) === 0)
  await t.throwsAsync(intervene(model, order(8, 3), { result, heads: 'L0H0' }), {
    code: 'ERR_ARGUMENT',
    message: /rank 0 in L0H0/,
  })
})
