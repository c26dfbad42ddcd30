/** Points inside subspaces, the labels that they carry, and whole spectra, each against arithmetic of its own. */

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { termRuns } from '../dist/capture/terms/term-runs.js'
import { promptSet } from '../dist/contrast/prompt-set.js'
import {
  accumulate,
  attribute,
  boxesLexical,
  boxesOrder,
  bundledFile,
  bundledWords,
  categoryPrompts,
  decompose,
  disposeSums,
  loadResult,
  openModel,
  payloadPrompts,
  readPrompts,
  svd,
} from '../dist/index.js'
import { capturedRows } from './helpers/edits.js'
import { temporaryFolder } from './helpers/files.js'
import { ENERGY } from './helpers/rank-rules.js'

const folder = temporaryFolder(test)
const base = { ...bundledWords(), prompts: 40, seed: 1 }

let made
function boxes() {
  made ??= (async () => {
    const model = await openModel(bundledFile('boxes.onnx'), {
      tokenizer: bundledFile('boxes.tokenizer.json'),
    })
    const sums = await accumulate(model, [...boxesOrder(base), ...boxesLexical({ ...base, seed: 2 })])
    const options = { rank: ENERGY, keepCovariances: true, spectrum: true }
    const [result, plain] = [await decompose(sums, options), await decompose(sums, { rank: ENERGY })]
    disposeSums(sums)
    return { model, result, plain }
  })()
  return made
}

test('the spectrum is that of the whole ΔC, comes back from the file, and is absent unless asked for', async (t) => {
  const { result, plain } = await boxes()
  const file = path.join(folder, 'spectrum.safetensors')
  await result.save(file)
  const loaded = await loadResult(file)
  for (const head of ['L2H0', 'L3H0']) {
    for (const contrast of ['order', 'lexical']) {
      const { cPos, cNeg, spectrum, s, rank, headDim: d } = result.head(head).contrast(contrast)
      const delta = cPos.map((x, i) => x - cNeg[i])
      const whole = await svd(delta, { n: 1, rows: d, cols: d, backend: 'js' })
      t.is(spectrum.length, d)
      t.true(spectrum.every((x, i) => Math.abs(x - whole.s[i]) <= 1e-5 * whole.s[0]))
      t.true(s.every((x, i) => Math.abs(x - spectrum[i]) <= 1e-5 * spectrum[0]))
      const energy = spectrum.reduce((sum, x) => sum + x * x, 0)
      const { totalEnergy } = result.head(head).contrast(contrast)
      t.true(Math.abs(energy / totalEnergy - 1) < 1e-4, `${energy} of ${totalEnergy}`)
      t.true(spectrum.subarray(0, rank - 1).reduce((sum, x) => sum + x * x, 0) < 0.99 * totalEnergy)
      t.deepEqual(loaded.head(head).contrast(contrast).spectrum, spectrum)
    }
  }
  t.is(plain.head('L3H0').contrast('order').spectrum, undefined)
})

/** Queries and keys of the terms of a prompt set, in the order of their prompts, runs and positions. */
async function termRows(model, prompts) {
  const queries = []
  const keys = []
  for await (const { run, query, donor, term } of termRuns(model, promptSet(prompts), { seed: 0 })) {
    const here = await capturedRows(model, 3, 0, { run, query })
    const there = donor && (await capturedRows(model, 3, 0, donor))
    const [positive, negative] = [term.positive, term.negative]
    queries.push(here.q, ...(there ? [there.q] : []))
    if (there) {
      keys.push(...positive.map((p) => here.k[p]), ...negative.map((p) => there.k[p]))
    } else {
      keys.push(...[...positive, ...negative].sort((x, y) => x - y).map((p) => here.k[p]))
    }
  }
  return { queries, keys }
}

const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0)

/** Checks a cloud against the Gram matrix of the rows' centred coordinates: power iteration with deflation. */
function isPca(t, rows, data, { rank, shares, coordinates }) {
  const n = rows.length
  const inside = rows.map((row) =>
    Array.from({ length: rank }, (_, c) => row.reduce((sum, x, i) => sum + x * data[i * rank + c], 0)),
  )
  const mean = inside[0].map((_, c) => inside.reduce((sum, x) => sum + x[c], 0) / n)
  const centred = inside.map((x) => x.map((v, c) => v - mean[c]))
  const total = centred.flat().reduce((sum, x) => sum + x * x, 0)
  const gram = mean.map((_, i) => mean.map((__, j) => centred.reduce((sum, x) => sum + x[i] * x[j], 0)))
  t.is(shares.length, Math.min(4, rank))
  t.is(coordinates.length, n * shares.length)
  const column = (c) => Array.from({ length: n }, (_, i) => coordinates[i * shares.length + c])
  shares.forEach((share, c) => {
    let v = mean.map((_, i) => 1 + i * 0.1)
    let value = 0
    for (let step = 0; step < 3000; step++) {
      const next = gram.map((row) => dot(row, v))
      value = Math.hypot(...next)
      v = next.map((x) => x / value)
    }
    t.true(Math.abs(value / total - share) < 1e-3, `${value / total} and ${share}`)
    // The coordinates are those of the rows along that direction, up to its sign.
    const along = centred.map((x) => dot(x, v))
    t.true(Math.abs(dot(along, column(c))) > 0.999 * value)
    t.true(Math.abs(dot(column(c), column(c)) / value - 1) < 2e-3)
    for (let other = 0; other < c; other++) {
      t.true(Math.abs(dot(column(c), column(other))) < 1e-3 * total)
    }
    gram.forEach((row, i) => {
      row.forEach((_, j) => {
        row[j] -= value * v[i] * v[j]
      })
    })
  })
}

