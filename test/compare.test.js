/** `compareResults` and `qkspace compare`: the same subspaces from other prompts, and none from shuffled answers. */

import path from 'node:path'
import test from 'ava'
import {
  accumulate,
  boxesOrder,
  bundledFile,
  bundledWords,
  compareResults,
  decompose,
  openModel,
} from '../dist/index.js'
import { Result } from '../dist/store/result.js'
import { runCommand } from './helpers/command.js'
import { sharedModel, temporaryFolder, withSharedModels } from './helpers/files.js'
import { shuffledAnswers } from './helpers/shuffled-answers.js'

const folder = temporaryFolder(test)
const shared = withSharedModels(test)
const open = () => openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
const order = (seed, prompts = 200) => boxesOrder({ ...bundledWords(), prompts, seed })

/** Two components of every head, with null subspaces. */
async function withNulls(prompts, seed) {
  const sums = await accumulate(await open(), prompts)
  return decompose(sums, { rank: { rule: 'fixed', rank: 2 }, nulls: 20, seed })
}

/** A result without null subspaces. */
async function decomposed(prompts, options = {}) {
  const sums = await accumulate(await open(), prompts, { attention: false })
  const result = await decompose(sums, options)
  for (const head of result.headNames) {
    delete result.head(head).contrast('order').nulls
  }
  return result
}

/** A result with something changed in what it says of one head and contrast, or of itself. */
function changed(result, { head = 'L3H0', contrast = 'order', subspace = {}, info = {}, own = {} }) {
  const heads = result.headNames.map((name) => {
    const found = result.head(name)
    const contrasts = found.contrastNames.map((of) => [
      of,
      { ...found.contrast(of), ...(name === head && of === contrast && subspace) },
    ])
    return [name, new Map(contrasts)]
  })
  const infos = structuredClone(result.info.heads)
  Object.assign(infos[head][contrast], info)
  return new Result({ ...result.info, heads: infos, ...own }, new Map(heads))
}

const tested = Promise.all([1, 2].map((seed) => decomposed(order(seed))))

test('other prompts give the same subspaces, shuffled answers no more than null subspaces', async (t) => {
  const a = await withNulls(order(1), 1)
  const b = await withNulls(order(2), 2)
  const other = await withNulls(shuffledAnswers(order(3), 3), 3)
  const real = compareResults(a, b)
  t.true(real.sameModel)
  t.deepEqual(real.warnings, [])
  t.is(real.rows.length, 16)
  const sides = ({ rows }) => rows.flatMap(({ query, key }) => [query, key])
  for (const name of ['L3H0', 'L3H2', 'L3H3']) {
    const { query, key, random, rank } = real.rows.find(({ head }) => head === name)
    t.deepEqual(rank, { a: 2, b: 2 })
    t.is(random, 2 / 32)
    for (const side of [query, key]) {
      t.is(side.null.count, 40)
      t.is(side.withinNull, false)
      t.true(side.overlap > 0.6 && side.overlap > side.null.p95 && side.null.p95 > side.null.mean)
    }
  }
  // Of 32 sides, and for heads that do not tell the answer from the others.
  t.true(sides(real).filter(({ withinNull }) => !withinNull).length >= 16)
  const shuffled = compareResults(a, other)
  t.true(sides(shuffled).filter(({ withinNull }) => !withinNull).length <= 4)
  const { query, key } = shuffled.rows.find(({ head }) => head === 'L3H0')
  t.true(query.withinNull && key.withinNull)
})

test('overlap is 1 where one subspace lies inside the other, whichever is larger', async (t) => {
  const [wide, narrow] = await Promise.all(
    [5, 2].map((rank) => decomposed(order(1, 40), { rank: { rule: 'fixed', rank } })),
  )
  for (const [a, b] of [
    [wide, narrow],
    [narrow, wide],
  ]) {
    const { rows, warnings } = compareResults(a, b, { heads: 'L3H0,2.1' })
    t.deepEqual(rows.map(({ head }) => head).sort(), ['L2H1', 'L3H0'])
    t.deepEqual(warnings, [
      `A and B have different rank rules: fixed:${a === wide ? 5 : 2} and fixed:${a === wide ? 2 : 5}`,
    ])
    for (const { query, key, random, discovered } of rows) {
      t.true(Math.abs(query.overlap - 1) < 1e-6 && Math.abs(key.overlap - 1) < 1e-6)
      t.deepEqual([query.null, query.withinNull, random], [null, null, 5 / 32])
      t.deepEqual(discovered, { a: null, b: null })
    }
  }
})

