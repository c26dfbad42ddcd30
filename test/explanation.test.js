/** `explain`: attention, parts of features and exchanges against independent arithmetic, `attribute` and `intervene`. */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import test from 'ava'
import {
  accumulate,
  attributeArrays,
  boxesLexical,
  boxesOrder,
  bundledFile,
  bundledWords,
  decompose,
  disposeSums,
  explain,
  interveneArrays,
  openModel,
} from '../dist/index.js'
import { softmaxRows } from '../dist/math/scores.js'
import { ModelProtoSchema } from '../dist/model/onnx/proto/onnx_pb.js'
import { Result } from '../dist/store/result.js'
import { capturedHeads, explanationGap, fixedResult, randomPrompts } from './helpers/explanations.js'
import { sharedModel, temporaryFolder, withSharedModels } from './helpers/files.js'
import { relativeDifference } from './helpers/linear-algebra.js'
import { TINY_DIALECTS } from './helpers/tiny-dialects.js'
import { writeTinyModel } from './helpers/tiny-model.js'

const folder = temporaryFolder(test)
const shared = withSharedModels(test)

const openTiny = (options = {}) => openModel(writeTinyModel(folder, { seed: 3, ...options }))

let opened
/** The bundled transformer, subspaces of three of its heads of which one has a third contrast, and prompts. */
function boxes() {
  opened ??= (async () => {
    const model = await openModel(bundledFile('boxes.onnx'), {
      tokenizer: bundledFile('boxes.tokenizer.json'),
    })
    const base = { ...bundledWords(), prompts: 24, seed: 1 }
    const sets = [...boxesOrder(base), ...boxesLexical({ ...base, seed: 2 })]
    const sums = await accumulate(model, sets, { heads: 'L3H0,L3H1,L2H0' })
    const result = await decompose(sums, { rank: { rule: 'fixed', rank: 4 }, nulls: 20 })
    disposeSums(sums)
    return { model, result, held: boxesOrder({ ...base, prompts: 3, seed: 99 }) }
  })()
  return opened
}

const headOf = (prompt, name) => prompt.heads.find(({ head }) => head === name)

test('attention is the softmax of the scores, and both are those that capture gives', async (t) => {
  const { model, held } = await boxes()
  const { prompts, seed } = await explain(model, held)
  t.is(seed, 0)
  t.is(prompts.length, 3)
  for (const [i, { tokens, words, query, terms, heads, where }] of prompts.entries()) {
    t.is(where, `prompt ${held[i].id}`)
    t.is(query, tokens.length - 1)
    t.is(words[query], 'Box')
    t.is(terms[0].contrast, 'order')
    t.true(terms[0].positive.every((key) => /^[A-Z]$/.test(words[key])))
    t.is(terms[0].negative.length, 4)
    t.is(heads.length, 16)
    const captured = await capturedHeads(model, held[i], query)
    for (const { head, attention, scores, key, features, pattern } of heads) {
      t.is(features, undefined)
      t.is(pattern, undefined)
      t.true(scores.every((x) => x !== null))
      t.true(relativeDifference(scores, captured[head].scores) < 1e-5)
      t.true(relativeDifference(attention, captured[head].pattern) < 1e-5)
      t.true(relativeDifference(attention, softmaxRows(Float64Array.from(scores), scores.length)) < 1e-5)
      t.is(attention[key], Math.max(...attention))
    }
    const largest = heads.map(({ attention, key }) => attention[key])
    t.deepEqual(
      largest,
      [...largest].sort((a, b) => b - a),
    )
  }
})

test('another query, from either end; what comes after it is masked', async (t) => {
  const { model, held } = await boxes()
  const at = async (query) => (await explain(model, held, { query, heads: 'L3H0', examples: 1 })).prompts[0]
  const early = await at(5)
  t.is(early.query, 5)
  const { attention, scores, pattern } = headOf(early, 'L3H0')
  scores.forEach((score, j) => {
    t.is(score === null, j > 5)
    if (j > 5) {
      t.is(attention[j], 0)
    }
  })
  // A head that is named comes with its whole pattern, in four digits.
  t.is(pattern.length, early.tokens.length)
  t.true(relativeDifference(pattern[5], attention) < 1e-3)
  t.true(pattern.flat().every((x) => x === Number(x.toPrecision(4))))
  const tokens = early.tokens.length
  t.deepEqual(headOf(await at(5 - tokens), 'L3H0'), headOf(early, 'L3H0'))
})

