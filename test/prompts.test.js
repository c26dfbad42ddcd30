/** Prompt sets: positions in text become tokens, and every mistake is named by file and line. */

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { bundledFile, bundledWords } from '../dist/bundled/files.js'
import { boxesLexical, boxesOrder } from '../dist/contrast/families/boxes.js'
import { resolvePosition } from '../dist/contrast/positions.js'
import { promptRules } from '../dist/contrast/prompt-rules.js'
import { accumulate, openModel, readPrompts, writePrompts } from '../dist/index.js'
import { loadTokenizer } from '../dist/model/tokenizer/tokenizer.js'
import { temporaryFolder } from './helpers/files.js'

const folder = temporaryFolder(test)

const TEXT = 'The apple is in Box O, the pear is in Box A. Which box is the pear in? Box'

async function located(text) {
  const tokenizer = await loadTokenizer(bundledFile('boxes.tokenizer.json'))
  const tokens = await tokenizer.encode(text)
  return { length: tokens.ids.length, text, tokens, words: tokens.ids.map(tokenizer.token) }
}

test('spans and pieces of text become token indices', async (t) => {
  const run = await located(TEXT)
  const at = (position) => run.words[resolvePosition(position, run, 'here')]
  t.is(at({ match: 'Box O' }), 'O')
  t.is(at({ match: 'Box A', token: 'first' }), 'Box')
  t.is(at({ match: 'pear', nth: 1 }), 'pear')
  t.is(
    resolvePosition({ match: 'pear', nth: 1 }, run, '') > resolvePosition({ match: 'pear', nth: 0 }, run, ''),
    true,
  )
  t.is(at({ char: [4, 9] }), 'apple')
  // A span that touches only part of a token takes the token.
  t.is(at({ char: [6, 7] }), 'apple')
  t.is(resolvePosition(-1, run, ''), run.length - 1)
  t.is(resolvePosition(0, run, ''), 0)
})

test('special tokens never match', async (t) => {
  const run = await located(TEXT)
  t.is(run.tokens.special[0], true)
  t.is(resolvePosition({ char: [0, 3] }, run, ''), 1)
})

test('offsets are UTF-16 units, also behind characters outside the basic plane', async (t) => {
  const text = `😀😀 ${TEXT}`
  const run = await located(text)
  const index = resolvePosition({ match: 'apple' }, run, '')
  t.is(run.words[index], 'apple')
  t.deepEqual(run.tokens.spans[index], [text.indexOf('apple'), text.indexOf('apple') + 5])
})