test('null subspaces of one result alone are a null too', async (t) => {
  const [a, b] = await tested
  const { u, v, rank } = b.head('L3H0').contrast('order')
  const copies = (basis) =>
    Float64Array.from({ length: 20 * basis.length }, (_, i) => basis[i % basis.length])
  const nulls = { count: 20, u: copies(u), v: copies(v) }
  const { rows } = compareResults(a, changed(b, { subspace: { nulls } }), { heads: ['L3H0'] })
  t.true(rank > 0)
  t.is(rows[0].query.null.count, 20)
  // They are b's own subspaces here: what b overlaps by is what they do.
  t.is(rows[0].query.null.p95, rows[0].query.overlap)
  t.true(rows[0].query.withinNull)
})

test('heads discovered in both come first, and rank 0 is a row without overlap', async (t) => {
  const [a, b] = await tested
  const { rows } = compareResults(a, b)
  const found = rows.map(({ discovered }) => Number(discovered.a) + Number(discovered.b))
  t.deepEqual(
    found,
    [...found].sort((x, y) => y - x),
  )
  t.is(found[0], 2)
  t.true(rows.slice(0, 3).some(({ head }) => head === 'L3H0'))
  for (const { rank, query, key, random, measures } of rows) {
    const none = rank.a === 0 || rank.b === 0
    t.deepEqual([query === null, key === null, random === null], [none, none, none])
    t.deepEqual(Object.keys(measures), ['scoreGap', 'q'])
  }
  t.true(rows.some(({ rank }) => rank.a === 0 && rank.b === 0))
})

test('attention and what was measured on held-out prompts are compared where both results carry them', async (t) => {
  const [a, b] = await tested
  const heldOut = { explained: { value: 0.5, null: { p95: 0.4 } }, swap: { moved: null } }
  const withA = changed(a, { info: { attention: { positive: 0.9, negative: 0.1 }, heldOut } })
  const withB = changed(b, { info: { attention: { positive: 0.7, negative: 0.2 } } })
  const { measures } = compareResults(withA, withB, { heads: 'L3H0' }).rows[0]
  t.deepEqual(measures.attentionPositive, { a: 0.9, b: 0.7 })
  t.deepEqual(measures.attentionNegative, { a: 0.1, b: 0.2 })
  t.false('explained' in measures)
  t.false('attentionPositive' in compareResults(withA, b, { heads: 'L3H0' }).rows[0].measures)
  const both = compareResults(withA, changed(b, { info: { heldOut } }), { heads: 'L3H0' }).rows[0]
  t.deepEqual(both.measures.explained, { a: 0.5, b: 0.5 })
  t.deepEqual(both.measures.explainedNull, { a: 0.4, b: 0.4 })
  t.false('moved' in both.measures)
})

test('what cannot be compared is refused by name', async (t) => {
  const [a, b] = await tested
  // @ts-expect-error one result in the place of two
  t.throws(() => compareResults(a), { code: 'ERR_TYPE', message: /takes two results/ })
  // @ts-expect-error a misspelt option
  t.throws(() => compareResults(a, b, { contrast: 'order' }), { code: 'ERR_ARGUMENT' })
  // @ts-expect-error a string in the place of a list
  t.throws(() => compareResults(a, b, { contrasts: 'order' }), { code: 'ERR_TYPE' })
  t.throws(() => compareResults(a, b, { heads: [] }), { code: 'ERR_TYPE' })
  t.throws(() => compareResults(a, b, { heads: 'L9H0' }), {
    code: 'ERR_UNKNOWN_HEAD',
    message: 'A has no head L9H0',
  })
  t.throws(() => compareResults(a, b, { contrasts: ['lexical'] }), {
    code: 'ERR_UNKNOWN_CONTRAST',
    message: /both have a contrast "lexical"/,
  })
  const narrow = changed(b, { subspace: { headDim: 16 } })
  t.throws(() => compareResults(a, narrow), {
    code: 'ERR_SHAPE',
    message: 'L3H0 has the head dimension 32 in A and 16 in B',
  })
  const lexical = changed(b, { own: { prompts: { ...b.info.prompts, contrasts: ['lexical'] } } })
  /** @type {import('../dist/index.js').QkError} */
  const contrasts = t.throws(() => compareResults(a, lexical), { code: 'ERR_UNKNOWN_CONTRAST' })
  t.is(contrasts.message, 'A and B have no contrast in common')
  t.is(contrasts.hint, 'A has order; B has lexical.')
  const elsewhere = new Result(b.info, new Map([['L9H0', new Map()]]))
  /** @type {import('../dist/index.js').QkError} */
  const heads = t.throws(() => compareResults(a, elsewhere), { code: 'ERR_UNKNOWN_HEAD' })
  t.regex(heads.hint, /^A has L0H0, .*, \.\.\.; B has L9H0\.$/)
})

