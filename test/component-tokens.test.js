/** The ends of components in tokens: against projections of rows that were captured one by one. */

import test from 'ava'
import { Extremes } from '../dist/attribution/components/extremes.js'
import { termRuns } from '../dist/capture/terms/term-runs.js'
import { promptSet } from '../dist/contrast/prompt-set.js'
import {
  accumulate,
  attribute,
  boxesLexical,
  boxesOrder,
  bundledFile,
  bundledWords,
  decompose,
  disposeSums,
  openModel,
  payloadPrompts,
} from '../dist/index.js'
import { readableToken, tokenInContext } from '../dist/model/tokenizer/readable.js'
import { capturedRows } from './helpers/edits.js'
import { ENERGY } from './helpers/rank-rules.js'

const words = bundledWords()
const tokenizerFile = bundledFile('boxes.tokenizer.json')
const base = { ...words, prompts: 120, seed: 1 }
const [LAYER, HEAD] = [3, 0]
const NAME = `L${LAYER}H${HEAD}`
/**
 * Few draws: what is discovered here is far above them.
 * @type {import('../dist/index.js').RankRule}
 */
const TEST = { rule: 'permutation', draws: 199, mostDraws: 199 }

let made
function boxes() {
  made ??= (async () => {
    const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: tokenizerFile })
    const sums = await accumulate(model, [...boxesOrder(base), ...boxesLexical({ ...base, seed: 2 })], {
      heads: 'L3H0,L0H0,L1H0',
    })
    const result = await decompose(sums, { rank: TEST })
    const plain = await decompose(sums, { rank: ENERGY })
    disposeSums(sums)
    return { model, result, plain }
  })()
  return made
}

/** The ends of a list of candidates by the definition. */
function endsOf(candidates, oncePerPrompt) {
  const values = candidates.map(({ value }) => value)
  const mean = values.reduce((a, b) => a + b) / values.length
  const sd = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1))
  const scaled = candidates.map((one) => ({ ...one, value: (one.value - mean) / sd }))
  const end = (sign) => {
    const kept = []
    const order = (a, b) => sign * (b.value - a.value) || a.prompt - b.prompt || a.position - b.position
    for (const one of scaled.toSorted(order)) {
      if (kept.some(({ text }) => text === one.text)) {
        continue
      }
      if (oncePerPrompt && kept.some(({ prompt }) => prompt === one.prompt)) {
        continue
      }
      if (kept.length < 5) {
        kept.push(one)
      }
    }
    return kept
  }
  return { top: end(1), bottom: end(-1) }
}

/** A window of words that carry no space, as boxes.tokenizer.json has. */
const windowOf = (tokens, at) => ({
  before: tokens
    .slice(Math.max(0, at - 6), at)
    .map((word) => `${word} `)
    .join(''),
  token: tokens[at],
  after: tokens
    .slice(at + 1, at + 7)
    .map((word) => ` ${word}`)
    .join(''),
})

function alike(t, found, expected, where) {
  t.is(found.length, expected.length, where)
  found.forEach((one, i) => {
    const { prompt, position, value, text, ...rest } = expected[i]
    t.true(Math.abs(one.value - value) < 1e-3, `${where} ${i}: ${one.value}, expected ${value}`)
    // Of values that rounding may exchange, the words are not compared.
    const near = [expected[i - 1], expected[i + 1]].some(
      (other) => other && Math.abs(other.value - value) < 1e-4,
    )
    if (near) {
      return
    }
    t.like(one, { prompt, position, ...rest }, `${where} ${i}`)
  })
}

const held = boxesOrder({ ...base, prompts: 30, seed: 11 })