/** @type {[string, any, string, RegExp][]} */
const wrongPositions = [
  ['a piece that is not there', { match: 'Box Z' }, 'ERR_MATCH', /"Box Z" is not in the text/],
  ['an ambiguous piece', { match: 'pear' }, 'ERR_MATCH', /in the text 2 times/],
  ['an nth beyond the last', { match: 'pear', nth: 2 }, 'ERR_MATCH', /counts from 0/],
  ['an nth that counts nothing', { match: 'pear', nth: 'length' }, 'ERR_MATCH', /"nth" is "length"/],
  ['an empty piece', { match: '' }, 'ERR_MATCH', /not empty/],
  ['an index beyond the end', 99, 'ERR_POSITION', /position 99 is outside the prompt of \d+ tokens/],
  ['an index before the start', -99, 'ERR_POSITION', /outside the prompt/],
  ['half an index', 1.5, 'ERR_POSITION', /not a whole number/],
  ['a span beyond the end', { char: [70, 999] }, 'ERR_POSITION', /not a span of the text's 73 characters/],
  ['an empty span', { char: [5, 5] }, 'ERR_POSITION', /not a span/],
  ['a span of white space', { char: [3, 4] }, 'ERR_POSITION', /no token lies in " "/],
  ['nonsense', 'last', 'ERR_POSITION', /not a position/],
]

for (const [what, position, code, message] of wrongPositions) {
  test(`refuses ${what}`, async (t) => {
    const run = await located(TEXT.slice(0, 73))
    t.throws(() => resolvePosition(position, run, 'set.jsonl:7: term 0'), { code, message })
    t.throws(() => resolvePosition(position, run, 'set.jsonl:7: term 0'), {
      message: /^set\.jsonl:7: term 0/,
    })
  })
}

const terms = [{ query: -1, positive: [1], negative: [2] }]
/** @type {[string, any, string, RegExp][]} */
const wrongPrompts = [
  ['no text', { contrast: 'c', terms }, 'ERR_PROMPT', /give one of "text", "tokens" and "inputs"/],
  ['text and tokens', { contrast: 'c', text: 'a', tokens: [1], terms }, 'ERR_PROMPT', /give one of/],
  [
    'tokens that are not ids',
    { contrast: 'c', tokens: [1, 'a'], terms },
    'ERR_PROMPT',
    /tokens\[1\] is a, which is not a token id/,
  ],
  ['no contrast', { tokens: [1], terms }, 'ERR_PROMPT', /name of the "contrast"/],
  [
    'a contrast that cannot name a tensor',
    { contrast: 'a.b', tokens: [1], terms },
    'ERR_PROMPT',
    /cannot name/,
  ],
  ['no terms', { contrast: 'c', tokens: [1] }, 'ERR_PROMPT', /either "terms" or "labels"/],
  ['an empty list of terms', { contrast: 'c', tokens: [1], terms: [] }, 'ERR_PROMPT', /not empty/],
  [
    'an empty positive set',
    { contrast: 'c', tokens: [1], terms: [{ query: 0, positive: [], negative: [0] }] },
    'ERR_EMPTY_SET',
    /term 0 has no positive position/,
  ],
  [
    'a missing negative set',
    { contrast: 'c', tokens: [1], terms: [{ query: 0, positive: [0] }] },
    'ERR_EMPTY_SET',
    /term 0 has no negative position/,
  ],
  [
    'terms without a partner in the counterfactual',
    { contrast: 'c', tokens: [1], terms, counterfactual: { tokens: [1], terms: [] } },
    'ERR_PROMPT',
    /1 term, but 0 in the counterfactual/,
  ],
  [
    'labels in a counterfactual',
    { contrast: 'c', tokens: [1], labels: { query: ['a'] }, counterfactual: { tokens: [1], terms: [] } },
    'ERR_PROMPT',
    /do not go together/,
  ],
  [
    'an unknown label rule',
    { contrast: 'c', tokens: [1], labels: { query: ['a'], rule: 'next' } },
    'ERR_PROMPT',
    /"next" does not exist/,
  ],
]

const bad = { contrast: 'c', tokens: [1, 2, 3], terms }
/** @type {[any, RegExp][]} */
const wrongForms = [
  [null, /a prompt is an object/],
  [[], /a prompt is an object/],
  [{ ...bad, contrast: undefined, contrasts: null }, /"contrasts" is an object/],
  [{ ...bad, contrast: undefined, contrasts: [null] }, /"contrasts" is an object/],
  [{ ...bad, contrast: undefined, contrasts: { a: null } }, /contrast "a" is an object/],
  [{ ...bad, contrast: undefined, contrasts: { a: { term: [] } } }, /contrast "a" has no "term"/],
  [{ ...bad, contrast: null }, /name of the "contrast"/],
  [{ ...bad, terms: null }, /"terms" is a list/],
  [{ ...bad, terms: [null] }, /term 0 is an object/],
  [{ ...bad, terms: [[1]] }, /term 0 is an object/],
  [{ ...bad, terms: [{ ...terms[0], negative: null }] }, /"negative" is a list/],
  [{ ...bad, terms: [{ ...terms[0], label: null }] }, /"label" is a text/],
  [{ ...bad, terms: undefined, labels: null }, /"labels" is an object/],
  [{ ...bad, terms: undefined, labels: [] }, /"labels" is an object/],
  [{ ...bad, terms: undefined, labels: { query: null } }, /labels.query is a list/],
  [{ ...bad, terms: undefined, labels: { query: ['a'], key: null } }, /labels.key is a list/],
  [{ ...bad, tokens: null }, /"tokens" is a list/],
  [{ ...bad, tokens: undefined, text: null }, /"text" is a string/],
  [{ ...bad, tokens: undefined, inputs: null }, /"inputs" is an object/],
  [{ ...bad, tokens: undefined, inputs: { x: null } }, /input "x" is {"npy": file/],
  [{ ...bad, tokens: undefined, inputs: { x: { npy: 3 } } }, /"npy" is the name of a file/],
  [{ ...bad, tokens: undefined, inputs: { x: { data: [1], shape: null } } }, /"shape" is a list/],
  [{ ...bad, tokens: undefined, inputs: { x: { data: [null], shape: [1] } } }, /"data" is a list of numbers/],
  [{ ...bad, counterfactual: null }, /counterfactual: it is an object/],
  [{ ...bad, counterfactual: [] }, /counterfactual: it is an object/],
  [{ ...bad, counterfactual: { tokens: [1], terms: null } }, /1 term, but 0 in the counterfactual/],
  [{ ...bad, counterfactual: { tokens: [1], terms: {} } }, /counterfactual: "terms" is a list/],
  [{ ...bad, counterfactual: { tokens: [1], terms: [null] } }, /term 0 of the counterfactual is an object/],
  [{ ...bad, counterfactual: { tokens: [1], contrasts: { c: null } } }, /counterfactual: "contrasts" is/],
]

test('values of no use are refused with file and line, wherever they stand', async (t) => {
  const file = path.join(folder, 'forms.jsonl')
  const good = JSON.stringify(bad)
  for (const [prompt, message] of wrongForms) {
    const half = JSON.stringify(prompt).includes('"counterfactual":{')
    const line = half
      ? JSON.stringify({ ...prompt, terms: [{ query: -1, positive: [1] }] })
      : JSON.stringify(prompt)
    writeFileSync(file, `${good}\n${line}\n`)
    const error = await t.throwsAsync(readPrompts(file).summary(), { code: 'ERR_PROMPT', message })
    t.true(error.message.startsWith(`${file}:2: `), error.message)
  }
})

test('token ids may be integer arrays', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'))
  const prompt = { contrast: 'c', tokens: [2, 4, 9], terms: [{ query: 2, positive: [0], negative: [1] }] }
  const other = { tokens: [2, 5, 9], terms: [{ query: 2, negative: [1] }] }
  const half = { ...prompt, contrast: 'd', terms: [{ query: 2, positive: [1] }], counterfactual: other }
  const lists = await accumulate(model, [prompt, half])
  const expected = await lists.sites[0].groups[0].covariance.read()
  for (const convert of [(ids) => Int32Array.from(ids), (ids) => BigInt64Array.from(ids, BigInt)]) {
    const arrays = [
      { ...prompt, tokens: convert(prompt.tokens) },
      { ...half, tokens: convert(half.tokens), counterfactual: { ...other, tokens: convert(other.tokens) } },
    ]
    const sums = await accumulate(model, arrays)
    t.deepEqual(sums.prompts, lists.prompts)
    t.deepEqual(await sums.sites[0].groups[0].covariance.read(), expected)
    const file = path.join(folder, 'arrays.jsonl')
    await writePrompts(file, arrays)
    t.is((await readPrompts(file).summary()).sha256, lists.prompts.sha256)
  }
  for (const tokens of [BigInt64Array.of(-1n), BigInt64Array.of(2n ** 60n), Int32Array.of(-1)]) {
    t.throws(() => promptRules({ ...prompt, tokens }, 'here'), {
      code: 'ERR_PROMPT',
      message: /tokens\[0\] is -?\d+, which is not a token id/,
    })
  }
  for (const tokens of /** @type {any[]} */ ([new BigInt64Array(0), Float32Array.of(1, 2), 'abc'])) {
    t.throws(() => promptRules({ ...prompt, tokens }, 'here'), {
      code: 'ERR_PROMPT',
      message: /list of token ids/,
    })
  }
})

/** @type {[any, RegExp][]} */
const misspelt = [
  [{ tems: terms }, /a prompt has no "tems"/],
  [
    { terms, keyNames: { positive: 'a', negative: 'b', other: 'c' } },
    /"keyNames" of contrast ".*" has no "other"/,
  ],
  [
    { terms, keyNames: { positive: 'a' } },
    /"keyNames" is an object with the texts "positive" and "negative"/,
  ],
  [
    { terms, keyNames: { positive: 'a', negative: ' ' } },
    /"keyNames" is an object with the texts "positive"/,
  ],
  [{ terms, keyNames: null }, /"keyNames" is an object with the texts/],
  [{ terms: [{ ...terms[0], postive: [1] }] }, /term 0 has no "postive"/],
  [{ terms: undefined, labels: { query: ['a'], casual: true } }, /"labels" has no "casual"/],
  [{ terms: undefined, labels: { query: ['a'], causal: 'yes' } }, /labels.causal is true or false/],
  [{ terms: [{ ...terms[0], positive: 3 }] }, /"positive" is a list of positions/],
  [
    { counterfactual: { tokens: [1], terms: [{ query: 0, negative: [0] }] } },
    /negatives are in the counterfactual, has no "negative"/,
  ],
]
for (const [change, message] of misspelt) {
  test(`nothing misspelt is ignored: ${message}`, (t) => {
    const prompt = { contrast: 'c', tokens: [1, 2, 3], terms, ...change }
    t.throws(() => promptRules(prompt, 'here'), { code: 'ERR_PROMPT', message })
  })
}

test('a position with an unknown key or choice is refused', async (t) => {
  const run = await located(TEXT)
  for (const position of /** @type {any[]} */ ([
    { match: 'apple', nht: 2 },
    { match: 'apple', token: 'middle' },
    { match: 'apple', in: 'middle' },
  ])) {
    t.throws(() => resolvePosition(position, run, 'here'), { code: 'ERR_POSITION' })
  }
})

test('a generator of prompts is gone through as a list is', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'))
  const prompts = [1, 2, 3].map((i) => ({
    contrast: 'c',
    tokens: [2, 3 + i, 9],
    terms: [{ query: 2, positive: [0], negative: [1] }],
  }))
  const generate = function* () {
    yield* prompts
  }
  const [a, b] = await Promise.all([accumulate(model, prompts), accumulate(model, generate())])
  t.is(a.prompts.sha256, b.prompts.sha256)
  t.deepEqual(await a.sites[0].groups[0].covariance.read(), await b.sites[0].groups[0].covariance.read())
  for (const wrong of /** @type {any[]} */ (['set.jsonl', prompts[0], undefined])) {
    await t.throwsAsync(accumulate(model, wrong), { code: 'ERR_TYPE' })
  }
})

