/** `checkPromptSet`: imbalances that are planted are found with their size, and balanced sets are not warned about. */

import test from 'ava'
import { flipTest } from '../dist/contrast/check/units/flip-test.js'
import { UnitSample } from '../dist/contrast/check/units/sample.js'
import {
  boxesLexical,
  boxesOrder,
  boxesUnused,
  bundledFile,
  bundledWords,
  categoryPrompts,
  checkPromptSet,
  payloadPrompts,
} from '../dist/index.js'
import { seededRandom } from '../dist/math/random.js'
import { counterfactualSet, labelSet, slowAuc, slowTotalVariation, termSet } from './helpers/check-sets.js'

/** @import { Drawn } from './helpers/check-sets.js' */

const words = bundledWords()
const tokenizer = bundledFile('boxes.tokenizer.json')

/** The only contrast of a set, its findings and measures by name. */
async function checked(prompts, options) {
  const check = await checkPromptSet(prompts, options)
  const [contrast] = check.contrasts
  const find = (kind, level = 'warning') =>
    contrast.findings.find((f) => f.kind === kind && f.level === level)
  const measure = (name) => contrast.measures.find((m) => m.name === name)
  const warned = contrast.findings.filter(({ level }) => level === 'warning').map(({ kind }) => kind)
  return { check, contrast, find, measure, warned }
}

const sidesOf = (prompts, value) =>
  prompts.map((prompt) => {
    const [{ positive, negative }] = prompt.terms
    return {
      positive: positive.map((at) => value(prompt, at)),
      negative: negative.map((at) => value(prompt, at)),
    }
  })

const near = (t, actual, expected, tolerance = 1e-9) =>
  t.true(Math.abs(actual - expected) <= tolerance, `${actual}, expected ${expected}`)

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length

test('position and distance: positives that lie early, with their size', async (t) => {
  const early = ({ keys, random }) => {
    if (random.next() < 0.5) {
      const least = keys.indexOf(Math.min(...keys))
      ;[keys[0], keys[least]] = [keys[least], keys[0]]
    }
  }
  const prompts = termSet(1, { arrange: early })
  const { find, warned, measure, contrast } = await checked(prompts)
  t.deepEqual(warned, ['position', 'distance'])
  const places = sidesOf(prompts, (_, at) => at)
  const { size, message } = find('position')
  near(t, size.auc, slowAuc(places))
  near(t, size.shift, mean(places.map((x) => mean(x.positive) - mean(x.negative))))
  const shares = sidesOf(prompts, ({ tokens }, at) => at / (tokens.length - 1))
  near(t, size.relativeShift, mean(shares.map((x) => mean(x.positive) - mean(x.negative))))
  t.regex(
    message,
    /^Positives lie \d\.\d tokens before the negatives .* if position is not the feature, it is in ΔC/,
  )
  const distance = find('distance').size
  near(t, distance.auc, 1 - size.auc)
  near(t, distance.shift, -size.shift)
  // One term a unit: the standard error is that of a mean.
  const each = places.map((x) => slowAuc([x]))
  const deviation = Math.sqrt(mean(each.map((x) => (x - size.auc) ** 2)) * (300 / 299))
  near(t, size.standardError, deviation / Math.sqrt(300))
  near(t, contrast.level, 0.01 / contrast.measures.length)
  t.is(measure('position').p, 1 / 2000)
  const bins = sidesOf(prompts, ({ tokens }, at) => Math.floor((10 * at) / tokens.length))
  near(t, measure('position spread').size, slowTotalVariation(bins))
})

test('position: spread alike on average, not in distribution', async (t) => {
  const middle = (drawn) => {
    drawn.tokens = drawn.tokens.slice(0, 21)
    const { random } = drawn
    const out = random.sample([0, 1, 2, 3, 4, 5, 6], 2)
    drawn.keys = [10, ...out, ...out.map((at) => 20 - at)]
  }
  const { find, warned, measure } = await checked(termSet(2, { arrange: middle }))
  t.deepEqual(warned, ['position', 'distance'])
  near(t, measure('position').size, 0.5)
  near(t, find('position').size.totalVariation, 1)
  t.regex(find('position').message, /spread differently over the tenths of the prompt/)
})