test('the ends of every component are those of all queries and keys, and of the null', async (t) => {
  const { model, result } = await boxes()
  const report = await attribute(model, held, { result, heads: NAME, features: ['order'], randoms: 0 })
  const { u, v, rank, nulls, test: tested } = result.head(NAME).contrast('order')
  const { query, key } = report.components.order
  t.deepEqual(Object.keys(query), [NAME])
  t.is(query[NAME].length, Math.min(8, rank))
  const terms = []
  for await (const { run, prompt, query: at, term } of termRuns(model, promptSet(held), { seed: 0 })) {
    const rows = await capturedRows(model, LAYER, HEAD, { run, query: at })
    const { ids } = /** @type {import('../dist/capture/encode.js').TokenRun} */ (run)
    const tokens = ids.map((id) => model.tokenizer.token(id))
    terms.push({ ...rows, prompt, at, term, tokens })
  }
  t.is(terms.length, held.length)
  const d = 32
  t.is(u.length, d * rank)
  const along = (row, basis, c) => row.reduce((sum, x, i) => sum + x * basis[i * rank + c], 0)
  for (const c of [0, rank > 1 ? 1 : 0]) {
    const ofNull = { u: nulls.u.subarray(0, d * rank), v: nulls.v.subarray(0, d * rank) }
    for (const { bases, pick } of [
      { bases: { u, v }, pick: (one) => one },
      { bases: ofNull, pick: (one) => one.null },
    ]) {
      const candidate = ({ prompt, tokens }, position, value, said) => {
        const context = windowOf(tokens, position)
        return { prompt, position, value, ...context, ...said, text: JSON.stringify(context) }
      }
      const queries = terms.map((one) => {
        const said = { label: one.term.label, role: null }
        return candidate(one, one.at, along(one.q, bases.u, c), said)
      })
      const keys = terms.flatMap((one) =>
        one.k.slice(0, one.at + 1).map((row, at) => {
          const { positive, negative, label, negativeLabels } = one.term
          const said = positive.includes(at)
            ? { role: 'positive', label }
            : negative.includes(at)
              ? { role: 'negative', label: negativeLabels[negative.indexOf(at)] }
              : { role: null, label: null }
          return candidate(one, at, along(row, bases.v, c), said)
        }),
      )
      for (const [list, candidates, once] of [
        [query[NAME], queries, true],
        [key[NAME], keys, false],
      ]) {
        t.is(list[c].component, c + 1)
        t.deepEqual(
          list[c].block,
          tested.blocks.find((block) => block.includes(c)).map((i) => i + 1),
        )
        const expected = endsOf(candidates, once)
        for (const end of ['top', 'bottom']) {
          alike(t, pick(list[c])[end], expected[end], `${c} ${once} ${end}`)
        }
      }
    }
  }
  t.true(key[NAME].some(({ top, bottom }) => [...top, ...bottom].some(({ role, label }) => role && label)))
})

test('batches change nothing; of a prompt with several terms every key counts once, with what any term says', async (t) => {
  const { model, result } = await boxes()
  const options = { result, heads: NAME, features: ['order'], randoms: 0, reads: false }
  const of = async (set, more) => (await attribute(model, set, { ...options, ...more })).components.order
  const once = await of(held)
  const places = (components) =>
    ['query', 'key'].flatMap((side) =>
      components[side][NAME].flatMap(({ top, bottom }) =>
        [...top, ...bottom].map(({ prompt, position, role, label }) => [side, prompt, position, role, label]),
      ),
    )
  t.deepEqual(places(await of(held, { batchSize: 3 })), places(once))
  // The same keys from a term that ends before them and says nothing of them, then from the term itself.
  const before = { query: 3, positive: [1], negative: [2] }
  const twice = held.map((prompt) => ({ ...prompt, terms: [before, ...prompt.terms] }))
  const several = await of(twice, { batchSize: 4 })
  const keys = (components) =>
    components.key[NAME].map(({ top, bottom }) =>
      [...top, ...bottom].map(({ prompt, position, value }) => [prompt, position, value.toFixed(2)]),
    )
  t.deepEqual(keys(several), keys(once))
  const roles = (components) =>
    places(components).filter(([side, , position]) => side === 'key' && position > 3)
  t.deepEqual(roles(several), roles(once))
  t.true(roles(once).some(([, , , role]) => role !== null))
  // A later term that looks further back may say what the first did not.
  const [plain] = held
  const silent = { query: -1, positive: [1], negative: [2] }
  const told = await of([{ ...plain, terms: [silent, ...plain.terms] }])
  const own = await of([plain])
  t.deepEqual(roles(told), roles(own))
})

