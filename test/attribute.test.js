/** Attribution on terms: what counts, what stands beside every fraction, and that the order of features decides nothing. */

import path from 'node:path'
import test from 'ava'
import {
  accumulate,
  attribute,
  boxesLexical,
  boxesOrder,
  bundledFile,
  bundledWords,
  decompose,
  disposeSums,
  loadResult,
  openModel,
} from '../dist/index.js'
import { Result } from '../dist/store/result.js'
import { capturedRows } from './helpers/edits.js'
import { temporaryFolder } from './helpers/files.js'
import { ENERGY } from './helpers/rank-rules.js'
import { shuffledAnswers } from './helpers/shuffled-answers.js'

const folder = temporaryFolder(test)
const words = bundledWords()
const bothContrasts = (prompts, seed) => [
  ...boxesOrder({ ...words, prompts, seed }),
  ...boxesLexical({ ...words, prompts, seed: seed + 1 }, 'question', 'match'),
]

let made
function boxes() {
  made ??= (async () => {
    const model = await openModel(bundledFile('boxes.onnx'), {
      tokenizer: bundledFile('boxes.tokenizer.json'),
    })
    const sums = await accumulate(model, bothContrasts(400, 1))
    const result = await decompose(sums)
    disposeSums(sums)
    return { model, result, held: bothContrasts(96, 11) }
  })()
  return made
}

/** Explained energy of centred rows, from rows captured one by one; `basis` [d, rank], orthonormal. */
async function energyAlone(terms, { data, shape: [d, rank] }) {
  const project = (q) => {
    const along = Array.from({ length: rank }, (_, r) => q.reduce((s, x, i) => s + x * data[i * rank + r], 0))
    return Array.from({ length: d }, (_, i) => along.reduce((s, x, r) => s + x * data[i * rank + r], 0))
  }
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0)
  const centred = (row) => row.map((x) => x - row.reduce((a, b) => a + b, 0) / row.length)
  const square = (row) => row.reduce((sum, x) => sum + x * x, 0)
  let [all, rest] = [0, 0]
  for (const pairs of terms) {
    const total = centred(pairs.map(([q, k]) => dot(q, k)))
    const named = centred(pairs.map(([q, k]) => dot(project(q), k)))
    all += square(total)
    rest += square(total.map((x, i) => x - named[i]))
  }
  return 1 - rest / all
}

test('rows are the keys of the term, of a counterfactual its two pairs; own features are measured alone', async (t) => {
  const { model, result } = await boxes()
  const held = bothContrasts(6, 21)
  const report = await attribute(model, held, { result, heads: 'L3H0', points: 0, examples: 0 })
  const { contrasts } = report.heads.L3H0
  t.deepEqual(Object.keys(contrasts), ['order', 'match'])
  t.deepEqual(
    [report.method, report.keys, report.centered, report.order],
    ['shapley', 'term', true, undefined],
  )
  const { termRuns } = await import('../dist/capture/terms/term-runs.js')
  const { promptSet } = await import('../dist/contrast/prompt-set.js')
  for (const contrast of ['order', 'match']) {
    const terms = []
    for await (const { run, query, donor, term } of termRuns(model, promptSet(held), {
      contrasts: [contrast],
      seed: 0,
    })) {
      const here = await capturedRows(model, 3, 0, { run, query })
      const there = donor ? await capturedRows(model, 3, 0, donor) : here
      terms.push([
        ...term.positive.map((p) => [here.q, here.k[p]]),
        ...term.negative.map((p) => [there.q, there.k[p]]),
      ])
    }
    const { u, rank, headDim, nulls } = result.head('L3H0').contrast(contrast)
    const own = await energyAlone(terms, { data: u, shape: [headDim, rank] })
    t.true(Math.abs(contrasts[contrast].own.energy.mean - own) < 1e-5, `${contrast} ${own}`)
    const drawn = []
    for (let b = 0; b < nulls.count; b++) {
      const data = nulls.u.subarray(b * headDim * rank, (b + 1) * headDim * rank)
      drawn.push(await energyAlone(terms, { data, shape: [headDim, rank] }))
    }
    const { controls } = contrasts[contrast].own
    t.is(controls.nulls.count, 20)
    t.true(Math.abs(controls.nulls.mean - drawn.reduce((a, b) => a + b, 0) / 20) < 1e-5)
    // Of 20 draws the largest.
    t.true(Math.abs(controls.nulls.p95 - Math.max(...drawn)) < 1e-5)
    t.is(contrasts[contrast].own.exceedsNull, own > controls.nulls.p95)
  }
})

