/** Edits on a feature's own terms, beside null subspaces, key components and the mean query. */

import test from 'ava'
import {
  accumulate,
  boxesLexical,
  boxesOrder,
  bundledFile,
  bundledWords,
  decompose,
  disposeSums,
  intervene,
  openModel,
  orthonormalBasis,
} from '../dist/index.js'
import { editVariants, projectionsOf } from '../dist/intervention/edit-variants.js'
import { ENERGY } from './helpers/rank-rules.js'
import { shuffledAnswers } from './helpers/shuffled-answers.js'

const words = bundledWords()
const RENAMED = 'places'

/** The order prompts with their answer at another place of the question: the same text, other keys and name. */
const swapped = (prompts) =>
  prompts.map(({ terms, contrast, ...prompt }) => ({
    ...prompt,
    contrast: RENAMED,
    terms: terms.map(({ query, positive, negative }) => ({
      query,
      positive: [negative[0]],
      negative: [negative[1], positive[0]],
    })),
  }))

let made
function boxes() {
  made ??= (async () => {
    const model = await openModel(bundledFile('boxes.onnx'), {
      tokenizer: bundledFile('boxes.tokenizer.json'),
    })
    const order = boxesOrder({ ...words, prompts: 200, seed: 1 })
    const match = boxesLexical({ ...words, prompts: 200, seed: 2 }, 'question', 'match')
    const sums = await accumulate(model, [...order, ...match, ...swapped(order)])
    const result = await decompose(sums, { rank: { rule: 'fixed', rank: 4 }, nulls: 20 })
    disposeSums(sums)
    return { model, result, held: boxesOrder({ ...words, prompts: 24, seed: 11 }) }
  })()
  return made
}

const variant = ({ variants }, kind, features) =>
  variants.find((v) => v.kind === kind && v.features.join() === features.join())

test('beside every feature: null subspaces, key components of its rank, the mean query', async (t) => {
  const { result } = await boxes()
  const heads = [{ name: 'L3H0', headDim: 32 }]
  const options = { features: ['order', ['order', 'match']], nulls: 20, randoms: 3, seed: 0 }
  for (const [side, which] of /** @type {const} */ ([
    ['key', 'v'],
    ['query', 'u'],
  ])) {
    const variants = await editVariants(result, heads, { ...options, side })
    const kinds = ['features', 'null', 'keys', 'mean query', 'random', 'complement']
    t.deepEqual(
      variants.map((v) => v.kind),
      [...kinds, ...kinds, 'whole'],
    )
    const ranks = variants.map((v) => v.ranks[0])
    t.deepEqual(ranks.slice(0, 6), [4, 4, 4, 1, 4, 28])
    t.is(ranks[6], 8)
    t.is(ranks[8], 8)
    // Draw b of a union is the union of the null subspaces b of each feature.
    const of = (name, b) => {
      const { nulls, rank } = result.head('L3H0').contrast(name)
      return nulls[which].subarray(b * 32 * rank, (b + 1) * 32 * rank)
    }
    for (const b of [0, 7, 19]) {
      const both = new Float64Array(32 * 8)
      for (let i = 0; i < 32; i++) {
        both.set(of('order', b).subarray(i * 4, i * 4 + 4), i * 8)
        both.set(of('match', b).subarray(i * 4, i * 4 + 4), i * 8 + 4)
      }
      const { data, shape } = orthonormalBasis({ data: both, shape: [32, 8] })
      const [projection] = projectionsOf(variants[7], b)
      for (const i of [0, 5, 31]) {
        for (const j of [0, 9, 31]) {
          let sum = 0
          for (let r = 0; r < shape[1]; r++) {
            sum += data[i * shape[1] + r] * data[j * shape[1] + r]
          }
          t.true(Math.abs(sum - projection[i * 32 + j]) < 1e-5)
        }
      }
    }
    const [mean] = projectionsOf(variants[3], 0)
    const { meanQuery } = result.head('L3H0').contrast('order').directions
    t.true(Math.abs(mean[1 * 32 + 2] - meanQuery[1] * meanQuery[2]) < 1e-5)
  }
})

test('a feature is edited on the terms of its own contrast, a union on those of all its contrasts', async (t) => {
  const { model, result, held } = await boxes()
  const options = {
    result,
    heads: 'L3H0',
    nulls: 2,
    randoms: 1,
    features: ['order', RENAMED, ['order', RENAMED]],
  }
  const mixed = held.flatMap((prompt, i) => [prompt, ...(i < 10 ? swapped([prompt]) : [])])
  const together = await intervene(model, mixed, { ...options, batchSize: 5 })
  t.is(together.terms, 34)
  const [alone, other] = [
    await intervene(model, held, { ...options, features: ['order'] }),
    await intervene(model, swapped(held.slice(0, 10)), { ...options, features: [RENAMED] }),
  ]
  for (const kind of ['features', 'null', 'keys', 'mean query', 'complement']) {
    t.is(variant(together, kind, ['order']).terms, 24)
    t.deepEqual(variant(together, kind, ['order']).contrasts, ['order'])
    t.is(variant(together, kind, [RENAMED]).terms, 10)
    t.is(variant(together, kind, ['order', RENAMED]).terms, 34)
    for (const [report, name] of [
      [alone, 'order'],
      [other, RENAMED],
    ]) {
      const before = (r) => variant(r, kind, [name]).heads.L3H0.origin.before.mean
      t.true(Math.abs(before(together) - before(report)) < 1e-6, `${kind} of ${name}`)
    }
  }
  // The answer's key is looked at, the other's is not.
  t.true(variant(together, 'features', ['order']).heads.L3H0.origin.before.mean > 0.8)
  t.true(variant(together, 'features', [RENAMED]).heads.L3H0.origin.before.mean < 0.05)
  const named = await intervene(model, mixed, { ...options, contrast: 'order' })
  t.true(named.variants.every((v) => v.terms === 24 || v.draws === 0))
  const missing = await intervene(model, held, options)
  t.is(variant(missing, 'features', [RENAMED]).terms, 0)
  t.deepEqual(variant(missing, 'features', [RENAMED]).heads, {})
  t.is(variant(missing, 'features', ['order', RENAMED]).terms, 24)
  await t.throwsAsync(intervene(model, held, { ...options, features: ['match'] }), {
    code: 'ERR_ARGUMENT',
    message: /no prompt has terms of "match"/,
  })
})

