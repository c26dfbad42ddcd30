/**
 * Whole models in every dialect, from the same weights: all give the queries and keys of the formulas, and the
 * subspaces and the effects of interventions that the model with attention written out gives.
 */

import test from 'ava'
import { accumulate, capture, decompose, openModel } from '../dist/index.js'
import { editor, identity, plainLogits, randomSubspace, tokenItem, zeros } from './helpers/edits.js'
import { temporaryFolder } from './helpers/files.js'
import { projector, relativeDifference } from './helpers/linear-algebra.js'
import { attributionGap, editEffect, syntheticRun } from './helpers/model-checks.js'
import { QUANTISED_MODELS, TINY_DIALECTS } from './helpers/tiny-dialects.js'
import { writeTinyModel } from './helpers/tiny-model.js'
import { TINY, tinyReference, tinySizes } from './helpers/tiny-weights.js'

const folder = temporaryFolder(test)
const open = (options) => openModel(writeTinyModel(folder, options))

const TOKENS = [1, 5, 7, 3, 5, 9, 2, 8]

/** Queries and keys of a prompt against the formulas. */
async function formulaGaps(model, options) {
  const { activations } = await capture(model, { tokens: TOKENS })
  const { q, k } = tinyReference(TOKENS, options)
  const { hooks } = model.sites[0]
  return [
    relativeDifference(activations[hooks.q].data, q.flat()),
    relativeDifference(activations[hooks.k].data, k.flat()),
  ]
}

/** Of unequal length, so that they are padded in one batch; five terms, for subspaces of rank 2. */
const PROMPTS = [
  { tokens: [1, 5, 7, 3, 5, 9], query: -1, positive: [1], negative: [2, 3] },
  { tokens: [2, 2, 8, 11, 3, 12, 4, 6, 8], query: -1, positive: [2], negative: [3, 4] },
  { tokens: [13, 4, 9], query: -1, positive: [0], negative: [1] },
  { tokens: [6, 10, 14, 15, 2], query: 3, positive: [1, 2], negative: [0] },
  { tokens: [16, 7, 18, 4, 19, 3, 11], query: -1, positive: [5], negative: [1] },
].map(({ tokens, ...term }) => ({ contrast: 'c', tokens, terms: [term] }))

async function subspaces(model) {
  const sums = await accumulate(model, PROMPTS, { batchSize: PROMPTS.length })
  return decompose(sums, { rank: { rule: 'fixed', rank: 2 } })
}

const ITEMS = [
  tokenItem(8, { origin: 2, target: 5, seed: 1 }),
  tokenItem(11, { origin: 7, target: 1, seed: 2 }),
  tokenItem(5, { origin: 0, target: 3, seed: 3 }),
]

/** How the outputs of a padded batch change by a swap of whole keys and by one in a subspace, in heads 0 and 3. */
async function outputChanges(model) {
  const heads = [0, 3]
  const { headDim: d } = model.sites[0]
  const { run, close } = await editor(model, [[0, heads]])
  const of = async (projectionOf) => (await run(ITEMS, {}, [heads.map(projectionOf)])).logits.flat()
  const before = await of(() => zeros(d))
  const whole = await of(() => identity(d))
  const part = await of((head) => randomSubspace(d, 2, 20 + head).projection)
  await close()
  const plain = (await plainLogits(model, ITEMS)).flat()
  const change = (after) => after.map((x, i) => x - before[i])
  return { untouched: relativeDifference(before, plain), whole: change(whole), part: change(part) }
}

const references = new Map()
/** What the model of the same weights gives whose attention and ending are written out. */
function reference(/** @type {Record<string, any>} */ { attention, ending, ...options }) {
  const plain = { ...options, ...(ending ? { ending: ending.replace('skip-', '') } : {}) }
  const key = JSON.stringify(plain)
  if (!references.has(key)) {
    const measure = async () => {
      const model = await open(plain)
      return { result: await subspaces(model), changes: await outputChanges(model) }
    }
    references.set(key, measure())
  }
  return references.get(key)
}