test('parts and the rest add up to the centred scores, and are what attributeArrays gives', async (t) => {
  const { model, result, held } = await boxes()
  const { prompts, noNull, warnings } = await explain(model, held, { result, examples: 2 })
  t.is(noNull, undefined)
  t.is(warnings, undefined)
  t.is(prompts.length, 2)
  for (const prompt of prompts) {
    const captured = await capturedHeads(model, { tokens: prompt.tokens }, prompt.query)
    t.deepEqual(
      prompt.heads
        .filter(({ features }) => features)
        .map(({ head }) => head)
        .sort(),
      ['L2H0', 'L3H0', 'L3H1'],
    )
    for (const name of ['L2H0', 'L3H0', 'L3H1']) {
      const { features, rest, key, pattern } = headOf(prompt, name)
      const { q, k, site } = captured[name]
      const d = q.length
      t.is(pattern.length, prompt.tokens.length)
      t.deepEqual(
        features.map(({ contrast }) => contrast),
        result.contrastNames,
      )
      const alone = attributeArrays({
        q: { data: q, shape: [1, d] },
        k: { data: Float64Array.from(k.flatMap((row) => [...row])), shape: [1, k.length, d] },
        scale: Number(site.scale),
        features: features.map(({ contrast }) => {
          const { u, rank } = result.head(name).contrast(contrast)
          return { name: contrast, u: { data: u, shape: [d, rank] } }
        }),
      })
      const sum = rest.map((x, j) => features.reduce((all, { part }) => all + part[j], x))
      t.true(relativeDifference(sum, alone.total) < 1e-5)
      t.true(relativeDifference(rest, alone.rest) < 1e-5)
      for (const { contrast, part, gain, rank } of features) {
        t.is(rank, 4)
        const largest = Math.max(...alone.total.map(Math.abs))
        part.forEach((x, j) => {
          t.true(Math.abs(x - alone.parts[contrast][j]) < 1e-5 * largest)
        })
        t.is(gain.value, part[key])
        t.true(Math.abs(gain.total - sum[key]) < 1e-9 * largest, 'the sum is exact')
      }
    }
  }
})

test('the gain of null subspaces: each stands in the place of the feature', async (t) => {
  const { model, result, held } = await boxes()
  const { prompts } = await explain(model, held, { result, heads: 'L3H0', examples: 1 })
  const [prompt] = prompts
  const { features, key } = headOf(prompt, 'L3H0')
  const { q, k, site } = (await capturedHeads(model, { tokens: prompt.tokens }, prompt.query)).L3H0
  const d = q.length
  for (const { contrast, gain } of features) {
    const drawn = Array.from({ length: 20 }, (_, draw) => {
      const { parts } = attributeArrays({
        q: { data: q, shape: [1, d] },
        k: { data: Float64Array.from(k.flatMap((row) => [...row])), shape: [1, k.length, d] },
        scale: Number(site.scale),
        features: features.map((other) => {
          const { u, nulls, rank } = result.head('L3H0').contrast(other.contrast)
          const own = nulls.u.slice(draw * d * rank, (draw + 1) * d * rank)
          return {
            name: other.contrast,
            u: { data: other.contrast === contrast ? own : u, shape: [d, rank] },
          }
        }),
      })
      return parts[contrast][key]
    })
    const { count, mean, p95 } = gain.nulls
    t.is(count, 20)
    t.true(Math.abs(mean - drawn.reduce((a, b) => a + b) / 20) < 1e-4)
    t.true(Math.abs(p95 - Math.max(...drawn)) < 1e-4)
    t.is(gain.exceedsNull, gain.value > p95)
  }
})

