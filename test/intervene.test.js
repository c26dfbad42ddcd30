/** `intervene` and `attribute` over prompt sets of the bundled models. */

import test from 'ava'
import { bundledFile, bundledWords } from '../dist/bundled/files.js'
import {
  accumulate,
  attribute,
  attributeArrays,
  boxesOrder,
  boxesUnused,
  decompose,
  disposeSums,
  intervene,
  openModel,
} from '../dist/index.js'
import { capturedRows } from './helpers/edits.js'
import { relativeDifference } from './helpers/linear-algebra.js'
import { ENERGY } from './helpers/rank-rules.js'

const base = { ...bundledWords(), prompts: 160, seed: 1 }

let opened
/** The model and subspaces of two contrasts, made once. */
function boxes() {
  opened ??= (async () => {
    const model = await openModel(bundledFile('boxes.onnx'), {
      tokenizer: bundledFile('boxes.tokenizer.json'),
    })
    const sums = await accumulate(model, [...boxesOrder(base), ...boxesUnused({ ...base, seed: 2 })])
    const result = await decompose(sums, { rank: ENERGY })
    disposeSums(sums)
    return { model, result, held: boxesOrder({ ...base, prompts: 48, seed: 99 }) }
  })()
  return opened
}

test('the joint swap turns attention and answer; controls of its rank do not', async (t) => {
  const { model, result, held } = await boxes()
  const report = await intervene(model, held, {
    result,
    heads: 'L3H0',
    randoms: 4,
    seed: 3,
    features: ['order', ['order', 'unused']],
  })
  t.is(report.terms, 48)
  t.deepEqual(report.heads, ['L3H0'])
  const of = (kind, features) =>
    report.variants.find((v) => v.kind === kind && v.features.join() === features.join())
  const joint = of('features', ['order', 'unused'])
  const { flipRate, moved, origin, target } = joint.heads.L3H0
  t.true(flipRate.mean >= 0.5 && moved.mean > 0.8)
  t.true(origin.before.mean > 0.9 && origin.after.mean < 0.1 && target.after.mean > 0.8)
  t.true(joint.output.accuracy.before.mean > 0.95 && joint.output.accuracy.after.mean < 0.1)
  t.true(joint.output.targetRate.after.mean > 0.9)
  t.true(joint.output.answerLogProb.after.mean < joint.output.answerLogProb.before.mean - 1)
  t.true(flipRate.low <= flipRate.mean && flipRate.mean <= flipRate.high)
  t.true(of('random', ['order']).heads.L3H0.flipRate.mean < 0.15)
  t.is(of('random', ['order']).draws, 4)
  t.true(of('complement', ['order', 'unused']).heads.L3H0.moved.mean < 0.05)
  const whole = of('whole', [])
  t.true(Math.abs(whole.heads.L3H0.origin.after.mean - whole.heads.L3H0.target.before.mean) < 1e-5)
  t.true(Math.abs(whole.heads.L3H0.target.after.mean - whole.heads.L3H0.origin.before.mean) < 1e-5)
})

test('strength zero changes nothing; the same seed gives the same report', async (t) => {
  const { model, result, held } = await boxes()
  const options = { result, heads: 'L2H0,L3H0', features: ['order'], randoms: 1 }
  const still = await intervene(model, held.slice(0, 8), { ...options, strength: 0 })
  for (const { heads, output } of still.variants) {
    t.true(output.kl.mean < 1e-6)
    for (const { origin } of Object.values(heads)) {
      t.true(Math.abs(origin.after.mean - origin.before.mean) < 1e-6)
    }
  }
  const [a, b] = [
    await intervene(model, held.slice(0, 8), options),
    await intervene(model, held.slice(0, 8), options),
  ]
  t.deepEqual(a, b)
})

test('other edits: ablation to zero and to the mean, scaling, patching from a counterfactual', async (t) => {
  const { model, result, held } = await boxes()
  const options = { result, heads: 'L3H0', features: ['order'], randoms: 0 }
  const run = async (prompts, more) => {
    const { variants } = await intervene(model, prompts, { ...options, ...more })
    return variants.find((v) => v.kind === 'features')
  }
  const some = held.slice(0, 12)
  const zero = await run(some, { edit: 'ablate' })
  const mean = await run(some, { edit: 'ablate', to: 'mean' })
  t.true(zero.heads.L3H0.origin.after.mean < zero.heads.L3H0.origin.before.mean)
  t.not(zero.heads.L3H0.origin.after.mean, mean.heads.L3H0.origin.after.mean)
  const more = await run(some, { edit: 'scale', factor: 1.5 })
  t.true(more.heads.L3H0.origin.after.mean > more.heads.L3H0.origin.before.mean)
  const counterfactual = boxesUnused({ ...base, prompts: 12, seed: 5 })
  const patched = await run(counterfactual, { edit: 'patch', side: 'query', contrast: 'unused' })
  t.is(patched.heads.L3H0.target, undefined)
  t.true(patched.heads.L3H0.origin.after.mean < patched.heads.L3H0.origin.before.mean - 0.1)
})

