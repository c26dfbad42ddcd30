/** Random prompt sets for the check of prompt sets: balanced, or with an imbalance of a known kind. */

import { seededRandom } from '../../dist/math/random.js'

/** @import { Random } from '../../dist/math/random.js' */
/** @import { Prompt } from '../../dist/index.js' */

/** @typedef {{ tokens: number[], keys: number[], random: Random, index: number }} Drawn What is drawn of a prompt. */
/** @typedef {{ tokens: number[], query: number, key: number }} Run One run of a prompt with a counterfactual. */

/**
 * Terms of one positive and four negative keys at random places of random tokens, with the query last. `arrange`
 * may change what is drawn of a prompt: its tokens, and its keys in random order, the positive one first.
 * @param {number} seed
 * @param {{ prompts?: number, vocabulary?: number, arrange?: (drawn: Drawn) => void,
 *   more?: (drawn: Drawn) => Partial<Prompt> }} [options]
 */
export function termSet(
  seed,
  { prompts = 300, vocabulary = 40, arrange = () => {}, more = () => ({}) } = {},
) {
  const random = seededRandom(seed)
  return Array.from({ length: prompts }, (_, index) => {
    const length = 24 + random.below(8)
    const tokens = Array.from({ length }, () => random.below(vocabulary))
    const places = Array.from({ length: length - 1 }, (_, i) => i)
    const drawn = { tokens, keys: random.sample(places, 5), random, index }
    arrange(drawn)
    const [positive, ...negative] = drawn.keys
    return {
      contrast: 'c',
      tokens: drawn.tokens,
      terms: [{ query: -1, positive: [positive], negative }],
      ...more(drawn),
    }
  })
}

/**
 * Prompts whose counterfactual has other tokens, at the same places. `arrange` may change either run.
 * @param {number} seed
 * @param {{ prompts?: number, arrange?: (here: Run, there: Run, random: Random) => void }} [options]
 */
export function counterfactualSet(seed, { prompts = 300, arrange = () => {} } = {}) {
  const random = seededRandom(seed)
  const tokensOf = (length) => Array.from({ length }, () => random.below(40))
  return Array.from({ length: prompts }, () => {
    const length = 24 + random.below(8)
    const key = random.below(length - 8)
    const run = () => ({ tokens: tokensOf(length), query: length - 1, key })
    const [here, there] = [run(), run()]
    arrange(here, there, random)
    return {
      contrast: 'c',
      tokens: here.tokens,
      terms: [{ query: here.query, positive: [here.key] }],
      counterfactual: { tokens: there.tokens, terms: [{ query: there.query, negative: [there.key] }] },
    }
  })
}

/**
 * Label sequences of three classes; `next` gives the label at a place from the one before.
 * @param {number} seed
 * @param {{ prompts?: number, length?: (random: Random, index: number) => number,
 *   next?: (place: { random: Random, share: number, before: string | undefined }) => string }} [options]
 */
export function labelSet(seed, { prompts = 300, length = () => 20, next } = {}) {
  const random = seededRandom(seed)
  const draw = next ?? (() => random.pick(['a', 'b', 'c']))
  return Array.from({ length: prompts }, (_, index) => {
    const size = length(random, index)
    const query = []
    for (let i = 0; i < size; i++) {
      query.push(draw({ random, share: i / (size - 1), before: query[i - 1] }))
    }
    const tokens = Array.from({ length: size }, () => random.below(1000))
    return { contrast: 'c', tokens, labels: { query } }
  })
}

/** The mean over terms of the share of pairs whose positive value is larger, pair by pair. */
export function slowAuc(terms) {
  const one = ({ positive, negative }) => {
    let sum = 0
    for (const p of positive) {
      for (const n of negative) {
        sum += p > n ? 1 : p === n ? 0.5 : 0
      }
    }
    return sum / positive.length / negative.length
  }
  return terms.reduce((sum, term) => sum + one(term), 0) / terms.length
}

/** Half the absolute difference of two distributions, each the mean over terms of the distribution in a term. */
export function slowTotalVariation(terms) {
  const values = new Set(terms.flatMap(({ positive, negative }) => [...positive, ...negative]))
  const share = (list, value) => list.filter((x) => x === value).length / list.length
  let sum = 0
  for (const value of values) {
    let difference = 0
    for (const { positive, negative } of terms) {
      difference += share(positive, value) - share(negative, value)
    }
    sum += Math.abs(difference / terms.length)
  }
  return sum / 2
}