test('a misspelt option and a forgotten await are refused', async (t) => {
  const opening = openModel(bundledFile('boxes.onnx'))
  // @ts-expect-error a promise in the place of the model
  await t.throwsAsync(accumulate(opening, []), { code: 'ERR_TYPE' })
  // @ts-expect-error a misspelt option
  await t.throwsAsync(accumulate(await opening, [], { head: 'L0H0' }), {
    code: 'ERR_ARGUMENT',
    message: /no "head"/,
  })
  await t.throwsAsync(accumulate(await opening, [], { signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
})

for (const [what, prompt, code, message] of wrongPrompts) {
  test(`refuses a prompt with ${what}`, (t) => {
    t.throws(() => promptRules(prompt, 'set.jsonl:3'), { code, message })
  })
}

test('a bad line is named by its number, before anything runs', async (t) => {
  const good = JSON.stringify({ contrast: 'c', tokens: [1, 2, 3], terms })
  const lines = Array.from({ length: 4300 }, () => good)
  lines[4210] = '{"contrast": "c", "tokens": [1, 2'
  const file = path.join(folder, 'set.jsonl')
  writeFileSync(file, lines.join('\n'))
  const model = await openModel(bundledFile('boxes.onnx'))
  let started = false
  const running = accumulate(model, readPrompts(file), {
    onProgress: () => {
      started = true
    },
  })
  await t.throwsAsync(running, { code: 'ERR_PROMPT', message: /set\.jsonl:4211: not JSON/ })
  t.false(started)
})

test('a missing or empty set is refused', async (t) => {
  t.throws(() => readPrompts(path.join(folder, 'none.jsonl')), { code: 'ERR_FILE' })
  const file = path.join(folder, 'empty.jsonl')
  writeFileSync(file, '\n\n')
  await t.throwsAsync(readPrompts(file).summary(), { code: 'ERR_PROMPT', message: /holds no prompts/ })
})

test('text without a tokenizer is refused', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'))
  await t.throwsAsync(accumulate(model, [{ contrast: 'c', text: TEXT, terms }]), {
    code: 'ERR_TOKENIZER',
    message: /text needs a tokenizer/,
  })
})

test('labels must be as many as the tokens', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'))
  const prompt = { contrast: 'c', tokens: [1, 2, 3], labels: { query: ['a', 'b'] } }
  await t.throwsAsync(accumulate(model, [prompt]), {
    code: 'ERR_PROMPT',
    message: /2 query labels for 3 tokens/,
  })
})

test('an unknown head is refused, and the known ones are told', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'))
  /** @type {import('../dist/index.js').AccumulateOptions['heads'][]} */
  const unknown = ['L9H0', 'L0H99', 'head 3', [[9, 0]]]
  for (const heads of unknown) {
    await t.throwsAsync(accumulate(model, [{ contrast: 'c', tokens: [1, 2, 3], terms }], { heads }), {
      code: 'ERR_UNKNOWN_HEAD',
    })
  }
})

