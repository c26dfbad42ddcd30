/** The paper's prompt families: what they say, where their positions fall, and what the bundled models make of them. */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { checkTokenPositions } from '../dist/contrast/token-positions.js'
import {
  accumulate,
  boxesLexical,
  boxesOrder,
  boxesUnused,
  bundledFile,
  bundledWords,
  categoryPrompts,
  decompose,
  openModel,
  payloadPrompts,
  readPrompts,
  readToyConfig,
  writePrompts,
} from '../dist/index.js'
import { loadTokenizer } from '../dist/model/tokenizer/tokenizer.js'
import { readNpy } from '../dist/store/npy.js'
import { ToyTask } from '../dist/toy/task.js'
import { answers } from './helpers/answers.js'
import { temporaryFolder } from './helpers/files.js'
import { located, termWords } from './helpers/prompt-tokens.js'
import { ENERGY } from './helpers/rank-rules.js'
import { writeSplitTokenizer } from './helpers/split-tokenizer.js'

const folder = temporaryFolder(test)
const { objects, boxes, categories } = bundledWords()
const bundledTokenizer = bundledFile('boxes.tokenizer.json')
const boxFamily = { objects, boxes, pairs: 4, prompts: 24, seed: 3 }
const reversed = { ...boxFamily, question: /** @type {const} */ ('object-of-box') }
const categoryFamily = { categories, prompts: 48, seed: 3 }

const families = {
  'order, which box': boxesOrder(boxFamily),
  'order, which object': boxesOrder(reversed),
  'lexical, which box': boxesLexical(boxFamily),
  'lexical, which object': boxesLexical(reversed),
  'unused, which box': boxesUnused(boxFamily),
  'unused, which object': boxesUnused(reversed),
  'categories, all': categoryPrompts(categoryFamily),
  'categories, all three': categoryPrompts({ ...categoryFamily, matching: 3 }),
  'categories, first': categoryPrompts({ ...categoryFamily, select: 'first' }),
  'categories, last': categoryPrompts({ ...categoryFamily, select: 'last', matching: 3 }),
}

for (const [name, prompts] of Object.entries(families)) {
  test(`${name}: every line is read again, and every position is a token`, async (t) => {
    const file = path.join(folder, `${name}.jsonl`)
    t.deepEqual(await writePrompts(file, prompts), [file])
    const read = []
    for await (const { prompt } of readPrompts(file)) {
      read.push(prompt)
    }
    t.deepEqual(read, JSON.parse(JSON.stringify(prompts)))
    await t.notThrowsAsync(checkTokenPositions(read, await loadTokenizer(bundledTokenizer)))
  })
}

/** The values of a toy prompt's query. */
const queryOf = (/** @type {any} */ prompt) => prompt.inputs.query.data

const makers = {
  order: (seed) => boxesOrder({ ...boxFamily, seed }),
  lexical: (seed) => boxesLexical({ ...boxFamily, seed }),
  unused: (seed) => boxesUnused({ ...reversed, seed }),
  categories: (seed) => categoryPrompts({ ...categoryFamily, seed }),
  payload: (seed) => payloadPrompts({ task: 1, r1: 3, r2: 2, prompts: 3, seed }),
}
for (const [name, make] of Object.entries(makers)) {
  test(`${name}: a seed gives the same prompts again, another seed others`, (t) => {
    t.deepEqual(make(7), make(7))
    t.notDeepEqual(make(7), make(8))
  })
}

/** Words of a boxes prompt by the sentence's own grammar. */
function scene(text) {
  const listed = [...text.matchAll(/[Tt]he (\w+) is in Box (\w)/g)].map(([, object, box]) => ({
    object,
    box,
  }))
  const asked = /Which box is the (\w+) in\? Box$/.exec(text) ?? /What is in Box (\w)\? The$/.exec(text)
  return { listed, asked: asked[1] }
}
const directions = [
  { family: boxFamily, question: 'which box', cue: 'object', answer: 'box', last: 'Box' },
  { family: reversed, question: 'which object', cue: 'box', answer: 'object', last: 'The' },
]

