/** `capture`: activations by name, as the formulas give them, also while the model writes on. */

import test from 'ava'
import { capture, captureMany, openModel } from '../dist/index.js'
import { sharedModel, temporaryFolder, withSharedModels } from './helpers/files.js'
import { relativeDifference, visibleScores } from './helpers/linear-algebra.js'
import { writeTinyModel } from './helpers/tiny-model.js'
import { TINY, tinyReference } from './helpers/tiny-weights.js'

const folder = temporaryFolder(test)
const shared = withSharedModels(test)
const tokens = [1, 5, 7, 3, 5, 9]
const { heads, kvHeads, headDim: d } = TINY

/** scale q·k, causal, as [head][query][key]. */
function scoresOf({ q, k }) {
  return Array.from({ length: heads }, (_, h) =>
    tokens.map((_, i) =>
      tokens.map((__, j) => {
        const key = k[j][Math.floor((h * kvHeads) / heads)]
        return j > i
          ? Number.NEGATIVE_INFINITY
          : q[i][h].reduce((sum, x, c) => sum + x * key[c], 0) / Math.sqrt(d)
      }),
    ),
  )
}

for (const variant of [
  {},
  { product: 'einsum' },
  { fold: 'plain' },
  { fold: 'untraceable' },
  { repeat: 'gather' },
]) {
  test(`queries, keys, scores and pattern: ${JSON.stringify(variant)}`, async (t) => {
    const model = await openModel(writeTinyModel(folder, { seed: 21, ...variant }))
    const { sites, activations, newTokens } = await capture(
      model,
      { tokens },
      { scores: true, pattern: true },
    )
    const want = tinyReference(tokens, { seed: 21 })
    const expected = scoresOf(want)
    const at = (name) => activations[`blocks.0.attn.${name}`]
    t.is(newTokens, 0)
    t.deepEqual(sites[0].heads, ['L0H0', 'L0H1', 'L0H2', 'L0H3'])
    t.true(sites[0].relativeError < 1e-5)
    t.deepEqual(at('hook_rot_q').shape, [1, tokens.length, heads, d])
    t.deepEqual(at('hook_rot_k').shape, [1, tokens.length, kvHeads, d])
    t.true(relativeDifference(at('hook_rot_q').data, want.q.flat(2)) < 1e-5)
    t.true(relativeDifference(at('hook_rot_k').data, want.k.flat(2)) < 1e-5)
    t.deepEqual(at('hook_attn_scores').shape, [1, heads, tokens.length, tokens.length])
    t.true(
      relativeDifference(visibleScores(at('hook_attn_scores').data), visibleScores(expected.flat(2))) < 1e-5,
    )
    const pattern = expected.flat().flatMap((row) => {
      const weights = row.map((s) => Math.exp(s))
      const sum = weights.reduce((a, b) => a + b)
      return weights.map((w) => w / sum)
    })
    t.true(relativeDifference(at('hook_pattern').data, pattern) < 1e-5)
  })
}

test('some heads alone, in their order, with the key heads that they read', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 22 }))
  const { sites, activations } = await capture(model, { tokens }, { heads: 'L0H3,L0H1', pattern: true })
  const all = (await capture(model, { tokens }, { pattern: true })).activations
  t.deepEqual(sites[0].heads, ['L0H1', 'L0H3'])
  t.deepEqual(sites[0].kvHeads, [0, 1])
  const size = tokens.length ** 2
  const pattern = activations['blocks.0.attn.hook_pattern'].data
  const whole = all['blocks.0.attn.hook_pattern'].data
  t.deepEqual([...pattern.subarray(0, size)], [...whole.subarray(size, 2 * size)])
  t.deepEqual([...pattern.subarray(size)], [...whole.subarray(3 * size)])
})

test('a model without a cache writes on by running the text again', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 23 }))
  const written = await capture(model, { tokens }, { newTokens: 3, output: 'output', scores: true })
  t.is(written.newTokens, 3)
  t.is(written.tokens.length, tokens.length + 3)
  const again = await capture(model, { tokens: written.tokens }, { scores: true })
  for (const [name, { data }] of Object.entries(again.activations)) {
    t.deepEqual(written.activations[name].data, data)
  }
})