test('an exchange in a plain model is what interveneArrays gives, and so are its controls', async (t) => {
  const { model, result, held } = await boxes()
  const { prompts } = await explain(model, held, { result, heads: 'L3H0,L2H0', examples: 2, randoms: 2 })
  for (const prompt of prompts) {
    const captured = await capturedHeads(model, { tokens: prompt.tokens }, prompt.query)
    for (const { head, features } of prompt.heads) {
      const { q, k, site } = captured[head]
      const d = q.length
      for (const { contrast, swap } of features) {
        const { v, rank, nulls } = result.head(head).contrast(contrast)
        const exchanged = (data, columns = rank) => {
          const { pattern } = interveneArrays({
            q: { data: q, shape: [1, d] },
            k: { data: Float64Array.from(k.flatMap((row) => [...row])), shape: [1, k.length, d] },
            scale: Number(site.scale),
            edit: 'swap',
            basis: { data, shape: [d, columns] },
            origin: [swap.origin],
            target: [swap.target],
          })
          return pattern
        }
        if (contrast === 'order') {
          const [term] = prompt.terms
          t.deepEqual([swap.origin, swap.target], [term.positive[0], term.negative[0]])
        }
        t.true(relativeDifference(swap.after, exchanged(v)) < 1e-5)
        const all = Float64Array.from({ length: d * d }, (_, i) => Number(i % (d + 1) === 0))
        t.true(relativeDifference(swap.whole, exchanged(all, d)) < 1e-5)
        const drawn = Array.from({ length: 20 }, (_, b) =>
          exchanged(nulls.v.slice(b * d * rank, (b + 1) * d * rank)),
        )
        const mean = swap.whole.map((_, j) => drawn.reduce((sum, row) => sum + row[j], 0) / 20)
        t.is(swap.nulls.count, 20)
        t.true(relativeDifference(swap.nulls.mean, mean) < 1e-5)
        const onTarget = drawn.map((row) => row[swap.target])
        t.true(Math.abs(swap.nulls.target.p95 - Math.max(...onTarget)) < 1e-5)
        t.true(Math.abs(swap.nulls.target.mean - mean[swap.target]) < 1e-5)
        t.is(swap.random.count, 2)
        t.true(Math.abs(swap.random.mean.reduce((a, b) => a + b) - 1) < 1e-5)
      }
    }
  }
})

test('without a term the two keys of most attention are exchanged; of a counterfactual term too', async (t) => {
  const { model, result, held } = await boxes()
  const attended = (attention, query) =>
    [...attention.keys()].filter((j) => j !== query).sort((a, b) => attention[b] - attention[a])
  const counterfactual = boxesLexical({ ...bundledWords(), prompts: 1, seed: 4 })
  for (const { prompts, count } of [
    { prompts: { text: held[0].text }, count: 0 },
    { prompts: counterfactual, count: 1 },
  ]) {
    const { prompts: found } = await explain(model, prompts, { result, heads: 'L3H0', nulls: 0, randoms: 0 })
    const [{ heads, query, terms }] = found
    t.is(terms.length, count)
    if (count > 0) {
      t.deepEqual(terms[0].negative, [])
    }
    for (const { swap } of heads[0].features) {
      t.deepEqual([swap.origin, swap.target], attended(heads[0].attention, query).slice(0, 2))
      t.is(swap.nulls, null)
      t.deepEqual(swap.random, { count: 0, mean: [] })
    }
  }
  const { prompts: single } = await explain(model, { text: held[0].text }, { result })
  t.is(single[0].where, 'the prompt')
})

test('features are exchanged in the six heads that attend most to the positive keys', async (t) => {
  const { model, held } = await boxes()
  const result = await fixedResult(model, { length: 12, vocabulary: 100, nulls: 0 })
  const base = { result, examples: 1, nulls: 0, randoms: 0 }
  const [{ heads, terms }] = (await explain(model, held, base)).prompts
  const swapped = heads.filter(({ features }) => features.some(({ swap }) => swap))
  t.is(heads.length, 16)
  t.is(swapped.length, 6)
  const onPositive = ({ attention }) => attention[terms[0].positive[0]]
  const least = Math.min(...swapped.map(onPositive))
  t.true(heads.filter((own) => !swapped.includes(own)).every((own) => onPositive(own) <= least))
  const named = heads.slice(0, 8).map(({ head }) => head)
  const [{ heads: asked }] = (await explain(model, held, { ...base, heads: named })).prompts
  t.is(asked.length, 8)
  t.true(asked.every(({ features }) => features.every(({ swap }) => swap)))
})

