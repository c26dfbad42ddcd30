/** Results for any small model of tokens, and what an explanation is compared with. */

import {
  accumulate,
  attribute,
  capture,
  decompose,
  disposeSums,
  explain,
  intervene,
} from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'

/** Prompts of random tokens with one term each: the last token, a positive and a negative key. */
export function randomPrompts(count, { length = 9, vocabulary = 20, seed = 1, contrast = 'one' } = {}) {
  const random = seededRandom(seed)
  return Array.from({ length: count }, () => {
    const tokens = Array.from({ length }, () => 3 + random.below(vocabulary - 3))
    const [a, b] = random.sample([...Array(length - 1).keys()], 2)
    return { tokens, contrast, terms: [{ query: -1, positive: [a], negative: [b] }] }
  })
}

/**
 * Subspaces of fixed rank of two contrasts, with null subspaces. `length` and `vocabulary` are those of the prompts.
 * @param {import('../../dist/index.js').Model} model
 * @param {{ rank?: number, nulls?: number, heads?: string, length?: number, vocabulary?: number }} [options]
 */
export async function fixedResult(model, { rank = 2, nulls = 20, heads = 'all', ...more } = {}) {
  const prompts = ['one', 'two'].flatMap((contrast, i) =>
    randomPrompts(30, { ...more, seed: 5 + i, contrast }),
  )
  const sums = await accumulate(model, prompts, { heads })
  return decompose(sums, { rank: { rule: 'fixed', rank }, nulls }).finally(() => disposeSums(sums))
}

/** What `capture` gives of one prompt: by head its rows q [d], k [keys][d], scores and pattern of a query. */
export async function capturedHeads(model, prompt, query) {
  const { tokens, text } = prompt
  const source = tokens ? { tokens } : { text }
  const { sites, activations } = await capture(model, source, { scores: true, pattern: true })
  return Object.fromEntries(
    sites.flatMap(({ site, heads, hooks }) => {
      const [q, k, scores, pattern] = ['q', 'k', 'scores', 'pattern'].map((name) => activations[hooks[name]])
      const d = site.headDim
      const row = (tensor, i, h) => {
        const from = (i * tensor.shape[2] + h) * d
        return Float64Array.from(tensor.data.subarray(from, from + d))
      }
      const keys = k.shape[1]
      const ofQuery = ({ data }, h) =>
        Float64Array.from(data.subarray((h * keys + query) * keys, (h * keys + query + 1) * keys))
      return heads.map((name, h) => {
        const keyHead = Math.floor((h * site.kvHeads) / site.heads)
        const found = {
          site,
          q: row(q, query, h),
          k: Array.from({ length: keys }, (_, j) => row(k, j, keyHead)),
          scores: ofQuery(scores, h),
          pattern: ofQuery(pattern, h),
        }
        return [name, found]
      })
    }),
  )
}

/**
 * How far an explanation of one prompt with one term a contrast is from what `attribute` and `intervene` say of it: the
 * parts of the scores, and attention on origin and target without an edit, with the feature exchanged, and with whole
 * keys exchanged. The worst head counts; at most `most` of them are looked at.
 */
export async function explanationGap(model, prompt, result, most = 4) {
  const { prompts } = await explain(model, [prompt], { result, nulls: 0, randoms: 0 })
  const { examples } = await attribute(model, [prompt], { result, keys: 'all', randoms: 0, points: 0 })
  const gap = { parts: 0, before: 0, after: 0, whole: 0, swaps: 0 }
  const larger = (name, value) => {
    gap[name] = Math.max(gap[name], Number.isNaN(value) ? Number.POSITIVE_INFINITY : value)
  }
  const [{ heads, query, terms }] = prompts
  const isSwapped = (/** @type {import('../../dist/index.js').ExplainedHead} */ { features }) =>
    features?.some(({ swap }) => swap)
  for (const { head, attention, scores, features, rest } of heads.filter(isSwapped).slice(0, most)) {
    const row = examples[0].rows.find((own) => own.head === head && own.query === query)
    const largest = Math.max(...row.total.map(Math.abs))
    // A window masks keys that `attribute` counts, so that the two means differ.
    const seen = [...scores.keys()].filter((j) => scores[j] !== null)
    const centred = (own) => {
      const mean = seen.reduce((sum, j) => sum + own[j], 0) / seen.length
      return seen.map((j) => own[j] - mean)
    }
    const ofScores = (a, b) => {
      return Math.max(...centred(b).map((x, j) => Math.abs(centred(a)[j] - x))) / largest
    }
    for (const { contrast, part, swap } of features) {
      larger('parts', ofScores(part, row.parts[contrast]))
      if (!swap || !terms.some((term) => term.contrast === contrast)) {
        continue
      }
      gap.swaps += 1
      const { origin, target, after, whole } = swap
      const options = { result, heads: head, features: [contrast], nulls: 0, randoms: 0 }
      const { variants } = await intervene(model, [prompt], options)
      const of = (kind) => variants.find((v) => v.kind === kind).heads[head]
      for (const [name, key] of Object.entries({ origin, target })) {
        larger('before', Math.abs(attention[key] - of('features')[name].before.mean))
        larger('after', Math.abs(after[key] - of('features')[name].after.mean))
        larger('whole', Math.abs(whole[key] - of('whole')[name].after.mean))
      }
    }
    larger('parts', ofScores(rest, row.rest))
  }
  return gap
}
