/**
 * First steps: prompts of a family, all heads of a model, one subspace, and what random labels give.
 *
 *   node examples/first-steps.mjs
 */

import { accumulate, boxesOrder, bundledFile, bundledWords, decompose, openModel } from 'qkspace'

// A transformer that comes with the package, and 200 prompts as in "The apple is in Box O, ... Which box is ...".
const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
const prompts = boxesOrder({ ...bundledWords(), prompts: 200, seed: 1 })

// The contrast "order": the answer's box against the other boxes, seen from the last token.
const result = await decompose(await accumulate(model, prompts))
const found = result.toRows().filter((row) => row.discovered)
console.log(
  `${found.length} of ${result.headNames.length} heads discovered at a false discovery rate of 0.05`,
)

// The evidence: s_1 of the head beside s_1 of exchanged prompts.
const [best] = found.sort((a, b) => b.attention.positive - a.attention.positive)
console.log(`${best.head}: rank ${best.rank}, p ${best.p.effect}, q ${best.q}`)
console.log(
  `  s_1 ${best.s1.toFixed(2)}, 95th percentile of exchanged prompts ${best.statisticNull.p95.toFixed(2)}`,
)
console.log(`  ${(100 * best.attention.positive).toFixed(0)}% of its attention is on the answer's box`)

// The subspace itself: queries are read along the columns of u, keys along those of v.
const { u, s, v, headDim, rank } = result.head(best.head).contrast('order')
console.log(
  `  u and v: [${headDim}, ${rank}], ${u.length + v.length} numbers; s_1 to s_3: ${[...s.slice(0, 3)].map((x) => x.toFixed(2)).join(', ')}`,
)

// The null of the whole procedure: which of the boxes is called the answer's is drawn at random.
const random = generator(1)
const shuffled = prompts.map((prompt) => ({ ...prompt, terms: prompt.terms.map(relabelled) }))
const none = await decompose(await accumulate(model, shuffled))
console.log(`with random labels: ${none.toRows().filter((row) => row.discovered).length} heads discovered`)

/** The same keys, any one of them positive. */
function relabelled({ query, positive, negative }) {
  const keys = [...positive, ...negative]
  const chosen = Math.floor(random() * keys.length)
  return { query, positive: [keys[chosen]], negative: keys.filter((_, k) => k !== chosen) }
}

/** Uniform numbers from a seed (Park and Miller's generator). */
function generator(seed) {
  let state = seed
  return () => {
    state = (state * 48271) % 2147483647
    return state / 2147483647
  }
}