test('the size of batches changes nothing beyond rounding, and the seed decides random subspaces', async (t) => {
  const { model, result, held } = await boxes()
  const run = (more) => explain(model, held, { result, heads: 'L3H0', examples: 1, ...more })
  const swaps = ({ prompts }) => prompts[0].heads[0].features.map(({ swap }) => swap)
  const [one, many, again, other] = [
    await run({ batchSize: 1 }),
    await run({ batchSize: 64 }),
    await run({ batchSize: 64 }),
    await run({ seed: 5 }),
  ]
  t.deepEqual(many, again)
  swaps(one).forEach((swap, i) => {
    for (const which of ['after', 'whole']) {
      t.true(relativeDifference(swap[which], swaps(many)[i][which]) < 1e-5)
    }
    t.true(relativeDifference(swap.nulls.mean, swaps(many)[i].nulls.mean) < 1e-5)
    t.notDeepEqual(swaps(other)[i].random, swaps(many)[i].random)
    t.deepEqual(swaps(other)[i].after, swaps(many)[i].after)
  })
})

test('some features alone; ranks of 0 are none', async (t) => {
  const { model, result, held } = await boxes()
  const some = await explain(model, held, { result, features: ['order'], heads: 'L3H0,L0H0', examples: 1 })
  t.deepEqual(
    headOf(some.prompts[0], 'L3H0').features.map(({ contrast }) => contrast),
    ['order'],
  )
  t.is(headOf(some.prompts[0], 'L0H0').features, undefined)
  const contrasts = new Map(result.contrastNames.map((name) => [name, result.head('L3H0').contrast(name)]))
  contrasts.set('order', {
    ...contrasts.get('order'),
    rank: 0,
    u: new Float64Array(0),
    v: new Float64Array(0),
  })
  const found = await explain(model, held, {
    result: new Result(result.info, new Map([['L3H0', contrasts]])),
  })
  const { features } = headOf(found.prompts[0], 'L3H0')
  t.deepEqual(
    features.map(({ contrast }) => contrast),
    result.contrastNames.filter((name) => name !== 'order'),
  )
})

test('results without null subspaces say so', async (t) => {
  const { model, result, held } = await boxes()
  const left = await explain(model, held, { result, examples: 1, nulls: 0, heads: 'L3H0' })
  t.regex(left.noNull, /left out/)
  const bare = await fixedResult(model, { vocabulary: 100, nulls: 0, heads: 'L3H0' })
  const found = await explain(model, held, { result: bare, examples: 1, heads: 'L3H0' })
  t.regex(found.noNull, /made without null subspaces/)
  const [{ gain, swap }] = found.prompts[0].heads[0].features
  t.deepEqual([gain.nulls, gain.exceedsNull, swap.nulls], [null, null, null])
})

for (const { title, options } of [
  { title: 'written out, grouped keys', options: {} },
  { title: 'folded heads', options: { fold: 'plain' } },
  { title: 'folded heads that cannot be followed', options: { fold: 'untraceable' } },
  { title: 'a sink', options: { sink: 'first' } },
  { title: 'a sink behind', options: { sink: 'last', softmax: 'shifted' } },
  { title: 'eight bits', options: { quantised: true } },
  { title: 'no mask', options: { mask: 'none' } },
  { title: 'token types', options: { segments: true } },
  ...TINY_DIALECTS,
]) {
  test(`${title}: as attribute and intervene say`, async (t) => {
    const model = await openTiny(options)
    const result = await fixedResult(model, { nulls: 0 })
    const gap = await explanationGap(model, randomPrompts(1, { seed: 77 })[0], result)
    t.true(gap.swaps >= 4)
    for (const name of ['parts', 'before', 'after', 'whole']) {
      t.true(gap[name] < 1e-5, `${name} ${gap[name]}`)
    }
  })
}

test('float16: as attribute and intervene say, to its precision', async (t) => {
  const model = await openTiny({ half: true })
  const result = await fixedResult(model, { nulls: 0 })
  const gap = await explanationGap(model, randomPrompts(1, { seed: 77 })[0], result)
  t.true(gap.swaps >= 4)
  for (const name of ['parts', 'before', 'after', 'whole']) {
    t.true(gap[name] < 5e-3, `${name} ${gap[name]}`)
  }
})