test('int64 inputs may be BigInt64Arrays', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 24 }))
  const { activations } = await capture(model, { tokens })
  const ids = BigInt64Array.from(tokens, BigInt)
  for (const given of [ids, Int32Array.from(tokens)]) {
    const found = await capture(model, { tokens: given })
    t.deepEqual(found.tokens, tokens)
    t.deepEqual(found.activations, activations)
  }
  const shape = [1, tokens.length]
  const mask = { data: new BigInt64Array(tokens.length).fill(1n), shape }
  const whole = (data) => capture(model, { inputs: { input_ids: { data, shape }, attention_mask: mask } })
  t.deepEqual((await whole(ids)).activations, activations)
  for (const { index, value, shown } of [
    { index: 2, value: -1n, shown: '-1' },
    { index: 0, value: 2n ** 60n, shown: '1152921504606846976' },
  ]) {
    const wrong = ids.slice()
    wrong[index] = value
    await t.throwsAsync(capture(model, { tokens: wrong }), {
      code: 'ERR_PROMPT',
      message: `the prompt: tokens[${index}] is ${shown}, which is not a token id`,
    })
    await t.throwsAsync(whole(wrong), {
      code: 'ERR_PROMPT',
      message: /^input "input_ids": input_ids\[\d\] is -?\d+, expected a token id$/,
    })
  }
  await t.throwsAsync(whole([...tokens.slice(1), 0.5]), { code: 'ERR_PROMPT', message: /\[5\] is 0\.5/ })
})

test('wrong requests are refused by name', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 24 }))
  // @ts-expect-error a path in the place of the model
  await t.throwsAsync(capture('model.onnx', { tokens }), { code: 'ERR_TYPE' })
  await t.throwsAsync(capture(model, {}), { code: 'ERR_PROMPT' })
  await t.throwsAsync(capture(model, { tokens: [] }), { code: 'ERR_PROMPT', message: /not empty/ })
  // @ts-expect-error a string among the token ids
  await t.throwsAsync(capture(model, { tokens: [1, 'a'] }), {
    code: 'ERR_PROMPT',
    message: /tokens\[1\] is a/,
  })
  await t.throwsAsync(capture(model, { tokens, text: 'a' }), { code: 'ERR_PROMPT', message: /not 2/ })
  // @ts-expect-error labels, which a capture does not take
  await t.throwsAsync(capture(model, { tokens, labels: [] }), { code: 'ERR_ARGUMENT', message: /labels/ })
  // @ts-expect-error a misspelt option
  await t.throwsAsync(capture(model, { tokens }, { head: 'L0H0' }), { code: 'ERR_ARGUMENT', message: /head/ })
  await t.throwsAsync(capture(model, { tokens }, { heads: 'L7H0' }), { code: 'ERR_UNKNOWN_HEAD' })
  await t.throwsAsync(capture(model, { tokens }, { newTokens: -1 }), { code: 'ERR_ARGUMENT' })
  await t.throwsAsync(capture(model, { tokens }, { newTokens: 1 }), { code: 'ERR_UNSUPPORTED_MODEL' })
  await t.throwsAsync(capture(model, { tokens }, { newTokens: 1, output: 'logit' }), {
    code: 'ERR_ARGUMENT',
    message: /no output "logit"/,
  })
  await t.throwsAsync(capture(model, { inputs: { x: { data: [1], shape: [1] } } }), {
    code: 'ERR_ARGUMENT',
    message: /no "x"/,
  })
  const stop = new AbortController()
  stop.abort()
  await t.throwsAsync(capture(model, { tokens }, { signal: stop.signal }), { code: 'ERR_ABORTED' })
})

shared(
  'keys gathered from a cache, one row of queries a step, are those of the text run again',
  async (t) => {
    const text = 'Once upon a time'
    const [eager, cached] = await Promise.all(
      ['eager', 'gqa'].map(async (name) => {
        const model = await openModel(sharedModel(`babyllama-105/${name}.onnx`), {
          tokenizer: sharedModel('babyllama-105/tokenizer.json'),
        })
        return capture(model, { text }, { newTokens: 20, scores: true, pattern: true })
      }),
    )
    t.deepEqual(cached.tokens, eager.tokens)
    t.is(cached.newTokens, 20)
    t.is(Object.keys(cached.activations).length, 20)
    for (const [name, { shape, data }] of Object.entries(eager.activations)) {
      const other = cached.activations[name]
      t.deepEqual(other.shape, shape)
      t.true(relativeDifference(visibleScores(other.data), visibleScores(data)) < 1e-5, name)
    }
    for (const { relativeError } of cached.sites) {
      t.true(relativeError < 1e-5)
    }
  },
)

const many = async (/** @type {Parameters<typeof captureMany>} */ ...args) => {
  const found = []
  for await (const one of captureMany(...args)) {
    found.push(one)
  }
  return found
}