for (const { family, question, cue, answer, last } of directions) {
  test(`order, ${question}: the answer against the others, at every place equally often`, async (t) => {
    const places = [0, 0, 0, 0]
    for (const prompt of boxesOrder(family)) {
      const { listed, asked } = scene(prompt.text)
      const place = listed.findIndex((pair) => pair[cue] === asked)
      places[place] += 1
      t.is(listed.length, 4)
      t.is(new Set(listed.map((pair) => pair.object)).size, 4)
      t.is(new Set(listed.map((pair) => pair.box)).size, 4)
      const [term] = await termWords(prompt, 'order', bundledTokenizer)
      t.is(term.query, last)
      t.deepEqual(term.positive, [listed[place][answer]])
      t.deepEqual(
        term.negative,
        listed.filter((_, i) => i !== place).map((pair) => pair[answer]),
      )
    }
    t.deepEqual(places, [6, 6, 6, 6])
  })

  test(`lexical, ${question}: the second run has an unused word in the list and the question`, async (t) => {
    for (const prompt of boxesLexical(family)) {
      const [a, b] = [scene(prompt.text), scene(prompt.counterfactual.text)]
      t.false(a.listed.some((pair) => pair[cue] === b.asked))
      const replaced = a.listed.map((pair) => (pair[cue] === a.asked ? { ...pair, [cue]: b.asked } : pair))
      t.deepEqual(b.listed, replaced)
      const [term] = await termWords(prompt, 'lexical', bundledTokenizer)
      const pair = a.listed.find((p) => p[cue] === a.asked)
      t.deepEqual(term, { query: last, positive: [pair[answer]], queryNeg: last, negative: [pair[answer]] })
    }
  })

  test(`unused, ${question}: the second run asks for a word that is not in the same list`, async (t) => {
    for (const prompt of boxesUnused(family)) {
      const [a, b] = [scene(prompt.text), scene(prompt.counterfactual.text)]
      t.deepEqual(b.listed, a.listed)
      t.false(a.listed.some((pair) => pair[cue] === b.asked))
      const [term] = await termWords(prompt, 'unused', bundledTokenizer)
      const pair = a.listed.find((p) => p[cue] === a.asked)
      t.deepEqual(term, { query: last, positive: [pair[answer]], queryNeg: last, negative: [pair[answer]] })
    }
  })
}

test('words that are asked about have contrasts of their own, and are never fillers', (t) => {
  /** @type {[import('../dist/index.js').BoxesQuestion, string[], string][]} */
  const questions = [
    ['box-of-object', ['pear', 'ring'], 'object'],
    ['object-of-box', ['A', 'B'], 'box'],
  ]
  for (const [question, asked, cue] of questions) {
    for (const prompt of boxesLexical({ ...boxFamily, question, asked })) {
      const { listed, asked: word } = scene(prompt.text)
      t.deepEqual(Object.keys(prompt.contrasts), ['lexical', `lexical ${word}`])
      t.deepEqual(
        listed.map((pair) => pair[cue]).filter((w) => asked.includes(w)),
        [word],
      )
      t.false(asked.includes(scene(prompt.counterfactual.text).asked))
    }
  }
})

test('names of boxes may be parts of each other', async (t) => {
  const names = ['A', 'AB', 'B', 'AA', 'BA']
  const prompts = boxesOrder({
    objects: ['pen', 'pencil', 'pens'],
    boxes: names,
    pairs: 3,
    prompts: 9,
    seed: 1,
  })
  const tokenizer = writeSplitTokenizer(
    path.join(folder, 'parts.json'),
    prompts.map((p) => p.text),
    [],
  )
  for (const prompt of prompts) {
    const listed = [...prompt.text.matchAll(/he (\w+) is in Box (\w+)/g)].map(([, , box]) => box)
    const [term] = await termWords(prompt, 'order', tokenizer)
    t.deepEqual([...term.positive, ...term.negative].sort(), listed.sort())
  }
})

/** The list of a category prompt, and the question's category. */
function list(text) {
  return {
    items: [...text.matchAll(/^- (.+)$/gm)].map(([, word]) => word),
    asked: Object.keys(categories).find((name) => new RegExp(`${name}\\?`).test(text)),
  }
}

test('categories: the bundled wording, and one item of the category at every place equally often', async (t) => {
  const places = Array(6).fill(0)
  for (const prompt of categoryPrompts(categoryFamily)) {
    const { items, asked } = list(prompt.text)
    const bullets = items.map((item) => `- ${item}\n`).join('')
    t.is(prompt.text, `Items:\n${bullets}Question: which item is a ${asked}?\nAnswer:`)
    t.deepEqual(Object.keys(prompt.contrasts), [asked, 'category'])
    const place = items.findIndex((item) => categories[asked].includes(item))
    places[place] += 1
    for (const contrast of [asked, 'category']) {
      const [term] = await termWords(prompt, contrast, bundledTokenizer)
      t.is(term.query, ':')
      t.deepEqual(term.positive, [items[place]])
      t.deepEqual(
        term.negative,
        items.filter((_, i) => i !== place),
      )
    }
  }
  t.deepEqual(places, Array(6).fill(8))
})