test('what makes results hard to compare is a warning', async (t) => {
  const [a, b] = await tested
  const warnings = (own) => compareResults(a, changed(b, { own })).warnings
  t.deepEqual(compareResults(a, a).warnings, ['A and B are the same result'])
  t.deepEqual(warnings({ estimator: 'sum', center: true }), [
    'A and B have different estimators: per-query and sum',
    'B alone is centred',
  ])
  const sites = b.info.sites.map((site) => (site.layer === 2 ? { ...site, heads: 8 } : site))
  t.deepEqual(warnings({ sites }), ['L2 has 4 heads in A and 8 in B: equal names are other heads'])
})

test('the command prints a table or one document', async (t) => {
  const [a, b] = await tested
  const [fileA, fileB] = ['a', 'b'].map((name) => path.join(folder, `${name}.safetensors`))
  await Promise.all([a.save(fileA), b.save(fileB)])
  const table = await runCommand(folder, ['compare', fileA, fileB])
  t.is(table.status, 0)
  t.is(table.stderr, '')
  t.regex(table.stdout, /^L3H0 +order +both +both +\d+ → \d+ +0\.\d{3} +no null +0\.\d{3} +no null .*$/m)
  t.regex(table.stdout, /rank 0 in both/)
  t.regex(table.stdout, /^no null: made without null subspaces\./m)
  const same = await runCommand(folder, ['compare', fileA, fileA, '--heads', 'L3H0'])
  t.is(same.stderr, 'qkspace: warning: A and B are the same result\n')
  const json = await runCommand(folder, [
    'compare',
    fileA,
    fileB,
    '--json',
    '--heads',
    '3.0',
    '--contrast',
    'order',
  ])
  t.is(json.status, 0)
  const document = JSON.parse(json.stdout)
  t.deepEqual(Object.keys(document), ['a', 'b', 'sameModel', 'rows', 'warnings'])
  t.is(document.a.file, fileA)
  t.deepEqual(document.rows, compareResults(a, b, { heads: 'L3H0' }).rows)
  const wrong = await runCommand(folder, ['compare', fileA, fileB, '--contrast', 'lexical'])
  t.is(wrong.status, 1)
  t.regex(wrong.stderr, /contrast "lexical"\n {2}Both have order\./)
  t.is((await runCommand(folder, ['compare', fileA])).status, 2)
})

shared('tinystories-260k: a float16 copy has the subspaces of the original', async (t) => {
  const prompts = [
    'Once upon a time, there was a girl named Lily. Lily had a ball and Tom had a car. One day, Tom',
    'Lily went to the park with her mom. She saw Ben and a dog. Then Tom came and Lily waved to Tom',
    'Tom and Lily were friends. They liked to play. Tom',
  ].map((text) => ({
    contrast: 'name',
    text,
    terms: [{ query: -1, positive: [{ match: 'Tom', nth: 0 }], negative: [{ match: 'Lily', nth: 0 }] }],
  }))
  const [a, b] = await Promise.all(
    ['eager', 'eager_fp16'].map(async (name) => {
      const model = await openModel(sharedModel(`tinystories-260k/${name}.onnx`), {
        tokenizer: sharedModel('tinystories-260k/tokenizer.json'),
      })
      return decompose(await accumulate(model, prompts, { nullBytes: 0 }), {
        rank: { rule: 'fixed', rank: 1 },
      })
    }),
  )
  const { rows, sameModel } = compareResults(a, b)
  t.false(sameModel)
  t.is(rows.length, 40)
  for (const { query, key } of rows) {
    t.true(query.overlap > 0.999 && key.overlap > 0.999)
  }
})