for (const options of [
  {},
  { fold: 'untraceable' },
  { half: true },
  { attention: 'GroupQueryAttention', headDim: 16 },
]) {
  test(`captureMany gives what capture does, prompt by prompt: ${JSON.stringify(options)}`, async (t) => {
    const model = await openModel(writeTinyModel(folder, { seed: 25, ...options }))
    const prompts = [{ tokens, id: 'first' }, { tokens: [3, 4] }, { tokens: [9, 8, 7, 6, 5, 4, 3, 2] }]
    const what = { heads: 'L0H1,L0H2', scores: true, pattern: true }
    const found = await many(model, prompts, what)
    t.deepEqual(
      found.map(({ where }) => where),
      ['prompt first', 'prompt 1', 'prompt 2'],
    )
    for (const [i, { prompt, ...one }] of found.entries()) {
      t.is(prompt, prompts[i])
      const alone = await capture(model, { tokens: prompts[i].tokens }, what)
      t.deepEqual(one.tokens, alone.tokens)
      t.is(one.newTokens, 0)
      const limit = options.half ? 1e-2 : 1e-5
      one.sites.forEach(({ relativeError, ...site }, s) => {
        const { relativeError: own, ...same } = alone.sites[s]
        t.deepEqual(site, same)
        t.true(relativeError < limit && own < limit)
      })
      t.deepEqual(Object.keys(one.activations), Object.keys(alone.activations))
      for (const [name, { data, shape, dtype }] of Object.entries(alone.activations)) {
        const other = one.activations[name]
        t.deepEqual([other.shape, other.dtype], [shape, dtype])
        if (dtype === 'f32') {
          t.true(relativeDifference(visibleScores(other.data), visibleScores(data)) < 1e-5, name)
        } else {
          t.deepEqual(other.data.length, data.length)
        }
      }
    }
    // Memory is used again for later prompts, and what was given out stays as it was.
    const [first] = await many(model, [prompts[0]], what)
    t.deepEqual(found[0].activations, first.activations)
  })
}

test('captureMany takes prompts of tensors, and the prompt itself of a counterfactual one', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 26 }))
  const [{ activations }] = await many(model, [{ tokens }])
  const ids = { data: tokens, shape: [tokens.length] }
  const mask = { data: tokens.map(() => 1), shape: [tokens.length] }
  const terms = [{ query: -1, positive: [1] }]
  const counterfactual = { tokens: [2, 3], terms: [{ query: -1, negative: [0] }] }
  const [given, changed] = await many(model, [
    { inputs: { input_ids: ids, attention_mask: mask } },
    { tokens, contrast: 'c', terms, counterfactual },
  ])
  t.is(given.tokens, undefined)
  t.deepEqual(given.activations, activations)
  t.deepEqual(changed.activations, activations)
})

test('captureMany verifies every prompt, the beginning of one that is long', async (t) => {
  // 2^13 tokens by the square root of four heads are 4096.
  const model = await openModel(writeTinyModel(folder, { seed: 27, heads: 4, rope: false }))
  const long = Array.from({ length: 4100 }, (_, i) => 3 + (i % 17))
  const [short, first, again] = await many(model, [{ tokens }, { tokens: long }, { tokens }])
  t.deepEqual(first.activations['blocks.0.attn.hook_q'].shape, [1, 4100, 4, 4])
  t.true(first.sites[0].relativeError < 1e-5)
  t.deepEqual(again.activations, short.activations)
  model.sites[0].operandScale *= 1.01
  for (const prompts of [[{ tokens }], [{ tokens: long }]]) {
    await t.throwsAsync(many(model, prompts), {
      code: 'ERR_CAPTURE_MISMATCH',
      message: /layer 0 .*relative error 1\.0e-2/,
    })
  }
})

test('captureMany makes no prompt before it is asked for, and refuses wrong input by name', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 28 }))
  let asked = 0
  const set = {
    *[Symbol.iterator]() {
      for (let i = 0; i < 5; i++) {
        asked += 1
        yield { tokens }
      }
    },
  }
  for await (const { where } of captureMany(model, set)) {
    t.is(where, `prompt ${asked - 1}`)
    if (asked === 2) {
      break
    }
  }
  t.is(asked, 2)
  const refused = (prompts, options, expected) => t.throwsAsync(many(model, prompts, options), expected)
  // @ts-expect-error an object that is no model
  await t.throwsAsync(many({}, [{ tokens }]), { code: 'ERR_TYPE' })
  await refused([], {}, { code: 'ERR_PROMPT', message: /empty/ })
  await refused({ tokens }, {}, { code: 'ERR_TYPE', message: /iterable/ })
  await refused([{ tokens }, { tokens: [99] }], {}, { code: 'ERR_PROMPT', message: /prompt 1/ })
  await refused([{ text: 'a' }], {}, { code: 'ERR_TOKENIZER' })
  await refused([{ tokens }], { newTokens: 1 }, { code: 'ERR_ARGUMENT', message: /newTokens/ })
  await refused([{ tokens }], { scores: 1 }, { code: 'ERR_TYPE', message: /scores/ })
  await refused([{ tokens }], { heads: 'L7H0' }, { code: 'ERR_UNKNOWN_HEAD' })
  const stop = new AbortController()
  stop.abort()
  await refused([{ tokens }], { signal: stop.signal }, { code: 'ERR_ABORTED' })
})