test('queries: a prompt at most once, however many terms it has', async (t) => {
  const { model, result } = await boxes()
  const many = held.slice(0, 12).map((prompt) => ({
    ...prompt,
    terms: [
      ...prompt.terms,
      { query: -2, positive: [2], negative: [3] },
      { query: -1, positive: [2], negative: [3] },
    ],
  }))
  const { components } = await attribute(model, many, {
    result,
    heads: NAME,
    features: ['order'],
    reads: false,
  })
  for (const { top, bottom } of components.order.query[NAME]) {
    for (const end of [top, bottom]) {
      t.is(new Set(end.map(({ prompt }) => prompt)).size, end.length)
    }
  }
})

test('features that were not discovered, no points, and models without tokens have none', async (t) => {
  const { model, result, plain } = await boxes()
  const of = async (more) => attribute(model, held, { result, randoms: 0, reads: false, ...more })
  t.false(result.head('L0H0').contrast('order').test.discovered)
  const both = await of({ heads: `L0H0,${NAME}`, features: ['order'] })
  t.deepEqual(Object.keys(both.components.order.key), [NAME])
  t.is((await of({ heads: 'L0H0', features: ['order'] })).components, undefined)
  t.is((await of({ heads: NAME, points: 0 })).components, undefined)
  // Without a test, and without null subspaces, all that have a rank, each in a block of its own.
  const described = await of({ result: plain, heads: 'L0H0', features: ['order'] })
  const list = described.components.order.query.L0H0
  t.is(list.length, Math.min(8, plain.head('L0H0').contrast('order').rank))
  list.forEach(({ component, block, ...rest }, c) => {
    t.deepEqual([component, block], [c + 1, [c + 1]])
    t.false('null' in rest)
  })
  const toy = await openModel(bundledFile('toys/toy-task1-r3-r3-d16.onnx'))
  const payload = payloadPrompts({ task: 1, r1: 3, r2: 3, prompts: 12, seed: 1 })
  const sums = await accumulate(toy, payload)
  const shapes = await decompose(sums, { rank: ENERGY })
  disposeSums(sums)
  t.is((await attribute(toy, payload, { result: shapes, randoms: 0 })).components, undefined)
})

test('without a tokenizer tokens are named by their ids', async (t) => {
  const { result } = await boxes()
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: false })
  const { tokenizer } = (await boxes()).model
  const ids = await Promise.all(held.slice(0, 6).map(async ({ text }) => (await tokenizer.encode(text)).ids))
  const set = ids.map((tokens) => ({
    contrast: 'order',
    tokens,
    terms: [{ query: -1, positive: [6], negative: [13] }],
  }))
  const { components } = await attribute(model, set, { result, heads: NAME, features: ['order'], randoms: 0 })
  for (const { top } of components.order.key[NAME]) {
    for (const { prompt, position, token, before } of top) {
      t.is(token, `#${ids[prompt][position]}`)
      t.true(position === 0 || before.endsWith(`#${ids[prompt][position - 1]} `))
    }
  }
})

const item =
  (prompt, text = `${prompt}`, position = 0) =>
  () => ({ prompt, position, text })

