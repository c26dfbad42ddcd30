/** Models whose inputs are not token ids: tensors from `.npy` rows or in place, against float64 formulas. */

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { accumulate, decompose, explain, openModel, readPrompts } from '../dist/index.js'
import { seededRandom } from '../dist/math/random.js'
import { writeNpy } from '../dist/store/npy.js'
import { explanationGap } from './helpers/explanations.js'
import { temporaryFolder } from './helpers/files.js'
import { GraphBuilder, valueInfo } from './helpers/graph-builder.js'
import { naiveCovariances, relativeDifference } from './helpers/linear-algebra.js'
import { ENERGY } from './helpers/rank-rules.js'

const folder = temporaryFolder(test)
const [width, d, context, count] = [6, 4, 5, 23]
const random = seededRandom(7)
const gaussian = (n) => Float32Array.from({ length: n }, () => random.normal())
const wq = gaussian(width * d)
const wk = gaussian(width * d)
const queries = gaussian(count * width)
const contexts = gaussian(count * context * width)

/**
 * One head without a head axis; `spelling` is how its scores are written.
 * @param {string} spelling
 * @param {string | number} [batch]
 */
function writeModel(spelling, batch = 'batch') {
  const g = new GraphBuilder()
  const k = g.node('MatMul', ['context', g.float('w_k', [width, d], wk)])
  const q = g.node('MatMul', ['query', g.float('w_q', [width, d], wq)])
  let scores
  if (spelling === 'einsum') {
    scores = g.node('Einsum', [q, k], { equation: 'bd,btd->bt' })
  } else if (spelling === 'keys first') {
    const column = g.node('Unsqueeze', [q, g.ints([2])])
    scores = g.node('Squeeze', [g.node('MatMul', [k, column]), g.ints([2])])
  } else {
    const row = g.node('Unsqueeze', [q, g.ints([1])])
    scores = g.node('MatMul', [row, g.node('Transpose', [k], { perm: [0, 2, 1] })])
  }
  scores = g.node('Div', [scores, g.float('root', [], [Math.sqrt(d)])])
  let pattern = g.node('Softmax', [scores], { axis: -1 })
  if (spelling !== 'queries first') {
    pattern = g.node('Unsqueeze', [pattern, g.ints([1])])
  }
  g.node('MatMul', [pattern, k], {}, 'y')
  const inputs = [valueInfo('query', 1, [batch, width]), valueInfo('context', 1, [batch, context, width])]
  return g.write(path.join(folder, `${spelling}-${batch}.onnx`), inputs, ['y'])
}

const row = (x, w) => Array.from({ length: d }, (_, c) => x.reduce((s, v, i) => s + v * w[i * d + c], 0))
const rowsOf = (data, i) => Array.from(data.subarray(i * width, (i + 1) * width))
const term = (i) => ({ query: 0, positive: [i % context], negative: [(i + 1) % context, (i + 2) % context] })
const want = naiveCovariances(
  Array.from({ length: count }, (_, i) => ({
    q: row(rowsOf(queries, i), wq),
    pos: term(i).positive.map((t) => row(rowsOf(contexts, i * context + t), wk)),
    neg: term(i).negative.map((t) => row(rowsOf(contexts, i * context + t), wk)),
  })),
  d,
)

async function check(t, model, prompts) {
  const result = await decompose(await accumulate(model, prompts), { rank: ENERGY, keepCovariances: true })
  const { cPos, cNeg } = result.head('L0H0').contrast('c')
  t.true(relativeDifference(cPos, want.cPos) < 1e-5)
  t.true(relativeDifference(cNeg, want.cNeg) < 1e-5)
}

const inPlace = Array.from({ length: count }, (_, i) => ({
  contrast: 'c',
  inputs: {
    query: { data: queries.subarray(i * width, (i + 1) * width), shape: [width] },
    context: {
      data: contexts.subarray(i * context * width, (i + 1) * context * width),
      shape: [context, width],
    },
  },
  terms: [term(i)],
}))

for (const spelling of ['queries first', 'keys first', 'einsum']) {
  test(`a single head without a head axis: ${spelling}`, async (t) => {
    const model = await openModel(writeModel(spelling))
    t.like(model.sites[0], { heads: 1, kvHeads: 1, headDim: d, scale: 0.5, cross: true })
    await check(t, model, inPlace)
  })
}