for (const select of /** @type {const} */ (['first', 'last'])) {
  test(`categories: the ${select} item against the others of its category`, async (t) => {
    const family = { ...categoryFamily, select, items: 7, matching: 3, pooled: false }
    for (const prompt of categoryPrompts(family)) {
      const { items, asked } = list(prompt.text)
      t.true(prompt.text.endsWith(`Question: which item is the ${select} ${asked}?\nAnswer:`))
      t.deepEqual(Object.keys(prompt.contrasts), [asked, select])
      const own = items.filter((item) => categories[asked].includes(item))
      const [all] = await termWords(prompt, asked, bundledTokenizer)
      t.deepEqual(all.positive, own)
      t.deepEqual(
        all.negative,
        items.filter((item) => !own.includes(item)),
      )
      const [one] = await termWords(prompt, select, bundledTokenizer)
      const wanted = select === 'first' ? own[0] : own[2]
      t.deepEqual(one.positive, [wanted])
      t.deepEqual(
        one.negative,
        own.filter((item) => item !== wanted),
      )
    }
  })
}

test('categories of one’s own: words of two categories, articles, wording, several words', async (t) => {
  const own = {
    animal: ['red fox', 'item', 'crow'],
    'odd thing': ['crow', 'is', 'red'],
    gem: ['opal', 'ruby', 'jade', 'onyx'],
  }
  const template = '{article} {category}, of these:\n{items}\n{category}:'
  const options = {
    categories: own,
    items: 4,
    prompts: 30,
    seed: 2,
    asked: ['animal', 'odd thing'],
    template,
  }
  const prompts = categoryPrompts(options)
  const tokenizer = writeSplitTokenizer(
    path.join(folder, 'own.json'),
    prompts.map((p) => p.text),
    [],
  )
  for (const [i, prompt] of prompts.entries()) {
    const asked = options.asked[i % 2]
    const { items } = list(prompt.text)
    t.true(prompt.text.startsWith(`an ${asked}, of these:\n- `))
    t.true(prompt.text.endsWith(`\n${asked}:`))
    t.is(new Set(items).size, 4)
    // "crow" is of both, so it is never a negative.
    const wanted = items.filter((item) => own[asked].includes(item))
    t.is(wanted.length, 1)
    const [term] = await termWords(prompt, asked, tokenizer)
    t.deepEqual(term.positive, [wanted[0].split(' ').at(-1)])
  }
  const gems = categoryPrompts({ ...options, asked: ['gem'] })
  t.true(gems[0].text.startsWith('a gem, '))
})

test('words that the tokenizer splits are placed by their last token', async (t) => {
  const texts = Object.values(families)
    .flat()
    .flatMap(({ text, counterfactual }) => [text, counterfactual?.text ?? ''])
    .filter((text) => text !== '')
  const split = [...objects, ...Object.values(categories).flat()].filter((word) => word.length > 3)
  const tokenizer = writeSplitTokenizer(path.join(folder, 'split.json'), texts, new Set(split))
  const isLastPiece = (token, word) => token.startsWith('##') && word.endsWith(token.slice(2))
  let pieces = 0
  for (const prompt of [...families['categories, first'], ...families['categories, all']]) {
    const { items, asked } = list(prompt.text)
    const own = items.filter((item) => categories[asked].includes(item))
    const { index, words } = await located(prompt.text, tokenizer)
    const tokens = prompt.contrasts[asked].terms[0].positive.map(index)
    t.is(tokens.length, own.length)
    for (const [i, token] of tokens.entries()) {
      const whole = own[i].length <= 3
      t.true(whole ? words[token] === own[i] : isLastPiece(words[token], own[i]), prompt.text)
      t.regex(words[token + 1], /^(-|Question)$/, 'the word ends here')
      if (!whole) {
        pieces += 1
      }
    }
  }
  t.true(pieces > 50)
  for (const prompt of families['lexical, which object']) {
    const { listed, asked } = scene(prompt.text)
    const word = listed.find((pair) => pair.box === asked).object
    const [{ positive, negative }] = await termWords(prompt, 'lexical', tokenizer)
    for (const [token] of [positive, negative]) {
      t.true(word.length <= 3 ? token === word : isLastPiece(token, word), prompt.text)
    }
  }
})