test('tokens: one that positives have more often', async (t) => {
  const planted = ({ tokens, keys, random }) => {
    if (random.next() < 0.4) {
      tokens[keys[0]] = 99
    }
  }
  const prompts = termSet(3, { arrange: planted })
  const { find, warned } = await checked(prompts)
  t.deepEqual(warned, ['token'])
  const { size, message } = find('token')
  near(t, size.totalVariation, slowTotalVariation(sidesOf(prompts, ({ tokens }, at) => tokens[at])))
  const share = mean(
    prompts.map(({ tokens, terms }) => Number(tokens[/** @type {number} */ (terms[0].positive[0])] === 99)),
  )
  t.true(message.includes(`#99 +${(100 * share).toFixed(0)}%`), message)
})

test('text without a tokenizer: characters and words', async (t) => {
  const random = seededRandom(4)
  const prompts = Array.from({ length: 200 }, () => {
    const [a, b] = random.sample(['oak', 'elm', 'fir', 'ash'], 2)
    const early = random.next() < 0.9
    const text = early ? `the red ${a} or a ${b}?` : `the ${b} or a red ${a}?`
    return {
      contrast: 'c',
      text,
      terms: [{ query: -1, positive: [{ match: `red ${a}` }], negative: [{ match: b }] }],
    }
  })
  const { find, contrast } = await checked(prompts)
  t.is(contrast.positionsIn, 'characters')
  const placed = prompts.map(({ text, terms: [{ positive, negative }] }) => ({
    positive: [text.indexOf(positive[0].match)],
    negative: [text.indexOf(negative[0].match)],
  }))
  near(t, find('position').size.auc, slowAuc(placed))
  near(t, find('position').size.shift, mean(placed.map((x) => x.positive[0] - x.negative[0])))
  near(t, find('token').size.totalVariation, 1)
  t.regex(find('token').message, /different words .*"red (oak|elm|fir|ash)" \+/)
  const byIndex = prompts.map((prompt) => ({
    ...prompt,
    terms: [{ query: -1, positive: [1], negative: [2] }],
  }))
  t.is((await checked(byIndex)).contrast.unplacedTerms, 200)
})