test('a head whose feature explains no more than null subspaces is marked so; the binding head is not', async (t) => {
  const { model, result, held } = await boxes()
  const { heads, noNull } = await attribute(model, held, { result, points: 0, examples: 0 })
  t.is(noNull, undefined)
  const binding = heads.L3H0.contrasts.order.own
  t.true(binding.energy.mean > 0.94)
  t.true(binding.controls.nulls.mean > 0.9, 'null subspaces come close')
  t.true(binding.controls.random.mean < 0.6, 'random subspaces do not')
  t.true(binding.exceedsNull)
  // Both together explain nearly all, and so does the union of their null subspaces.
  const union = heads.L3H0.contrasts.order
  t.is(union.rank, 23)
  t.true(union.energy.mean > 0.99 && union.controls.nulls.mean > 0.99)
  t.false(union.exceedsNull)
  t.true(heads.L3H0.contrasts.match.own.energy.mean > 0.99)
  // Most of its energy is explained, and by null subspaces as well.
  const { own } = heads.L2H0.contrasts.order
  t.true(own.energy.mean > 0.8)
  t.true(own.controls.nulls.p95 > own.energy.mean)
  t.false(own.exceedsNull)
})

test('subspaces of shuffled answers explain no more than null subspaces', async (t) => {
  const { model } = await boxes()
  const prompts = shuffledAnswers(boxesOrder({ ...words, prompts: 200, seed: 3 }), 5)
  const held = shuffledAnswers(boxesOrder({ ...words, prompts: 64, seed: 4 }), 6)
  const sums = await accumulate(model, prompts, { heads: 'L2H0,L2H1,L3H0,L3H2' })
  const result = await decompose(sums, { rank: { rule: 'fixed', rank: 4 }, nulls: 20 })
  disposeSums(sums)
  const { heads } = await attribute(model, held, { result, points: 0, examples: 0 })
  for (const [name, { contrasts }] of Object.entries(heads)) {
    t.is(contrasts.order.controls.nulls.count, 20)
    t.false(contrasts.order.exceedsNull, name)
  }
})

test('the order of features changes no share by default; where it does, it is named', async (t) => {
  const { model, result, held } = await boxes()
  const run = (features, options) =>
    attribute(model, held, { result, heads: 'L3H0,L3H1', features, points: 0, examples: 1, ...options })
  const [one, other] = [await run(['order', 'match']), await run(['match', 'order'])]
  for (const head of ['L3H0', 'L3H1']) {
    for (const contrast of ['order', 'match']) {
      const [a, b] = [one, other].map((r) => r.heads[head].contrasts[contrast])
      for (const name of ['order', 'match']) {
        t.true(Math.abs(a.share[name].mean - b.share[name].mean) < 1e-9)
        t.true(Math.abs(a.share[name].nulls.p95 - b.share[name].nulls.p95) < 1e-9)
      }
      t.true(Math.abs(a.energy.mean - b.energy.mean) < 1e-9)
      const sum = a.share.order.mean + a.share.match.mean
      t.true(sum > 0.5 && sum < 1.5)
    }
  }
  for (const { total, parts, rest } of one.examples[0].rows) {
    total.forEach((x, j) => {
      t.true(
        Math.abs(parts.order[j] + parts.match[j] + rest[j] - x) < 1e-6 * Math.max(...total.map(Math.abs)),
      )
    })
  }
  const [first, last] = [
    await run(['order', 'match'], { method: 'residualize' }),
    await run(['match', 'order'], { method: 'residualize' }),
  ]
  t.deepEqual(first.order, ['order', 'match'])
  t.deepEqual(last.order, ['match', 'order'])
  const share = (r) => r.heads.L3H0.contrasts.order.share.order.mean
  t.true(Math.abs(share(first) - share(last)) > 0.1)
})