test('extremes: moments of all values, the ends without repetition, in any order', (t) => {
  const values = Array.from({ length: 500 }, (_, i) => 1e6 + ((i * 7919) % 503) / 10)
  const names = values.map((_, i) => `${i % 3 === 0 ? 'same' : i}`)
  const of = (order) => {
    const extremes = new Extremes(4)
    for (const i of order) {
      extremes.take(values[i], item(i, names[i]))
    }
    return extremes.ends
  }
  const order = [...values.keys()]
  const { top, bottom } = of(order)
  t.deepEqual(
    of(order.toReversed()).top.map(({ item: { prompt } }) => prompt),
    top.map(({ item: { prompt } }) => prompt),
  )
  const mean = values.reduce((a, b) => a + b) / 500
  const sd = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 499)
  for (const { end, sign } of [
    { end: top, sign: 1 },
    { end: bottom, sign: -1 },
  ]) {
    const kept = []
    for (const i of order.toSorted((a, b) => sign * (values[b] - values[a]) || a - b)) {
      if (kept.length < 4 && !kept.some((k) => names[k] === names[i])) {
        kept.push(i)
      }
    }
    t.deepEqual(
      end.map(({ item: { prompt } }) => prompt),
      kept,
    )
    for (const [i, { value }] of end.entries()) {
      t.true(Math.abs(value - (values[kept[i]] - mean) / sd) < 1e-9)
    }
  }
})

test('extremes: one of a prompt, ties to the earlier, nothing of what is no number, alike values are 0', (t) => {
  const extremes = new Extremes(2, { oncePerPrompt: true })
  extremes.take(1, item(0, 'a'))
  extremes.take(3, item(0, 'b', 1))
  extremes.take(2, item(1, 'c'))
  extremes.take(3, item(3, 'd'))
  extremes.take(3, item(2, 'e'))
  extremes.take(Number.NaN, item(4, 'f'))
  const ends = extremes.ends
  t.deepEqual(
    ends.top.map(({ item: { text } }) => text),
    ['b', 'e'],
  )
  t.deepEqual(
    ends.bottom.map(({ item: { text } }) => text),
    ['a', 'c'],
  )
  const alike = new Extremes(2)
  for (let i = 0; i < 5; i++) {
    alike.take(0.1 + i * 1e-17, item(i))
  }
  t.deepEqual(
    alike.ends.top.map(({ value }) => value),
    [0, 0],
  )
})

test('tokens in context read as text: space marks, WordPiece, words, and the ends of a prompt', (t) => {
  const around = (tokens, place, reach = 2) => Object.values(tokenInContext(tokens, place, reach))
  t.deepEqual(around(['<s>', '▁The', '▁ha', 't', '▁is'], 3), ['t', ' The ha', ' is'])
  t.deepEqual(around(['The', 'Ġhat', 'Ċ', 'Ġis'], 1), [' hat', 'The', '⏎ is'])
  t.deepEqual(around(['the', 'ha', '##t', 'is', 'in'], 1), ['ha', 'the ', 't is'])
  t.deepEqual(around(['the', 'ha', '##t', 'is', 'in'], 2), ['t', 'the ha', ' is in'])
  t.deepEqual(around(['the', 'hat', 'is'], 0, 1), ['the', '', ' hat'])
  t.deepEqual(around(['the', 'hat', 'is'], 2, 1), ['is', 'hat ', ''])
  t.is(readableToken('Ġhat\n'), ' hat⏎')
  // Bytes as characters, a part of a character, and words that only look like bytes.
  for (const word of ['é', ' naïve', '中文', '🙂', ' »x']) {
    const bytes = [...Buffer.from(word)].map((byte) => byteCharacter(byte)).join('')
    t.is(readableToken(bytes), word)
  }
  t.is(readableToken('ä¸'), 'ä¸')
  for (const word of ['é', 'naïve', 'über', 'Ångström', 'œuvre', '中']) {
    t.is(readableToken(word), word)
  }
})

/** The character that byte-level tokenizers write for a byte, by their definition. */
function byteCharacter(byte) {
  const own = [...Array(256).keys()].filter(
    (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174,
  )
  if (own.includes(byte)) {
    return String.fromCharCode(byte)
  }
  const others = [...Array(256).keys()].filter((b) => !own.includes(b))
  return String.fromCharCode(256 + others.indexOf(byte))
}
