/** Mean attention on the keys of terms, against the patterns that `capture` gives. */

import test from 'ava'
import {
  accumulate,
  boxesOrder,
  bundledFile,
  bundledWords,
  capture,
  decompose,
  disposeSums,
  openModel,
} from '../dist/index.js'

const words = bundledWords()
const openBoxes = () =>
  openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })

const near = (t, a, b, what) => t.true(Math.abs(a - b) < 1e-5, `${what}: ${a} and ${b}`)

test('attention on positives and negatives is that of the patterns: terms, counterfactuals, labels, padded batches', async (t) => {
  const model = await openBoxes()
  const { ids: sentence } = await model.tokenizer.encode(
    'The apple is in Box O, the pear is in Box A. Which box is the pear in? Box',
  )
  const short = sentence.slice(0, 14)
  const prompts = [
    { tokens: sentence, contrast: 'terms', terms: [{ query: -1, positive: [7, 3], negative: [2, 5, 9] }] },
    { tokens: short, contrast: 'terms', terms: [{ query: 12, positive: [1], negative: [4] }] },
    {
      tokens: sentence,
      contrast: 'other run',
      terms: [{ query: -1, positive: [6] }],
      counterfactual: { tokens: short, terms: [{ query: 11, negative: [2] }] },
    },
    {
      tokens: short,
      contrast: 'labels',
      labels: { query: ['a', 'b', null, 'a', 'b', 'a', ...new Array(8).fill(null)], causal: true },
    },
  ]
  const sums = await accumulate(model, prompts, { batchSize: 8 })
  const result = await decompose(sums, { rank: { rule: 'fixed', rank: 1 } })
  const pattern = async (tokens) => {
    const { activations } = await capture(model, { tokens }, { pattern: true })
    return (layer, head, query, key) => {
      const { data, shape } = activations[`blocks.${layer}.attn.hook_pattern`]
      return data[(head * shape[2] + query) * shape[3] + key]
    }
  }
  const [long, brief] = [await pattern(sentence), await pattern(short)]
  const last = sentence.length - 1
  for (let layer = 0; layer < 4; layer++) {
    for (let head = 0; head < 4; head++) {
      const at = (of, query, keys) => keys.reduce((sum, key) => sum + of(layer, head, query, key), 0)
      const found = (contrast) => result.head(`L${layer}H${head}`).contrast(contrast).attention
      const terms = found('terms')
      near(t, terms.positive, (at(long, last, [7, 3]) + at(brief, 12, [1])) / 2, 'positive')
      near(t, terms.negative, (at(long, last, [2, 5, 9]) + at(brief, 12, [4])) / 2, 'negative')
      near(t, terms.perPositive, (at(long, last, [7, 3]) / 2 + at(brief, 12, [1])) / 2, 'of one positive')
      near(t, terms.perNegative, (at(long, last, [2, 5, 9]) / 3 + at(brief, 12, [4])) / 2, 'of one negative')
      near(t, found('other run').positive, at(long, last, [6]), 'counterfactual, positive')
      near(t, found('other run').negative, at(brief, 11, [2]), 'counterfactual, negative')
      // Queries 3, 4 and 5 have keys of both labels before them.
      const positive = at(brief, 3, [0]) + at(brief, 4, [1]) + at(brief, 5, [0, 3])
      const negative = at(brief, 3, [1]) + at(brief, 4, [0, 3]) + at(brief, 5, [1, 4])
      near(t, found('labels').positive, positive / 3, 'labels, positive')
      near(t, found('labels').negative, negative / 3, 'labels, negative')
    }
  }
  disposeSums(sums)
})

test('without it, nothing is said of attention', async (t) => {
  const sums = await accumulate(await openBoxes(), boxesOrder({ ...words, prompts: 20, seed: 1 }), {
    attention: false,
  })
  const result = await decompose(sums)
  t.is(result.head('L3H0').contrast('order').attention, undefined)
  t.false('attention' in result.info.heads.L3H0.order)
  disposeSums(sums)
})