test('whole rows and both sides have their controls too', async (t) => {
  const { model, result, held } = await boxes()
  const options = { result, heads: 'L3H0', points: 0, examples: 0, contrast: 'order', randoms: 3 }
  /** @type {Partial<import('../dist/index.js').AttributeOptions>[]} */
  const variants = [{ keys: 'all' }, { sides: 'key' }, { sides: 'both' }, { method: 'orthogonalize' }]
  for (const more of variants) {
    const { heads } = await attribute(model, held.slice(0, 16), { ...options, ...more })
    t.deepEqual(Object.keys(heads.L3H0.contrasts), ['order'])
    const { energy, controls, own } = heads.L3H0.contrasts.order
    for (const { nulls, keys, meanQuery, random } of [controls, own.controls]) {
      t.is(nulls.count, 20)
      t.is(random.count, 3)
      for (const x of [nulls.mean, nulls.p95, keys, meanQuery, random.mean]) {
        t.true(x < 1 + 1e-9)
      }
    }
    t.true(energy.mean > controls.random.mean && energy.mean <= 1)
  }
})

test('results without null subspaces say so, those of earlier files too', async (t) => {
  const { model, result, held } = await boxes()
  const options = { heads: 'L3H0', points: 0, examples: 0, randoms: 0 }
  /** @returns {[string, import('../dist/index.js').ContrastSubspace]} */
  const bare = (name) => {
    const { nulls, directions, ...kept } = result.head('L3H0').contrast(name)
    return [name, kept]
  }
  const info = { ...result.info, heads: { L3H0: result.info.heads.L3H0 } }
  const file = path.join(folder, 'old.safetensors')
  await new Result(info, new Map([['L3H0', new Map(['order', 'match'].map(bare))]])).save(file)
  const report = await attribute(model, held, { ...options, result: await loadResult(file) })
  t.is(report.noNull, 'no null: the result was made without null subspaces')
  const { own, exceedsNull } = report.heads.L3H0.contrasts.order
  t.is(exceedsNull, null)
  t.deepEqual(own.controls, { nulls: null, keys: null, meanQuery: null, random: null })
  const sums = await accumulate(model, held, { heads: 'L3H0' })
  const energy = await decompose(sums, { rank: ENERGY })
  disposeSums(sums)
  t.regex((await attribute(model, held, { ...options, result: energy })).noNull, /^no null/)
})

test('features are measured on the terms of their own contrasts, or of one that is named', async (t) => {
  const { model, result } = await boxes()
  const other = boxesOrder({ ...words, prompts: 8, seed: 5 }).map(({ contrast, ...prompt }) => ({
    ...prompt,
    contrast: 'places',
  }))
  const options = { result, heads: 'L3H0', points: 0 }
  await t.throwsAsync(attribute(model, other, options), {
    code: 'ERR_ARGUMENT',
    message: /no prompt has terms of "order", "match"/,
  })
  const { heads } = await attribute(model, other, { ...options, contrast: 'places' })
  t.is(heads.L3H0.contrasts.places.own, null)
  t.is(heads.L3H0.contrasts.places.rows, 8)
  // @ts-expect-error keys that are none of the choices
  await t.throwsAsync(attribute(model, other, { ...options, keys: 'some' }), { code: 'ERR_ARGUMENT' })
})