for (const { name, vocabulary } of [
  { name: 'tinystories-260k/eager.onnx', vocabulary: 500 },
  { name: 'tinystories-260k/attn23.onnx', vocabulary: 500 },
  { name: 'babyllama-105/gqa.onnx', vocabulary: 100 },
]) {
  shared(`${name}: as attribute and intervene say`, async (t) => {
    const model = await openModel(sharedModel(name), { tokenizer: false })
    const result = await fixedResult(model, { vocabulary, nulls: 0 })
    const [prompt] = randomPrompts(1, { seed: 77, vocabulary })
    const gap = await explanationGap(model, prompt, result)
    t.true(gap.swaps >= 4)
    for (const part of ['parts', 'before', 'after', 'whole']) {
      t.true(gap[part] < 1e-4, `${part} ${gap[part]}`)
    }
  })
}

test('a model of one length: padding is no part of what is explained', async (t) => {
  const plain = writeTinyModel(folder, { seed: 3, bias: true })
  const proto = fromBinary(ModelProtoSchema, readFileSync(plain))
  for (const { type } of proto.graph.input) {
    type.value.value.shape.dim[1].value = { case: 'dimValue', value: 12n }
  }
  const fixed = path.join(folder, 'fixed.onnx')
  writeFileSync(fixed, toBinary(ModelProtoSchema, proto))
  const [model, free] = await Promise.all([fixed, plain].map((file) => openModel(file)))
  const result = await fixedResult(model, { nulls: 0 })
  const [prompt] = randomPrompts(1, { seed: 77 })
  const { swaps, ...gaps } = await explanationGap(model, prompt, result)
  t.true(swaps >= 4)
  for (const [name, gap] of Object.entries(gaps)) {
    t.true(gap < 1e-5, `${name} ${gap}`)
  }
  const [padded, alone] = [
    await explain(model, [prompt], { heads: 'L0H1', result }),
    await explain(free, [prompt], { heads: 'L0H1', result }),
  ].map(({ prompts }) => prompts[0].heads[0])
  t.is(padded.attention.length, 9)
  t.deepEqual([padded.pattern.length, padded.pattern[0].length], [9, 9])
  t.true(relativeDifference(padded.attention, alone.attention) < 1e-5)
  t.true(relativeDifference(padded.pattern, alone.pattern) < 1e-3)
  t.true(relativeDifference(padded.features[0].part, alone.features[0].part) < 1e-5)
  t.true(relativeDifference(padded.features[0].swap.after, alone.features[0].swap.after) < 1e-5)
})

test('tokens of a model without a tokenizer have their ids as words', async (t) => {
  const model = await openTiny()
  const { prompts } = await explain(model, { tokens: [5, 3, 9] })
  const [{ words, tokens, query, terms }] = prompts
  t.deepEqual(words, ['#5', '#3', '#9'])
  t.deepEqual(tokens, [5, 3, 9])
  t.is(query, 2)
  t.deepEqual(terms, [])
})

test('a query that sees one key alone has nothing to exchange', async (t) => {
  const model = await openTiny()
  const result = await fixedResult(model, { nulls: 0 })
  const { prompts } = await explain(model, { tokens: [5, 3, 9] }, { result, query: 0 })
  for (const { attention, scores, features, rest, key } of prompts[0].heads) {
    t.deepEqual(attention, [1, 0, 0])
    t.deepEqual(scores.slice(1), [null, null])
    t.is(key, 0)
    t.deepEqual(rest, [0, 0, 0])
    for (const { part, gain, swap } of features) {
      t.deepEqual(part, [0, null, null])
      t.is(gain.total, 0)
      t.is(swap, undefined)
    }
  }
})