test('rows of .npy files, named relative to the prompt set', async (t) => {
  await writeNpy(path.join(folder, 'q.npy'), queries, [count, width])
  await writeNpy(path.join(folder, 'c.npy'), Float64Array.from(contexts), [count, context, width])
  const lines = inPlace.map(({ contrast, terms }, i) =>
    JSON.stringify({
      contrast,
      terms,
      inputs: { query: { npy: 'q.npy', row: i }, context: { npy: 'c.npy', row: i } },
    }),
  )
  const file = path.join(folder, 'set.jsonl')
  writeFileSync(file, lines.join('\n'))
  await check(t, await openModel(writeModel('queries first')), readPrompts(file))
})

test('a model exported for one batch size runs any number of prompts', async (t) => {
  await check(t, await openModel(writeModel('queries first', 4)), inPlace)
})

for (const { spelling, batch } of [
  { spelling: 'queries first', batch: 'batch' },
  { spelling: 'einsum', batch: 'batch' },
  { spelling: 'queries first', batch: 4 },
]) {
  test(`explained as attribute and intervene say: ${spelling}, ${batch}`, async (t) => {
    const model = await openModel(writeModel(spelling, batch))
    const result = await decompose(await accumulate(model, inPlace), { rank: { rule: 'fixed', rank: 2 } })
    const prompt = { ...inPlace[0], terms: [{ query: 0, positive: [1], negative: [3] }] }
    const { swaps, ...gaps } = await explanationGap(model, prompt, result)
    t.is(swaps, 1)
    for (const [what, gap] of Object.entries(gaps)) {
      t.true(gap < 1e-5, `${what}: ${gap}`)
    }
    const { prompts } = await explain(model, [prompt], { result })
    t.deepEqual(prompts[0].words, ['0', '1', '2', '3', '4'])
    t.is(prompts[0].tokens, undefined)
    await t.throwsAsync(explain(model, { inputs: prompt.inputs }), {
      code: 'ERR_POSITION',
      message: /the prompt: position -1 counts from an end that is not known/,
    })
    // Without an axis of queries there is one query, whatever it is called.
    if (spelling === 'einsum') {
      return
    }
    await t.throwsAsync(explain(model, { inputs: prompt.inputs }, { query: 9 }), { code: 'ERR_POSITION' })
  })
}

/** @type {[string, import('../dist/index.js').Prompt['inputs'], RegExp][]} */
const wrong = [
  [
    'an input that the model does not have',
    { query: inPlace[0].inputs.query, x: inPlace[0].inputs.query },
    /no input "x"/,
  ],
  ['a missing input', { query: inPlace[0].inputs.query }, /the input "context" is missing/],
  [
    'a wrong shape',
    { ...inPlace[0].inputs, query: { data: [1, 2], shape: [2] } },
    /has the shape \[2\], the model takes \[6\]/,
  ],
  [
    'too few values',
    { ...inPlace[0].inputs, query: { data: [1, 2], shape: [6] } },
    /2 values for the shape \[6\]/,
  ],
  ['a missing file', { ...inPlace[0].inputs, query: { npy: 'none.npy', row: 0 } }, /cannot open/],
]
for (const [what, inputs, message] of wrong) {
  test(`refuses ${what}`, async (t) => {
    const model = await openModel(writeModel('queries first'))
    await t.throwsAsync(accumulate(model, [{ ...inPlace[0], inputs }]), { message })
  })
}

test('a row beyond the model’s axis is refused with the prompt’s name', async (t) => {
  const model = await openModel(writeModel('queries first'))
  const prompt = { ...inPlace[0], id: 'far', terms: [{ query: 0, positive: [99], negative: [0] }] }
  await t.throwsAsync(accumulate(model, [prompt]), {
    code: 'ERR_POSITION',
    message: /prompt far: position 99 lies outside/,
  })
})

test('text for a model that takes tensors is refused', async (t) => {
  const model = await openModel(writeModel('queries first'))
  await t.throwsAsync(accumulate(model, [{ contrast: 'c', text: 'a', terms: [term(0)] }]), {
    code: 'ERR_PROMPT',
    message: /does not take token ids alone; it takes query/,
  })
})