/** Share of the variance of rows inside V that lies between the means of their labels. */
function labelShare(rows, basis, labels) {
  const d = rows[0].length
  const rank = basis.length / d
  const inside = rows.map((row) =>
    Array.from({ length: rank }, (_, c) => row.reduce((sum, x, i) => sum + x * basis[i * rank + c], 0)),
  )
  const mean = (list) => list[0].map((_, c) => list.reduce((sum, x) => sum + x[c], 0) / list.length)
  const spread = (list, centre) =>
    list.reduce((sum, x) => sum + x.reduce((own, value, c) => own + (value - centre[c]) ** 2, 0), 0)
  const total = spread(inside, mean(inside))
  const within = [...new Set(labels)].reduce((sum, label) => {
    const own = inside.filter((_, i) => labels[i] === label)
    return sum + spread(own, mean(own))
  }, 0)
  return 1 - within / total
}

test('points are the principal components of the rows inside the subspace', async (t) => {
  const { model, result } = await boxes()
  const held = boxesOrder({ ...base, prompts: 20, seed: 9 })
  const { points } = await attribute(model, held, { result, heads: 'L3H0', points: 1000 })
  const { queries, keys } = await termRows(model, held)
  const { u, v } = result.head('L3H0').contrast('order')
  const { key, query } = points.order
  t.deepEqual([query.labels.length, key.labels.length], [20, 100])
  isPca(t, queries, u, query.heads.L3H0)
  isPca(t, keys, v, key.heads.L3H0)
  t.true(Math.abs(key.heads.L3H0.separation.value - labelShare(keys, v, key.labels)) < 1e-6)
  t.is(key.heads.L3H0.separation.nulls, null, 'the result holds no null subspaces')
  t.is(key.heads.L3H0.separation.exceedsNull, null)
})

test('a sample is as large as asked, the same for a seed whatever the batches, another for another seed', async (t) => {
  const { model, result } = await boxes()
  const held = boxesOrder({ ...base, prompts: 60, seed: 5 })
  const run = (options) => attribute(model, held, { result, heads: 'L3H0,L2H1', examples: 0, ...options })
  const first = (await run({ points: 40, seed: 3 })).points
  t.is(first.order.key.labels.length, 40)
  t.is(first.order.query.labels.length, 40)
  t.deepEqual(
    (await run({ points: 40, seed: 3, batchSize: 7 })).points.order.key.labels,
    first.order.key.labels,
  )
  t.deepEqual((await run({ points: 40, seed: 3 })).points, first)
  t.notDeepEqual((await run({ points: 40, seed: 4 })).points.order.key, first.order.key)
  t.is((await run({ points: 0 })).points, undefined)
  // Every place of the prompts has its chance, not only the first prompts'.
  const { labels } = first.order.key
  t.deepEqual([...new Set(labels)].sort(), ['1st', '2nd', '3rd', '4th', '5th'])
  for (const bad of [-1, 1.5]) {
    await t.throwsAsync(run({ points: bad }), { code: 'ERR_ARGUMENT' })
  }
})

test('points of a counterfactual come from both runs, with the label of each', async (t) => {
  const { model, result } = await boxes()
  const prompts = boxesLexical({ ...base, prompts: 10, seed: 8 })
  const { points } = await attribute(model, prompts, { result, heads: 'L3H0' })
  const { query } = points.lexical
  t.deepEqual(
    query.labels,
    prompts.flatMap(({ contrasts, counterfactual }) => [
      contrasts.lexical.terms[0].label,
      counterfactual.contrasts.lexical.terms[0].label,
    ]),
  )
  t.deepEqual(
    query.roles,
    prompts.flatMap(() => ['positive', 'negative']),
  )
  const { queries, keys } = await termRows(model, prompts)
  const { u, v } = result.head('L3H0').contrast('lexical')
  isPca(t, queries, u, query.heads.L3H0)
  isPca(t, keys, v, points.lexical.key.heads.L3H0)
})

