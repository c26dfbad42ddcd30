/** Accumulation over prompt sets: batching, counterfactuals, labels, memory, abort, the event loop. */

import { spawnSync } from 'node:child_process'
import path from 'node:path'
import test from 'ava'
import { bundledFile, bundledWords } from '../dist/bundled/files.js'
import { boxesLexical, boxesOrder } from '../dist/contrast/families/boxes.js'
import { accumulate, backends, decompose, openModel } from '../dist/index.js'
import { temporaryFolder } from './helpers/files.js'
import { naiveCovariances, relativeDifference } from './helpers/linear-algebra.js'
import { ENERGY } from './helpers/rank-rules.js'
import { writeTinyModel } from './helpers/tiny-model.js'
import { TINY, tinyReference } from './helpers/tiny-weights.js'

const folder = temporaryFolder(test)
const words = bundledWords()

const openBoxes = () =>
  openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })

/** Prompts of unequal length. */
function mixedPrompts(count) {
  return [3, 4, 6, 8].flatMap((pairs, i) => boxesOrder({ ...words, pairs, prompts: count / 4, seed: i }))
}

async function covariances(model, prompts, options) {
  const result = await decompose(await accumulate(model, prompts, options), {
    rank: ENERGY,
    keepCovariances: true,
  })
  return (head, contrast) => result.head(head).contrast(contrast)
}

test('a result does not depend on the batch that a prompt fell into', async (t) => {
  const model = await openBoxes()
  const prompts = mixedPrompts(32)
  const alone = await covariances(model, prompts, { batchSize: 1 })
  const together = await covariances(model, prompts, { batchSize: 16 })
  for (const head of ['L0H0', 'L1H0', 'L2H3']) {
    for (const part of ['cPos', 'cNeg', 's']) {
      t.true(relativeDifference(together(head, 'order')[part], alone(head, 'order')[part]) < 1e-5)
    }
  }
})

test('models without a mask input are batched by equal length', async (t) => {
  const model = await openModel(writeTinyModel(folder, { mask: 'none' }))
  const prompts = [4, 7, 5, 7, 4, 9].map((length, i) => ({
    contrast: 'c',
    tokens: Array.from({ length }, (_, j) => (i * 5 + j * 3) % TINY.vocabulary),
    terms: [{ query: -1, positive: [0], negative: [1] }],
  }))
  const alone = await covariances(model, prompts, { batchSize: 1 })
  const together = await covariances(model, prompts, { batchSize: 6 })
  t.true(relativeDifference(together('L0H0', 'c').cPos, alone('L0H0', 'c').cPos) < 1e-5)
})

test('both backends give the same', async (t) => {
  const model = await openBoxes()
  const prompts = mixedPrompts(16)
  const available = backends()
    .filter((b) => b.available)
    .map((b) => b.name)
  t.true(available.includes('cpu'), 'the addon is built')
  const js = await covariances(model, prompts, { backend: 'js' })
  const cpu = await covariances(model, prompts, { backend: 'cpu' })
  t.true(relativeDifference(cpu('L1H0', 'order').cPos, js('L1H0', 'order').cPos) < 1e-5)
  t.is(cpu('L1H0', 'order').rank, js('L1H0', 'order').rank)
})

test('the same input twice gives the same bits', async (t) => {
  const model = await openBoxes()
  const prompts = mixedPrompts(16)
  const first = await covariances(model, prompts, { threads: 1 })
  const second = await covariances(model, prompts, { threads: 2 })
  t.deepEqual(first('L1H1', 'order').cPos, second('L1H1', 'order').cPos)
  t.deepEqual(first('L1H1', 'order').u, second('L1H1', 'order').u)
})

test('a counterfactual takes its negative half, query included, from the second run', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 2 }))
  const tokens = [1, 5, 7, 3, 9]
  const changed = [1, 5, 8, 3, 4, 6]
  const got = await covariances(model, [
    {
      contrast: 'c',
      tokens,
      terms: [{ query: -1, positive: [2] }],
      counterfactual: { tokens: changed, terms: [{ query: -1, negative: [2] }] },
    },
  ])
  const [run, other] = [tokens, changed].map((ids) => tinyReference(ids, { seed: 2 }))
  const want = naiveCovariances(
    [{ q: run.q[4][1], qNeg: other.q[5][1], pos: [run.k[2][0]], neg: [other.k[2][0]] }],
    TINY.headDim,
  )
  t.true(relativeDifference(got('L0H1', 'c').cPos, want.cPos) < 1e-5)
  t.true(relativeDifference(got('L0H1', 'c').cNeg, want.cNeg) < 1e-5)
})