test('order prompts: the place of the answer goes round, and the words are the bundled tokenizer’s', async (t) => {
  const words = bundledWords()
  const prompts = boxesOrder({ ...words, prompts: 40, seed: 1 })
  t.deepEqual(prompts, boxesOrder({ ...words, prompts: 40, seed: 1 }))
  for (const { text, terms: list } of prompts) {
    const run = await located(text)
    t.false(run.words.includes('<unk>'), text)
    const answer = resolvePosition(list[0].positive[0], run, '')
    const object = run.words[resolvePosition(list[0].query, run, '') - 3]
    // "the <object> is in Box <answer>"
    t.is(run.words[answer - 4], object, text)
    t.is(list[0].negative.length, 4)
  }
})

test('lexical counterfactuals differ in the object alone', (t) => {
  const words = bundledWords()
  for (const change of /** @type {const} */ (['text and question', 'question'])) {
    for (const { text, counterfactual } of boxesLexical({ ...words, prompts: 20, seed: 1 }, change, 'x')) {
      const [a, b] = [text, counterfactual.text].map((s) => s.split(/\W+/))
      const different = a.map((word, i) => [word, b[i]]).filter(([x, y]) => x !== y)
      t.is(a.length, b.length)
      t.is(different.length, change === 'question' ? 1 : 2)
      t.false(text.includes(` ${different[0][1]} `))
    }
  }
})

test('what keys are called is kept with the definition of a contrast, and changes no number', async (t) => {
  const own = boxesOrder({ ...bundledWords(), prompts: 4, seed: 1 })
  t.deepEqual(own[0].keyNames, { positive: 'the answer’s box', negative: 'another box' })
  const [rule] = promptRules(own[0], 'here')
  t.deepEqual(rule.keyNames, own[0].keyNames)
  const bare = own.map(({ keyNames: _, ...prompt }) => prompt)
  t.is(promptRules(bare[0], 'here')[0].keyNames, undefined)
  t.deepEqual(promptRules(bare[0], 'here')[0].terms, rule.terms)
})