test('keys that a tokenizer joins are refused', async (t) => {
  const tokenizer = await loadTokenizer(bundledTokenizer)
  const text = 'Box AB is Box'
  /** @type {import('../dist/index.js').Term[]} */
  const terms = [{ query: -1, positive: [{ char: [4, 5] }], negative: [{ char: [5, 6] }] }]
  await t.throwsAsync(checkTokenPositions([{ contrast: 'c', text, terms }], tokenizer), {
    code: 'ERR_POSITION',
    message: /token 2 is both a positive and a negative key/,
  })
})

test('the bundled transformer answers the prompts', async (t) => {
  const sets = {
    order: boxesOrder({ ...boxFamily, pairs: 6, prompts: 100 }),
    'category-6': categoryPrompts({ ...categoryFamily, prompts: 100 }),
    'category-3': categoryPrompts({ ...categoryFamily, prompts: 60, items: 3 }),
    'category-8': categoryPrompts({ ...categoryFamily, prompts: 60, items: 8 }),
  }
  for (const [name, prompts] of Object.entries(sets)) {
    const contrast = name === 'order' ? 'order' : 'category'
    const said = await answers(
      bundledFile('boxes.onnx'),
      bundledTokenizer,
      prompts.map((p) => p.text),
    )
    let right = 0
    for (const [i, prompt] of prompts.entries()) {
      const [term] = await termWords(prompt, contrast, bundledTokenizer)
      if (term.positive[0] === said[i]) {
        right += 1
      }
    }
    t.true(right / prompts.length >= 0.95, `${name}: ${right} of ${prompts.length}`)
  }
})

async function subspaces(prompts) {
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledTokenizer })
  return decompose(await accumulate(model, prompts, { batchSize: 64 }), { rank: ENERGY })
}

test('L3H2 is the filter head: each category has a direction, and its items score far above the others', async (t) => {
  const result = await subspaces(categoryPrompts({ categories, prompts: 400, seed: 1 }))
  t.deepEqual(result.contrastNames.toSorted(), ['category', ...Object.keys(categories)].toSorted())
  for (const category of Object.keys(categories)) {
    const { rank, scoreGap, terms } = result.head('L3H2').contrast(category)
    t.is(terms, 50)
    t.is(rank, 1, category)
    t.true(scoreGap > 3, `${category}: ${scoreGap}`)
  }
  const gap = (head) => result.head(head).contrast('category').scoreGap
  const best = result.headNames.reduce((a, b) => (gap(b) > gap(a) ? b : a))
  t.is(best, 'L3H2')
})

test('L3H0 binds: by order, and by the word that is asked about', async (t) => {
  const family = { objects, boxes, prompts: 300, seed: 1 }
  const result = await subspaces([...boxesOrder(family), ...boxesUnused(family), ...boxesLexical(family)])
  const gap = (head, contrast) => result.head(head).contrast(contrast).scoreGap
  for (const contrast of ['order', 'unused']) {
    const best = result.headNames.reduce((a, b) => (gap(b, contrast) > gap(a, contrast) ? b : a))
    t.is(best, 'L3H0', contrast)
    t.true(gap('L3H0', contrast) > 1, `${contrast}: ${gap('L3H0', contrast)}`)
  }
  // Query and key change together: nothing is gained, while the covariances differ.
  t.true(Math.abs(gap('L3H0', 'lexical')) < 0.1 * gap('L3H0', 'unused'))
  t.true(result.head('L3H0').contrast('lexical').rank >= 3)
})