test('counterfactuals: distance, relative position, query token and length', async (t) => {
  const later = (here, there) => {
    here.query -= 3
    there.tokens[there.query] = here.tokens[here.query]
  }
  const moved = await checked(counterfactualSet(5, { arrange: later }))
  t.deepEqual(moved.warned, ['distance'])
  near(t, moved.find('distance').size.auc, 0)
  near(t, moved.find('distance').size.shift, -3)

  const asked = await checked(
    counterfactualSet(6, {
      arrange: (here, there) => {
        here.tokens[here.query] = 50
        there.tokens[there.query] = 51
      },
    }),
  )
  t.deepEqual(asked.warned, ['token'])
  near(t, asked.find('token').size.totalVariation, 1)
  t.regex(asked.find('token').message, /^Queries .*#50 \+100%, #51 −100%/)

  const longer = (here, there) => {
    there.tokens.push(1, 2)
    there.tokens[there.query] = here.tokens[here.query]
  }
  const grown = await checked(counterfactualSet(7, { arrange: longer }))
  t.deepEqual(grown.warned, ['position', 'length'])
  near(t, grown.find('length').size.shift, -2)
  near(t, grown.find('length').size.auc, 0)
  t.regex(grown.find('length').message, /^Prompts are 2\.0 tokens shorter than their counterfactuals/)
  t.true(grown.find('position').size.relativeShift > 0)
})

test('keys: numbers of them, rows that terms share, contradictions', async (t) => {
  const more = (/** @type {Drawn} */ { keys: [a, b, c, d] }) => ({
    terms: [
      { query: -1, positive: [a, b], negative: [c] },
      { query: -2, positive: [c], negative: [b, d] },
    ],
  })
  const { find, contrast } = await checked(termSet(8, { more }))
  const { size, message } = find('shared keys', 'note')
  // Of a, b, c and d in every prompt, b and c are used twice, either time on both sides.
  t.deepEqual(size, { rows: 1200, shared: 600, bothSides: 600 })
  t.regex(message, /exchangeable: true is refused/)
  t.is(find('length', 'note'), undefined)
  t.is(contrast.terms, 600)
  const one = await checked(termSet(9))
  t.deepEqual(one.find('length', 'note').size, { positive: 1, negative: 4 })
  t.is(one.find('shared keys', 'note'), undefined)
  const same = (/** @type {Drawn} */ { keys: [a, b], index }) => ({
    terms: [{ query: -1, positive: [a], negative: index < 7 ? [a, b] : [b] }],
  })
  t.is((await checked(termSet(10, { more: same }))).find('shared keys').size.contradictory, 7)
})

test('duplicates, and ids of different prompts', async (t) => {
  const prompts = termSet(11, { more: ({ index }) => ({ id: `p${index}` }) })
  const { check } = await checked([
    ...prompts,
    { ...prompts[3], id: 'again' },
    { ...prompts[4], tokens: Int32Array.from(/** @type {number[]} */ (prompts[4].tokens)) },
    { ...prompts[5], id: 'p6', terms: [{ query: -1, positive: [1], negative: [2] }] },
  ])
  const [duplicates, ids] = check.findings
  t.is(duplicates.size.repeats, 2)
  t.deepEqual(duplicates.where, ['prompt again repeats prompt p3', 'prompt p4 repeats prompt p4'])
  t.is(ids.size.clashes, 1)
  t.deepEqual(ids.where, ['prompt p6 and prompt p6'])
  t.deepEqual((await checkPromptSet(prompts)).findings, [])
})

test('units: how many, and what the rank test makes of them', async (t) => {
  const expected = { 3: /refuses.*= 0\.25/, 5: /refuses.*0\.063/, 6: /fewer than 20/, 19: /fewer than 20/ }
  for (const [prompts, message] of Object.entries({ ...expected, 20: /symmetric/, 99: /symmetric/ })) {
    const { find, contrast } = await checked(termSet(12, { prompts: Number(prompts) }))
    t.is(contrast.units, Number(prompts))
    t.regex(find('units').message, message)
  }
  t.is((await checked(termSet(12, { prompts: 100 }))).find('units'), undefined)
  t.is((await checked(counterfactualSet(12, { prompts: 20 }))).find('units'), undefined)
  t.regex(
    (await checked(termSet(12, { prompts: 8 }))).find('units', 'note').message,
    /8 units cannot show an imbalance/,
  )
  const grouped = await checked(termSet(12, { more: ({ index }) => ({ group: `g${index % 15}` }) }))
  t.is(grouped.contrast.units, 15)
  t.is(grouped.find('units').size.units, 15)
})

/** Every text with three questions, behind an instruction that all prompts have. */
function questions(seed, { group = false, instruction = [], keyInInstruction = false } = {}) {
  const random = seededRandom(seed)
  const draw = (n) => Array.from({ length: n }, () => random.below(40))
  return Array.from({ length: 100 }, (_, text) => {
    const body = draw(12)
    return Array.from({ length: 3 }, () => {
      const tokens = [...instruction, ...body, ...draw(6)]
      const [a, b] = random.sample([0, 1, 2, 3, 4, 5], 2)
      const at = keyInInstruction ? 0 : instruction.length
      const terms = [{ query: -1, positive: [at + a], negative: [at + b] }]
      return { contrast: 'c', tokens, terms, ...(group && { group: `text ${text}` }) }
    })
  }).flat()
}

test('units: prompts that share a text, with and without a group', async (t) => {
  const { find, warned } = await checked(questions(13))
  t.deepEqual(warned, ['shared material'])
  const { size, where, message } = find('shared material')
  t.deepEqual(size, {
    prompts: 300,
    compared: 300,
    sharing: 300,
    beginnings: 100,
    excess: 200 / 300,
    chance: 0,
  })
  t.is(where.length, 2)
  t.regex(message, /Give prompts that share material a common "group"/)
  t.deepEqual((await checked(questions(13, { group: true }))).warned, [])
})

test('units: an instruction that all prompts have is no material, unless the keys lie in it', async (t) => {
  const instruction = Array.from({ length: 40 }, (_, i) => i)
  const arrange = (drawn) => {
    drawn.tokens = [...instruction, ...drawn.tokens]
    drawn.keys = drawn.keys.map((at) => at + instruction.length)
  }
  t.deepEqual((await checked(termSet(14, { arrange }))).warned, [])
  const shared = await checked(questions(14, { instruction }))
  near(t, shared.find('shared material').size.excess, 2 / 3)
  const keys = await checked(questions(14, { instruction, keyInInstruction: true }))
  near(t, keys.find('shared material').size.excess, 299 / 300)
})

test('units: short prompts of few tokens begin alike by chance, which is no warning', async (t) => {
  const arrange = (drawn) => {
    drawn.tokens = drawn.tokens.slice(0, 6).map((id) => id % 4)
    drawn.keys = drawn.random.sample([0, 1, 2, 3, 4], 3)
  }
  const { find, check } = await checked(termSet(15, { arrange }))
  t.is(find('shared material'), undefined)
  t.true(check.warnings <= 1)
})

test('labels: drift, with the place of the label', async (t) => {
  const next = ({ random, share }) => (random.next() < share * 0.8 ? 'late' : random.pick(['a', 'b']))
  const prompts = labelSet(16, { next })
  const { find, warned, measure } = await checked(prompts)
  t.true(warned.includes('label drift'))
  const places = prompts.flatMap(({ labels }) =>
    labels.query.flatMap((x, i) => (x === 'late' ? [i / 19] : [])),
  )
  near(t, find('label drift').size.place, mean(places))
  near(t, find('label drift').size.all, 0.5)
  t.regex(find('label drift').message, /"late" lies at 6\d% of the sequence on average, all labels at 50%/)
  // The observed joint frequencies against the products within a sequence.
  let sum = 0
  for (const label of ['late', 'a', 'b']) {
    for (let bin = 0; bin < 5; bin++) {
      let difference = 0
      for (const { labels } of prompts) {
        const own = labels.query.slice(4 * bin, 4 * bin + 4).filter((x) => x === label).length
        difference += own - labels.query.filter((x) => x === label).length / 5
      }
      sum += Math.abs(difference)
    }
  }
  near(t, measure('label drift').size, sum / 2 / 6000)
})

/** The share of pairs of places that have the same label. */
function shuffledAgreement(labels) {
  const pairs = labels.flatMap((a, i) => labels.slice(i + 1).map((b) => Number(a === b)))
  return mean(pairs)
}

for (const [verb, again] of [
  ['stick', 0.7],
  ['alternate', 0.1],
]) {
  test(`labels: they ${verb}`, async (t) => {
    const next = ({ random, before }) => {
      const others = ['a', 'b', 'c'].filter((x) => x !== before)
      return before !== undefined && random.next() < again ? before : random.pick(others)
    }
    const prompts = labelSet(17, { next, length: () => 40 })
    const { find, warned } = await checked(prompts)
    t.deepEqual(warned, ['label repetition'])
    const { size, message } = find('label repetition')
    const same = prompts.map(
      ({ labels: { query } }) => query.filter((x, i) => i > 0 && x === query[i - 1]).length,
    )
    near(t, size.observed, mean(same) / 39)
    near(t, size.observed, again, 0.02)
    near(t, size.expected, mean(prompts.map(({ labels }) => shuffledAgreement(labels.query))))
    t.regex(message, new RegExp(`^Labels ${verb}: .* when each sequence's labels are shuffled`))
  })
}

test('labels: frequencies, lengths, queries that are skipped', async (t) => {
  const next = ({ random }) => (random.next() < 0.8 ? 'often' : random.pick(['b', 'c', 'd']))
  const length = (_random, index) => (index < 60 ? 100 + index : 20)
  const prompts = labelSet(18, { next, length, prompts: 300 }).map((prompt) => ({
    ...prompt,
    labels: { ...prompt.labels, causal: true },
  }))
  const { find, warned, contrast } = await checked(prompts)
  t.deepEqual(warned, ['sequence lengths', 'skipped queries'])
  const labels = prompts.flatMap(({ labels }) => labels.query)
  const share = labels.filter((x) => x === 'often').length / labels.length
  const frequency = find('class frequency', 'note').size
  near(t, frequency.share, share)
  near(t, frequency.totalVariation, share - 1 / 4)
  t.deepEqual(find('sequence lengths').size, { sequences: 300, lengths: 61, alone: 60, largest: 240 })
  const counts = { complete: 0, withoutPositive: 0, withoutNegative: 0 }
  for (const { labels } of prompts) {
    labels.query.forEach((label, i) => {
      const before = labels.query.slice(0, i)
      const positive = before.some((x) => x === label)
      const negative = before.some((x) => x !== label)
      const kind = !positive ? 'withoutPositive' : negative ? 'complete' : 'withoutNegative'
      counts[kind] += 1
    })
  }
  t.deepEqual(find('skipped queries').size, counts)
  t.is(contrast.terms, counts.complete)
  const plain = await checked(labelSet(18, { prompts: 100, length: () => 3 }))
  t.truthy(plain.find('skipped queries'))
  const single = await checked(labelSet(18, { next: () => 'a' }))
  t.truthy(single.find('class frequency'))
})

test('balanced sets are not warned about, 20 seeds of each form', async (t) => {
  const label = ({ random }) => random.pick(['x', 'y', 'z'])
  const labelled = (drawn) => ({
    terms: [{ query: -1, positive: [drawn.keys[0]], negative: drawn.keys.slice(1), label: label(drawn) }],
  })
  for (let seed = 100; seed < 120; seed++) {
    for (const prompts of [
      termSet(seed, { prompts: 150, more: labelled }),
      termSet(seed, { prompts: 150, vocabulary: 2000 }),
      counterfactualSet(seed, { prompts: 150 }),
      labelSet(seed, { prompts: 150 }),
    ]) {
      const { check, contrast } = await checked(prompts)
      t.is(check.warnings, 0, JSON.stringify(contrast.findings))
      t.false(contrast.findings.some(({ kind }) => !['length', 'skipped queries'].includes(kind)))
    }
  }
})

test('terms of a group that lean to one side together are one unit, 20 seeds', async (t) => {
  for (let seed = 200; seed < 220; seed++) {
    const sides = Array.from({ length: 120 }, seededRandom(seed + 5000).next)
    const lean = (drawn) => {
      const least = sides[drawn.index % 120] < 0.5
      drawn.keys = drawn.keys.slice(0, 2).sort((a, b) => (least ? a - b : b - a))
    }
    const more = ({ index }) => ({ group: `g${index % 120}` })
    const { warned, measure } = await checked(termSet(seed, { prompts: 600, arrange: lean, more }))
    t.deepEqual(warned, [])
    t.is(measure('position').units, 120)
  }
})

test('the p-value is that of all flips', async (t) => {
  const random = seededRandom(21)
  const vectors = Array.from({ length: 10 }, () => ({
    weight: 1,
    entries: new Map([0, 1, 2].map((feature) => [feature, random.normal() + 0.3])),
  }))
  let exceeding = 0
  const squares = (bits) =>
    [0, 1, 2]
      .map(
        (f) =>
          vectors.reduce((sum, { entries }, u) => sum + ((bits >> u) & 1 ? -1 : 1) * entries.get(f), 0) ** 2,
      )
      .reduce((a, b) => a + b)
  for (let bits = 0; bits < 1024; bits++) {
    exceeding += Number(squares(bits) >= squares(0) - 1e-9)
  }
  const exact = exceeding / 1024
  const { p, size } = await flipTest(vectors, { single: false, draws: 1999, seed: 3 })
  near(t, p, exact, 4 * Math.sqrt((exact * (1 - exact)) / 1999) + 1 / 2000)
  const sums = [0, 1, 2].map((f) => vectors.reduce((sum, { entries }) => sum + entries.get(f), 0))
  near(t, size, sums.reduce((a, b) => a + Math.abs(b), 0) / 20)
})

test('the sample of units does not depend on their order, and keeps whole units', (t) => {
  const names = Array.from({ length: 500 }, (_, i) => `group ${i}`)
  const kept = (order) => {
    const sample = new UnitSample(50, 1, () => ({ seen: [] }))
    for (const name of [...order, ...order]) {
      sample.take(name)?.seen.push(name)
    }
    return sample.records().map(({ seen }) => seen.join())
  }
  const there = kept(names)
  t.is(there.length, 50)
  t.true(there.every((seen) => seen.split(',').length === 2))
  t.deepEqual(kept(names.toReversed()), there)
})

test('large sets are sampled, and counts are of the whole', async (t) => {
  const prompts = termSet(22, { prompts: 9000 })
  const { contrast, check } = await checked([...prompts, prompts[0]])
  t.is(contrast.units, 9001)
  t.is(contrast.sampledUnits, 4000)
  t.is(contrast.measures[0].units, 4000)
  t.is(check.findings[0].size.repeats, 1)
  t.deepEqual(await checkPromptSet([...prompts, prompts[0]]), check)
})

test('families: order is balanced but for the place that is asked about; lexical and unused are balanced', async (t) => {
  const family = { ...words, prompts: 300, seed: 1 }
  const order = await checked(boxesOrder(family), { tokenizer })
  t.deepEqual(order.warned, [])
  t.is(order.contrast.positionsIn, 'tokens')
  near(t, order.find('position', 'note').size.totalVariation, 1)
  t.regex(order.find('position', 'note').message, /Among terms of one label.*if position is not the feature/)
  for (const made of [boxesLexical(family), boxesUnused(family)]) {
    const { warned, contrast } = await checked(made, { tokenizer })
    t.deepEqual(warned, [])
    t.true(contrast.measures.every(({ p }) => p === 1))
  }
})

test('families: categories are other tokens, the first of a category lies first, payloads lie at fixed rows', async (t) => {
  const { contrasts } = await checkPromptSet(categoryPrompts({ ...words, prompts: 800, seed: 1 }), {
    tokenizer,
  })
  const warned = (contrast) =>
    contrast.findings.filter(({ level }) => level === 'warning').map(({ kind }) => kind)
  const all = contrasts.find(({ contrast }) => contrast === 'category')
  t.deepEqual(warned(all), [])
  t.is(all.findings.find(({ kind }) => kind === 'token').level, 'note')
  for (const contrast of contrasts.filter((one) => one !== all)) {
    t.deepEqual(warned(contrast), ['token'], contrast.contrast)
  }
  const firsts = categoryPrompts({ ...words, select: 'first', matching: 2, prompts: 200, seed: 1 })
  const first = (await checkPromptSet(firsts, { tokenizer })).contrasts.find((c) => c.contrast === 'first')
  t.deepEqual(warned(first), ['position', 'distance'])
  const toy = await checkPromptSet(payloadPrompts({ task: 1, r1: 3, r2: 3, prompts: 100, seed: 1 }))
  for (const contrast of toy.contrasts) {
    t.is(contrast.positionsIn, 'rows')
    t.deepEqual(warned(contrast), ['position', 'distance'])
  }
})

test('wrong options, prompts and positions; an abort', async (t) => {
  // @ts-expect-error a misspelt option
  await t.throwsAsync(checkPromptSet(termSet(1), { tokeniser: 'x' }), { code: 'ERR_ARGUMENT' })
  await t.throwsAsync(checkPromptSet([]), { code: 'ERR_PROMPT' })
  const outside = [
    { contrast: 'c', id: 'q', tokens: [1, 2], terms: [{ query: -1, positive: [0], negative: [5] }] },
  ]
  await t.throwsAsync(checkPromptSet(outside), {
    code: 'ERR_POSITION',
    message: /^prompt q: term 0: position 5/,
  })
  const short = [{ contrast: 'c', id: 'q', tokens: [1, 2], labels: { query: ['a'] } }]
  await t.throwsAsync(checkPromptSet(short), { code: 'ERR_PROMPT', message: /1 query labels for 2 tokens/ })
  await t.throwsAsync(checkPromptSet(termSet(1), { signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
})