for (const { title, op, options } of TINY_DIALECTS) {
  test(`${title}: queries and keys are those of the formulas`, async (t) => {
    const model = await open(options)
    t.deepEqual(model.unsupported, [])
    t.is(model.sites.length, 1)
    const { heads, kvHeads, headDim } = tinySizes(options)
    // Keys that are repeated before the operator are captured before they are.
    t.like(model.sites[0], {
      op,
      heads,
      kvHeads,
      headDim,
      causal: true,
      cross: false,
      rotary: options.rope ?? true,
    })
    t.true(Math.abs(Number(model.sites[0].scale) - 1 / Math.sqrt(headDim)) < 1e-6)
    t.true(model.sites[0].relativeError < 1e-5)
    for (const gap of await formulaGaps(model, options)) {
      t.true(gap < 1e-4, `${gap}`)
    }
  })

  test(`${title}: subspaces are those of attention that is written out`, async (t) => {
    const result = await subspaces(await open(options))
    const { result: expected } = await reference(options)
    const { headDim } = tinySizes(options)
    t.is(result.headNames.length, TINY.heads)
    for (const head of expected.headNames) {
      const [a, b] = [result, expected].map((r) => r.head(head).contrast('c'))
      t.true(relativeDifference(a.s, b.s) < 1e-3, head)
      t.true(relativeDifference(projector(a, headDim), projector(b, headDim)) < 1e-2, head)
    }
  })

  test(`${title}: edits change the output as they do where attention is written out`, async (t) => {
    const own = await outputChanges(await open(options))
    const { changes } = await reference(options)
    t.true(own.untouched < 1e-5, `${own.untouched}`)
    t.true(Math.max(...changes.whole.map(Math.abs)) > 1e-2)
    t.true(relativeDifference(own.whole, changes.whole) < 1e-4)
    t.true(relativeDifference(own.part, changes.part) < 1e-4)
  })
}

for (const { title, options, roundedActivations = false } of QUANTISED_MODELS) {
  test(`${title}: found, captured, verified`, async (t) => {
    const model = await open(options)
    t.deepEqual(model.unsupported, [])
    t.is(model.sites.length, 1)
    const { heads, kvHeads, headDim } = tinySizes(options)
    t.like(model.sites[0], {
      heads,
      kvHeads,
      headDim,
      cross: false,
      causal: true,
      rotary: options.rope ?? true,
    })
    t.true(model.sites[0].relativeError < 1e-5)
    // Activations in 256 steps leave the formulas at a distance.
    const limit = roundedActivations ? 2e-2 : 1e-4
    for (const gap of await formulaGaps(model, options)) {
      t.true(gap < limit, `${gap}`)
    }
  })

  test(`${title}: attribution adds up, and edits act`, async (t) => {
    const model = await open(options)
    const { feeds, captured } = await syntheticRun(model)
    t.true(attributionGap(captured) < 1e-6)
    const { unchanged, moved } = await editEffect(model, { feeds, captured })
    t.true(unchanged < 1e-5, `${unchanged}`)
    t.true(moved > 1e-3, `${moved}`)
  })

  test(`${title}: a swap of whole keys swaps their attention`, async (t) => {
    const model = await open(options)
    const heads = [0, 3]
    const d = model.sites[0].headDim
    const { run, close } = await editor(model, [[0, heads]])
    const item = tokenItem(9, { origin: 2, target: 5, seed: 6 })
    const before = await run([item], {}, [heads.map(() => zeros(d))])
    const after = await run([item], {}, [heads.map(() => identity(d))])
    await close()
    heads.forEach((_, h) => {
      const expected = [...before.patterns[0][0][h]]
      ;[expected[2], expected[5]] = [expected[5], expected[2]]
      t.true(relativeDifference(after.patterns[0][0][h], expected) < 1e-5)
    })
  })
}
