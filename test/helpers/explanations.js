/** Results for any small model of tokens, and what an explanation is compared with. */

import { accumulate, capture, decompose, disposeSums } from '../../dist/index.js'
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

/** Subspaces of fixed rank of two contrasts, with null subspaces. */
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
      const row = ({ data, shape: [, , count] }, i, h) =>
        Float64Array.from(data.subarray((i * count + h) * d, (i * count + h + 1) * d))
      const keys = k.shape[1]
      const ofQuery = ({ data }, h) =>
        Float64Array.from(data.subarray((h * keys + query) * keys, (h * keys + query + 1) * keys))
      return heads.map((name, h) => {
        const keyHead = Math.floor((h * site.kvHeads) / site.heads)
        const found = {
          ...{ site, q: row(q, query, h), k: Array.from({ length: keys }, (_, j) => row(k, j, keyHead)) },
          ...{ scores: ofQuery(scores, h), pattern: ofQuery(pattern, h) },
        }
        return [name, found]
      })
    }),
  )
}
