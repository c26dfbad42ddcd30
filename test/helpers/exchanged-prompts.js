/**
 * Null subspaces from prompts alone: swapping the positive and the negative keys of a unit turns the sign of its part of
 * ΔC, so that a contrast with a random half of the prompts swapped is a null matrix of the test of rank.
 */

import { accumulate, decompose } from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'
import { Result } from '../../dist/store/result.js'

const COUNT = 20

/** A result of prompts with one contrast, cut to a fixed rank, with COUNT null subspaces of the same rank. */
export async function decomposeWithNulls(model, prompts, { rank, heads, seed = 0 }) {
  const random = seededRandom(seed)
  const name = prompts[0].contrast
  const widened = prompts.map(({ contrast, terms, ...prompt }) => {
    const swapped = terms.map(({ query, positive, negative }) => ({
      query,
      positive: negative,
      negative: positive,
    }))
    const nulls = Array.from({ length: COUNT }, (_, i) => [
      `null ${i}`,
      { terms: random.below(2) === 0 ? terms : swapped },
    ])
    return { ...prompt, contrasts: { [contrast]: { terms }, ...Object.fromEntries(nulls) } }
  })
  const sums = await accumulate(model, widened, { heads, nullBytes: 0 })
  const all = await decompose(sums, { rank: { rule: 'fixed', rank } })
  return onlyContrast(all, name)
}

/** The result with one contrast, the others as its null subspaces. */
function onlyContrast(result, name) {
  const { info } = result
  const others = result.contrastNames.filter((other) => other !== name)
  const heads = result.headNames.map((head) => {
    const bases = (part) =>
      Float64Array.from(others.flatMap((other) => [...result.head(head).contrast(other)[part]]))
    const nulls = { count: others.length, u: bases('u'), v: bases('v') }
    return [head, new Map([[name, { ...result.head(head).contrast(name), nulls }]])]
  })
  const infos = result.headNames.map((head) => [head, { [name]: info.heads[head][name] }])
  return new Result(
    { ...info, prompts: { ...info.prompts, contrasts: [name] }, heads: Object.fromEntries(infos) },
    new Map(heads),
  )
}