test('payload: prompts of a bundled toy give its ranks, from memory and from files alike', async (t) => {
  const toy = bundledFile('toy-task1-r3-r5-d16.onnx')
  const model = await openModel(toy)
  const { seed, ...config } = readToyConfig(model)
  const prompts = payloadPrompts({ ...config, toySeed: seed, prompts: 2000, seed: 5 })
  t.deepEqual(prompts, new ToyTask({ seed, ...config }).contrastPrompts(2000, 5))
  const file = path.join(folder, 'toy.jsonl')
  const files = await writePrompts(file, prompts)
  t.deepEqual(
    files,
    ['toy.jsonl', 'toy.context.npy', 'toy.query.npy'].map((name) => path.join(folder, name)),
  )
  const [first] = readFileSync(file, 'utf8').split('\n', 1)
  t.deepEqual(JSON.parse(first).inputs, {
    context: { npy: 'toy.context.npy', row: 0 },
    query: { npy: 'toy.query.npy', row: 0 },
  })
  t.deepEqual(readNpy(files[1]).shape, [2000, 16, config.dModel])
  t.deepEqual(readNpy(files[2], 1999).data, queryOf(prompts[1999]))
  const [a, b] = await Promise.all(
    [prompts, readPrompts(file)].map(async (set) => {
      const sums = await accumulate(model, set, { batchSize: 64 })
      const result = await decompose(sums, { rank: ENERGY })
      return ['z1', 'z2'].map((name) => result.head('L0H0').contrast(name))
    }),
  )
  t.deepEqual(
    a.map(({ rank }) => rank),
    [3, 5],
  )
  t.deepEqual(a, b)
})

test('payload: the second task has normal latents', (t) => {
  const [one, two] = /** @type {const} */ ([1, 2]).map((task) =>
    queryOf(payloadPrompts({ task, r1: 2, r2: 1, prompts: 1, seed: 1, noise: 0 })[0]),
  )
  // Queries of task 1 without noise are among eight sums of the encoders' rows; those of task 2 are not.
  const { b1, b2 } = new ToyTask({ ...toyConfig, task: 1, r1: 2, r2: 1, noise: 0 }).encoders
  const corners = [...Array(8).keys()].map((bits) =>
    Array.from({ length: 32 }, (_, c) => {
      const sign = (i) => ((bits >> i) & 1 ? 1 : -1)
      return sign(0) * b1[c] + sign(1) * b1[32 + c] + sign(2) * b2[c]
    }),
  )
  const isCorner = (vector) => corners.some((c) => c.every((x, i) => Math.abs(x - vector[i]) < 1e-12))
  t.true(isCorner(one))
  t.false(isCorner(two))
})
const toyConfig = { dModel: 32, dHead: 16, context: 16, payloads: 10, seed: 1 }

test('writing: tensors of one input have one shape, counterfactuals have rows too', async (t) => {
  const tensor = (n) => ({ data: Float32Array.from({ length: n }, (_, i) => i + 0.5), shape: [n] })
  const prompt = (n) => ({
    contrast: 'c',
    inputs: { 'a/b': tensor(n), a_b: { data: [1], shape: [1] } },
    terms: [{ query: 0, positive: [0] }],
    counterfactual: { inputs: { 'a/b': tensor(n) }, terms: [{ query: 0, negative: [1] }] },
  })
  const file = path.join(folder, 'tensors.jsonl')
  const files = await writePrompts(file, [prompt(3), prompt(3)])
  t.is(new Set(files).size, 3)
  const { data, shape, descr } = readNpy(files[1])
  t.deepEqual([descr, shape], ['<f4', [4, 3]])
  t.deepEqual([...data.slice(9)], [0.5, 1.5, 2.5])
  const [, second] = readFileSync(file, 'utf8').split('\n')
  t.is(JSON.parse(second).counterfactual.inputs['a/b'].row, 3)
  await t.throwsAsync(writePrompts(file, [prompt(3), prompt(4)]), { code: 'ERR_SHAPE', message: /prompt 1/ })
})

test('writing never replaces what is no prompt set', async (t) => {
  const prompts = families['order, which box']
  const file = path.join(folder, 'notes.txt')
  writeFileSync(file, 'notes')
  await t.throwsAsync(writePrompts(file, prompts), { code: 'ERR_FILE', message: /is not a prompt set/ })
  t.is(readFileSync(file, 'utf8'), 'notes')
  const set = path.join(folder, 'again.jsonl')
  await writePrompts(set, prompts)
  await t.notThrowsAsync(writePrompts(set, prompts.slice(0, 2)))
  t.is(readFileSync(set, 'utf8').trim().split('\n').length, 2)
  writeFileSync(path.join(folder, 'busy.query.npy'), 'notes')
  const payload = payloadPrompts({ task: 1, r1: 1, r2: 1, prompts: 1, seed: 1 })
  await t.throwsAsync(writePrompts(path.join(folder, 'busy.jsonl'), payload), {
    code: 'ERR_FILE',
    message: /busy\.query\.npy: it exists, and is not a \.npy file/,
  })
  await t.throwsAsync(writePrompts(set, []), { code: 'ERR_PROMPT' })
  await t.throwsAsync(writePrompts(set, [{ text: 'a', contrast: 'c' }]), { code: 'ERR_PROMPT' })
})