test('scores that cannot be followed to their pattern are left out and named', async (t) => {
  const model = await openTiny()
  const lost = Object.assign(Object.create(Object.getPrototypeOf(model)), model)
  lost.sites = model.sites.map((site) => ({ ...site, patternAxes: undefined }))
  await t.throwsAsync(explain(lost, { tokens: [1, 2] }), {
    code: 'ERR_UNSUPPORTED_MODEL',
    message: /layer 0.*softmax/,
  })
  const { model: whole, held } = await boxes()
  const partly = Object.assign(Object.create(Object.getPrototypeOf(whole)), whole)
  partly.sites = whole.sites.map((site, i) => (i === 1 ? { ...site, patternAxes: undefined } : site))
  const { prompts, warnings } = await explain(partly, held, { examples: 1 })
  t.is(prompts[0].heads.length, 12)
  t.regex(warnings.join(), /layer 1: .*left out/)
})

test('progress ends at the whole, and a signal ends the run', async (t) => {
  const { model, result, held } = await boxes()
  const told = []
  await explain(model, held, { result, examples: 2, heads: 'L3H0', onProgress: (p) => told.push(p) })
  t.deepEqual(told.at(-1), { prompts: 2, total: 2, fraction: 1 })
  t.true(told.every(({ fraction }, i) => i === 0 || fraction >= told[i - 1].fraction))
  const stop = new AbortController()
  const running = explain(model, held, { result, signal: stop.signal, onProgress: () => stop.abort() })
  await t.throwsAsync(running, { code: 'ERR_ABORTED' })
})

test('wrong input is refused with what was expected', async (t) => {
  const { model, result, held } = await boxes()
  /** @returns {Promise<import('../dist/index.js').QkError>} */
  const refused = (prompts, options, code, message) =>
    t.throwsAsync(explain(model, prompts, options), { code, message })
  const tokens = { tokens: [1, 2, 3] }
  // @ts-expect-error an object that is no model
  await t.throwsAsync(explain({}, tokens), { code: 'ERR_TYPE' })
  await refused(tokens, { head: 'L0H0' }, 'ERR_ARGUMENT', /explain has no "head"/)
  await refused(tokens, { heads: 'L9H0' }, 'ERR_UNKNOWN_HEAD', /L9H0/)
  await refused(tokens, { result: {} }, 'ERR_TYPE', /result/)
  await refused(tokens, { features: ['order'] }, 'ERR_ARGUMENT', /of a result/)
  await refused(tokens, { result, features: [] }, 'ERR_ARGUMENT', /not empty/)
  await refused(tokens, { result, features: ['other'] }, 'ERR_UNKNOWN_CONTRAST', /other/)
  for (const name of ['query', 'examples', 'nulls', 'randoms', 'seed', 'batchSize']) {
    await refused(tokens, { [name]: 0.5 }, 'ERR_ARGUMENT', new RegExp(`^${name} is 0.5`))
  }
  await refused(tokens, { examples: 0 }, 'ERR_ARGUMENT', /examples is 0/)
  const error = await refused(tokens, { query: 3 }, 'ERR_POSITION', /the query is 3 in a prompt of 3 tokens/)
  t.regex(error.hint, /from 0 to 2.*from -3 to -1/)
  await refused(tokens, { query: -4 }, 'ERR_POSITION', /-4/)
  await refused({ text: '', tokens: [1] }, {}, 'ERR_PROMPT', /one of/)
  await refused({ tokens: [] }, {}, 'ERR_PROMPT', /tokens/)
  await refused({}, {}, 'ERR_PROMPT', /none/)
  await refused([], {}, 'ERR_PROMPT', /empty/)
  await refused('prompts.jsonl', {}, 'ERR_TYPE', /readPrompts/)
  await refused(null, {}, 'ERR_TYPE', /readPrompts/)
  await refused([{ tokens: [1], terms: 3 }], {}, 'ERR_PROMPT', /contrast/)
  const other = await openTiny()
  await t.throwsAsync(explain(other, tokens, { result }), { code: 'ERR_UNKNOWN_HEAD' })
  const wide = await openTiny({ headDim: 8 })
  const narrow = await fixedResult(other, { nulls: 0 })
  await t.throwsAsync(explain(wide, tokens, { result: narrow }), {
    code: 'ERR_SHAPE',
    message: /L0H0 has the head dimension 8 in .*, and 4 in the result/,
  })
  await t.throwsAsync(explain(other, { text: 'a' }), { code: 'ERR_TOKENIZER' })
  await refused({ tokens: [99999] }, {}, 'ERR_PROMPT', /99999/)
  t.is(held.length, 3)
})