test('features that span a whole head make the random control vacuous', async (t) => {
  const { model, held } = await boxes()
  const sums = await accumulate(model, held, { heads: 'L3H0' })
  const result = await decompose(sums, { rank: { rule: 'fixed', rank: 32 } })
  disposeSums(sums)
  const { variants } = await intervene(model, held.slice(0, 4), { result })
  const random = variants.find((v) => v.kind === 'random')
  t.true(random.vacuous)
  t.deepEqual(random.heads, {})
})

test('attribution adds up, and is that of the rows captured alone', async (t) => {
  const { model, result, held } = await boxes()
  /** @type {Partial<import('../dist/index.js').AttributeOptions>} */
  const plain = { method: 'residualize', keys: 'all', centered: false }
  const report = await attribute(model, held, { result, heads: 'L3H0,L1H2', examples: 3, ...plain })
  t.is(report.rows, 48)
  t.is(report.examples.length, 3)
  for (const { tokens, words, rows } of report.examples) {
    t.is(words.length, tokens.length)
    t.deepEqual(
      rows.map((r) => r.head),
      ['L1H2', 'L3H0'],
    )
    for (const { head, total, parts, rest, query } of rows) {
      const sum = total.map((_, j) => Object.values(parts).reduce((s, part) => s + part[j], rest[j]))
      t.true(relativeDifference(sum, total) < 1e-6)
      const [layer, h] = head.match(/\d+/g).map(Number)
      const { q, k } = await capturedRows(model, layer, h, { run: { ids: tokens }, query })
      const d = q.length
      const alone = attributeArrays({
        q: { data: Float64Array.from(q), shape: [1, d] },
        k: { data: Float64Array.from(k.flat()), shape: [1, k.length, d] },
        scale: model.sites[layer].scale,
        method: 'residualize',
        centered: false,
        features: ['order', 'unused'].map((name) => {
          const { u, rank } = result.head(head).contrast(name)
          return { name, u: { data: u, shape: [d, rank] } }
        }),
      })
      t.true(relativeDifference(total, alone.total) < 1e-5)
      t.true(relativeDifference(parts.order, alone.parts.order) < 1e-4)
    }
  }
  t.is(report.examples[0].rows[0].contrast, 'order')
  t.deepEqual(Object.keys(report.heads.L3H0.contrasts), ['order'])
  const { mean, energy, share } = report.heads.L3H0.contrasts.order
  t.true(mean.low <= mean.mean && mean.mean <= mean.high && energy.mean <= 1)
  t.deepEqual(Object.keys(share), ['order', 'unused'])
})

test('both sides give the table, whose row sums are the query side', async (t) => {
  const { model, result, held } = await boxes()
  const options = { result, heads: 'L3H0', examples: 1 }
  const few = held.slice(0, 4)
  const query = await attribute(model, few, options)
  const both = await attribute(model, few, { ...options, sides: 'both' })
  const [a, b] = [query, both].map((r) => r.examples[0].rows[0])
  t.deepEqual(b.table.names, ['order', 'unused', 'rest'])
  t.true(relativeDifference(b.parts.order, a.parts.order) < 1e-6)
})

test('what cannot be done is said', async (t) => {
  const { model, result, held } = await boxes()
  const refused = (options, expected, prompts = held.slice(0, 2)) =>
    t.throwsAsync(intervene(model, prompts, options), expected)
  await refused({}, { code: 'ERR_TYPE', message: /result/ })
  await refused({ result, heads: 'L9H0' }, { code: 'ERR_UNKNOWN_HEAD' })
  await refused({ result, features: ['colour'] }, { code: 'ERR_UNKNOWN_CONTRAST' })
  await refused({ result, features: [] }, { code: 'ERR_ARGUMENT' })
  await refused({ result, to: 'mean' }, { code: 'ERR_ARGUMENT', message: /ablate/ })
  await refused({ result, edit: 'erase' }, { code: 'ERR_ARGUMENT', message: /swap, patch/ })
  await refused({ result, strenght: 1 }, { code: 'ERR_ARGUMENT', message: /strenght/ })
  await refused({ result, side: 'query' }, { code: 'ERR_ARGUMENT', message: /swapped/ })
  await refused({ result, contrast: 'colour' }, { code: 'ERR_ARGUMENT', message: /colour/ })
  await refused({ result, output: 'hidden' }, { code: 'ERR_ARGUMENT', message: /hidden/ })
  await refused(
    { result },
    { code: 'ERR_PROMPT', message: /negative key in the same run/ },
    boxesUnused({ ...base, prompts: 1 }),
  )
  const controller = new AbortController()
  controller.abort()
  await refused({ result, signal: controller.signal }, { code: 'ERR_ABORTED' })
  // @ts-expect-error a misspelt option
  await t.throwsAsync(attribute(model, held, { result, methd: 'x' }), { message: /methd/ })
  // @ts-expect-error a method that there is not
  await t.throwsAsync(attribute(model, held, { result, method: 'split' }), { code: 'ERR_ARGUMENT' })
})

test('an abort in the middle ends an intervention', async (t) => {
  const { model, result, held } = await boxes()
  const controller = new AbortController()
  const options = { result, batchSize: 4, signal: controller.signal, onProgress: () => controller.abort() }
  await t.throwsAsync(intervene(model, held, options), { code: 'ERR_ABORTED' })
  await t.throwsAsync(attribute(model, held, options), { code: 'ERR_ABORTED' })
})