test('the bundled words can be given whole', (t) => {
  const common = { ...bundledWords(), prompts: 24, seed: 3 }
  t.deepEqual(boxesOrder({ ...common, pairs: 4 }), families['order, which box'])
  t.deepEqual(categoryPrompts(common), categoryPrompts({ ...categoryFamily, prompts: 24 }))
})

/** @type {[any, RegExp][]} */
const wrongBoxes = [
  [{ pairs: 1 }, /pairs is 1, expected a whole number of at least 2/],
  [{ prompts: 0 }, /prompts is 0, expected a whole number/],
  [{ seed: -1 }, /seed is -1, expected a whole number/],
  [{ boxes: ['A', 'B', 'C'] }, /4 pairs need 4 boxes, and there are 3/],
  [{ objects: objects.slice(0, 4) }, /beside the one that is asked about, and there are 3/],
  [
    { pairs: 5, asked: objects.slice(4) },
    /5 pairs need 5 objects beside the one that is asked about, and there are 4/,
  ],
  [{ asked: ['unicorn'] }, /"unicorn", which is not one of the objects/],
  [{ question: 'object-of-box', asked: ['pear'] }, /"pear", which is not one of the boxes/],
  [{ objects: ['pen', 'pen'] }, /objects holds "pen" twice/],
  [{ objects: [' pen'] }, /" pen", which is not a word/],
  [{ objects: [] }, /objects is a list of words, not empty/],
  [{ question: 'where' }, /no question "where"/],
  [{ pair: 3 }, /no "pair"/],
]
for (const [change, message] of wrongBoxes) {
  test(`boxes refuse ${JSON.stringify(change).slice(0, 60)}`, (t) => {
    t.throws(() => boxesLexical({ ...boxFamily, ...change }), { code: 'ERR_ARGUMENT', message })
  })
}

/** @type {[any, RegExp][]} */
const wrongCategories = [
  [{ items: 1 }, /items is 1, expected a whole number of at least 2/],
  [{ matching: 6 }, /6 matching items of 6 leave none/],
  [{ matching: 0 }, /matching is 0, expected a whole number/],
  [
    { select: 'first', matching: 1 },
    /matching of select "first" is 1, expected a whole number of at least 2/,
  ],
  [{ select: 'middle' }, /no selection "middle"/],
  [{ matching: 11, items: 12 }, /11 words of fruit and 1 others; there are 10 and 70/],
  [{ items: 80 }, /79 others; there are 10 and 70/],
  [{ asked: ['stone'] }, /"stone", which is not one of the categories/],
  [{ categories: { fruit: ['apple'] } }, /two or more/],
  [{ categories: { fruit: ['apple'], 'a.b': ['x'] } }, /"a\.b" cannot name a category/],
  [{ categories: { fruit: ['apple'], category: ['x'] } }, /"category" cannot name a category/],
  [{ categories: { fruit: ['apple'], tool: ['a\nb'] } }, /which is not a word/],
  [{ template: 'Which is a {category}?' }, /\{items\} 0 times/],
  [{ template: '{items}{items}{category}' }, /\{items\} 2 times/],
  [{ template: '{items}' }, /\{category\} 0 times/],
  [{ matchin: 2 }, /no "matchin"/],
]
for (const [change, message] of wrongCategories) {
  test(`categories refuse ${JSON.stringify(change)}`, (t) => {
    t.throws(() => categoryPrompts({ ...categoryFamily, ...change }), { code: 'ERR_ARGUMENT', message })
  })
}

/** @type {[any, RegExp][]} */
const wrongPayloads = [
  [{ task: 3 }, /no task 3/],
  [{ r1: 0 }, /r1 is 0, expected a whole number/],
  [{ noise: -1 }, /noise/],
  [{ toySeed: 0.5 }, /toySeed/],
  [{ pairs: 0 }, /pairs/],
  [{ encoders: 1 }, /no "encoders"/],
]
for (const [change, message] of wrongPayloads) {
  test(`payload refuses ${JSON.stringify(change)}`, (t) => {
    const options = { task: 1, r1: 2, r2: 2, prompts: 1, seed: 1, ...change }
    t.throws(() => payloadPrompts(options), { code: 'ERR_ARGUMENT', message })
  })
}