for (const causal of [true, false]) {
  test(`label-matched contrasts are those of the definition, causal: ${causal}`, async (t) => {
    const model = await openModel(writeTinyModel(folder, { seed: 3 }))
    const tokens = [1, 5, 7, 3, 9, 2, 4, 11]
    const labels = [null, 'a', 'b', 'a', 'b', 'c', 'a', null]
    const got = await covariances(model, [
      { contrast: 'same', tokens, labels: { query: labels, causal, rule: 'same-label' } },
    ])
    const { q, k } = tinyReference(tokens, { seed: 3 })
    const terms = []
    let skipped = 0
    labels.forEach((label, i) => {
      if (label === null) {
        return
      }
      const seen = labels
        .map((other, j) => ({ other, j }))
        .filter(({ other, j }) => other !== null && (causal ? j < i : j !== i))
      const pos = seen.filter(({ other }) => other === label).map(({ j }) => k[j][1])
      const neg = seen.filter(({ other }) => other !== label).map(({ j }) => k[j][1])
      if (pos.length && neg.length) {
        terms.push({ q: q[i][2], pos, neg })
      } else {
        skipped += 1
      }
    })
    const want = naiveCovariances(terms, TINY.headDim)
    const found = got('L0H2', 'same')
    t.is(found.terms, terms.length)
    t.is(found.skipped, skipped)
    t.true(relativeDifference(found.cPos, want.cPos) < 1e-5)
    t.true(relativeDifference(found.cNeg, want.cNeg) < 1e-5)
  })
}

test('several contrasts of one prompt share its run', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 4 }))
  const tokens = [1, 5, 7, 3, 9]
  const near = [{ query: -1, positive: [3], negative: [0] }]
  const far = [{ query: -1, positive: [0], negative: [3] }]
  const got = await covariances(model, [
    { tokens, contrasts: { near: { terms: near }, far: { terms: far } } },
  ])
  t.deepEqual(got('L0H0', 'near').cPos, got('L0H0', 'far').cNeg)
  t.true(Math.abs(got('L0H0', 'near').scoreGap + got('L0H0', 'far').scoreGap) < 1e-9)
})

test('the bundled transformer binds: one head finds the box of the object that is asked about', async (t) => {
  const model = await openBoxes()
  const prompts = [
    ...boxesOrder({ ...words, prompts: 60, seed: 1 }),
    ...boxesLexical({ ...words, prompts: 60, seed: 2 }, 'question', 'match'),
  ]
  const result = await decompose(await accumulate(model, prompts), { rank: ENERGY })
  const gap = (contrast) =>
    Math.max(...result.headNames.map((h) => result.head(h).contrast(contrast).scoreGap))
  t.true(gap('order') > 2)
  t.true(gap('match') > 2)
})

test('what the covariances take is checked before the first batch', async (t) => {
  const model = await openBoxes()
  await t.throwsAsync(accumulate(model, mixedPrompts(8), { memoryLimit: 10_000 }), {
    code: 'ERR_MEMORY_LIMIT',
    message: /the limit is/,
  })
})

test('an abort ends the work and leaves the process sound', async (t) => {
  const model = await openBoxes()
  const controller = new AbortController()
  const running = accumulate(model, mixedPrompts(400), {
    batchSize: 4,
    signal: controller.signal,
    onProgress: ({ prompts }) => {
      if (prompts >= 8) {
        controller.abort()
      }
    },
  })
  await t.throwsAsync(running, { code: 'ERR_ABORTED' })
  const again = await accumulate(model, mixedPrompts(8))
  t.is(again.prompts.prompts, 8)
})

test('the event loop turns while a model runs and while matrices are decomposed', async (t) => {
  const model = await openBoxes()
  let turns = 0
  const timer = setInterval(() => {
    turns += 1
  }, 1)
  const sums = await accumulate(model, mixedPrompts(200))
  const during = turns
  await decompose(sums)
  clearInterval(timer)
  t.true(during > 20, `${during} turns`)
})

const memory = test.macro((t, nullBytes) => {
  const peak = (count) => {
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [
        '--max-old-space-size=256',
        path.join(import.meta.dirname, 'helpers/peak-memory.js'),
        `${count}`,
        `${nullBytes}`,
      ],
      { encoding: 'utf8' },
    )
    t.is(stderr, '')
    return Number(stdout)
  }
  const few = peak(400)
  const many = peak(8000)
  t.true(many < few * 1.3, `${few} MB with 400 prompts, ${many} MB with 8000`)
})
test('memory does not grow with the number of prompts where no rows are kept', memory, 0)
test('nor where the rows go to a temporary file', memory, 2 ** 20)