test('families say what their queries and keys are', (t) => {
  for (const { text, terms } of boxesOrder({ ...base, pairs: 4 })) {
    const [{ label, negativeLabels, positive, negative }] = terms
    const places = ['1st', '2nd', '3rd', '4th']
    const at = (position) =>
      [...text.matchAll(/Box (\w)/g)].findIndex((m) => m.index + 4 === position.char[0])
    t.is(label, places[at(positive[0])])
    t.deepEqual(
      negativeLabels,
      negative.map((p) => places[at(p)]),
    )
  }
  const many = boxesOrder({
    objects: [...'abcdefghijklmnopqrstuvwxyz'],
    boxes: [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'],
    pairs: 23,
    prompts: 23,
    seed: 1,
  })
  t.deepEqual(
    [9, 10, 11, 12, 20, 21, 22].map((i) => many[i].terms[0].label),
    ['10th', '11th', '12th', '13th', '21st', '22nd', '23rd'],
  )
  for (const { text, contrasts, counterfactual } of boxesLexical(base)) {
    t.is(contrasts.lexical.terms[0].label, /is the (\w+) in\?/.exec(text)[1])
    t.is(counterfactual.contrasts.lexical.terms[0].label, /is the (\w+) in\?/.exec(counterfactual.text)[1])
  }
  for (const { text, contrasts } of categoryPrompts({ ...base, prompts: 24 })) {
    const [{ label, negative, negativeLabels }] = contrasts.category.terms
    t.true(text.includes(` ${label}?`))
    negative.forEach((/** @type {any} */ { char }, i) => {
      t.true(base.categories[negativeLabels[i]].includes(text.slice(...char)))
    })
  }
  for (const { contrasts } of payloadPrompts({ task: 1, r1: 3, r2: 2, prompts: 5, seed: 1 })) {
    for (const [name, size] of [
      ['z1', 3],
      ['z2', 2],
    ]) {
      const labels = contrasts[name].terms.map(({ label }) => label)
      t.is(new Set(labels).size, 1)
      t.regex(labels[0], new RegExp(`^[+-]{${size}}$`))
      t.true(contrasts[name].terms.every(({ negativeLabels }) => negativeLabels[0].length === size))
    }
  }
})

const term = { query: -1, positive: [1], negative: [2, 3] }
const other = { query: -1, negative: [1], label: 'b' }
/** @type {[string, object, RegExp][]} */
const wrong = [
  ['a label that is no text', { terms: [{ ...term, label: 3 }] }, /term 0: "label" is a text/],
  ['an empty label', { terms: [{ ...term, label: '' }] }, /"label" is a text, not empty/],
  ['too few labels', { terms: [{ ...term, negativeLabels: ['a'] }] }, /one a negative position/],
  ['a null among labels', { terms: [{ ...term, negativeLabels: ['a', null] }] }, /one a negative position/],
  [
    'labels of negatives beside a counterfactual',
    {
      terms: [{ query: -1, positive: [1], negativeLabels: ['b'] }],
      counterfactual: { tokens: [1, 2], terms: [other] },
    },
    /has no "negativeLabels"/,
  ],
]
for (const [name, rule, message] of wrong) {
  test(`${name} is refused, with its line`, async (t) => {
    const file = path.join(folder, `${name}.jsonl`)
    const right = {
      contrast: 'c',
      tokens: [1, 2, 3, 4],
      terms: [{ ...term, label: 'a', negativeLabels: ['b', 'c'] }],
    }
    const lines = [right, { contrast: 'c', tokens: [1, 2, 3, 4], ...rule }]
    writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    const error = await t.throwsAsync(readPrompts(file).summary(), { code: 'ERR_PROMPT', message })
    t.true(error.message.startsWith(`${file}:2: `))
  })
}

test('points name their tokens in context; labels lie apart beside null subspaces', async (t) => {
  const { model } = await boxes()
  const sums = await accumulate(model, boxesOrder(base))
  const result = await decompose(sums, { rank: { rule: 'fixed', rank: 4 }, nulls: 20 })
  disposeSums(sums)
  const held = boxesOrder({ ...base, prompts: 12, seed: 9 })
  const { points } = await attribute(model, held, { result, heads: 'L3H0', examples: 12 })
  const { tokens, labels, roles, heads } = points.order.key
  t.is(tokens.length, labels.length)
  tokens.forEach(({ token, before, after, where, position }, i) => {
    const prompt = held.find(({ id }) => where.endsWith(id))
    const [term] = prompt.terms
    const spans = roles[i] === 'positive' ? term.positive : term.negative
    t.true(
      spans.some((/** @type {any} */ { char: [start, end] }) => prompt.text.slice(start, end) === token),
      `${where} ${position}`,
    )
    t.regex(before, /is in Box $/)
    t.regex(after, /^ [,.]/)
  })
  const { value, nulls, exceedsNull } = heads.L3H0.separation
  t.true(value > 0 && value < 1)
  t.is(nulls.count, 20)
  t.true(nulls.mean > 0 && nulls.mean <= nulls.p95 && nulls.p95 < 1)
  t.is(exceedsNull, value > nulls.p95)
})