test('where the origin has less than 0.05 of the attention there is nothing to move', async (t) => {
  const { model, result, held } = await boxes()
  const report = await intervene(model, swapped(held), {
    result,
    heads: 'L3H0',
    features: [RENAMED],
    nulls: 19,
    randoms: 0,
  })
  const { origin, moved, deltaP, exceedsNull } = variant(report, 'features', [RENAMED]).heads.L3H0
  t.true(origin.before.mean < 0.05)
  t.is(moved, null)
  t.true(Number.isFinite(deltaP.mean))
  t.is(exceedsNull.moved, null)
  t.is(typeof exceedsNull.deltaP, 'boolean')
  t.is(variant(report, 'null', [RENAMED]).heads.L3H0.p95.moved, null)
})

test('figures of null subspaces: means over draws, percentiles of their mean effects, and what exceeds them', async (t) => {
  const { model, result, held } = await boxes()
  const options = { result, heads: 'L3H0', features: ['order'], randoms: 0 }
  const report = await intervene(model, held, options)
  const nulls = variant(report, 'null', ['order'])
  t.is(nulls.draws, 20)
  const { exceedsNull, flipRate, moved } = variant(report, 'features', ['order']).heads.L3H0
  const { p95 } = nulls.heads.L3H0
  t.is(exceedsNull.flipRate, flipRate.mean > p95.flipRate)
  t.is(exceedsNull.moved, moved.mean > p95.moved)
  t.true(p95.moved >= nulls.heads.L3H0.moved.mean)
  t.true(nulls.output.p95.kl >= nulls.output.kl.mean)
  const { kl } = variant(report, 'features', ['order']).output
  t.is(variant(report, 'features', ['order']).output.exceedsNull.kl, kl.mean > nulls.output.p95.kl)
  // A single draw is its own percentile.
  const one = variant(await intervene(model, held, { ...options, nulls: 1 }), 'null', ['order'])
  t.true(Math.abs(one.heads.L3H0.p95.moved - Math.abs(one.heads.L3H0.moved.mean)) < 1e-9)
  t.true(Math.abs(one.output.p95.kl - one.output.kl.mean) < 1e-9)
  const none = await intervene(model, held.slice(0, 2), { ...options, nulls: 0 })
  t.is(variant(none, 'null', ['order']), undefined)
  t.is(none.noNull, 'no null: null subspaces were left out')
  await t.throwsAsync(intervene(model, held, { ...options, nulls: -1 }), { code: 'ERR_ARGUMENT' })
})

test('subspaces of shuffled answers flip no more than null subspaces', async (t) => {
  const { model } = await boxes()
  const prompts = shuffledAnswers(boxesOrder({ ...words, prompts: 200, seed: 3 }), 5)
  const sums = await accumulate(model, prompts, { heads: 'L3H0,L3H2' })
  const result = await decompose(sums, { rank: { rule: 'fixed', rank: 4 }, nulls: 20 })
  disposeSums(sums)
  for (const heads of ['L3H0', 'L3H2']) {
    const report = await intervene(model, boxesOrder({ ...words, prompts: 48, seed: 4 }), {
      result,
      heads,
      randoms: 0,
      batchSize: 48,
    })
    const { exceedsNull } = variant(report, 'features', ['order']).heads[heads]
    t.false(exceedsNull.flipRate, heads)
    t.false(exceedsNull.moved ?? false, heads)
    t.false(variant(report, 'features', ['order']).output.exceedsNull.kl, heads)
  }
})

test('a result without null subspaces says so; progress counts runs', async (t) => {
  const { model, held } = await boxes()
  const sums = await accumulate(model, held, { heads: 'L3H0' })
  const result = await decompose(sums, { rank: ENERGY })
  disposeSums(sums)
  const seen = []
  const report = await intervene(model, held, {
    result,
    randoms: 2,
    onProgress: (progress) => seen.push(progress),
  })
  t.is(report.noNull, 'no null: the result was made without null subspaces')
  t.is(variant(report, 'features', ['order']).heads.L3H0.exceedsNull, null)
  t.deepEqual([...new Set(report.variants.map((v) => v.kind))], ['features', 'random', 'complement', 'whole'])
  // Two batches of one run as it is, and five edited.
  t.is(seen.length, 12)
  t.is(seen.at(-1).fraction, 1)
  t.is(seen.at(-1).prompts, 24)
  t.true(seen.every(({ fraction }, i) => i === 0 || fraction >= seen[i - 1].fraction))
})
