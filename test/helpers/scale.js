/** Small runs that tests of checkpoints, shards and merging share, and what two of them have to have in common. */

import { createHash } from 'node:crypto'
import {
  accumulate,
  boxesLexical,
  boxesOrder,
  bundledFile,
  bundledWords,
  decompose,
  disposeSums,
  openModel,
} from '../../dist/index.js'

export const openBoxes = (options = {}) =>
  openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json'), ...options })

/** Explicit, counterfactual and label-matched contrasts, of prompts of several lengths; some share a unit. */
export function mixedPrompts(count = 48) {
  const words = bundledWords()
  const order = boxesOrder({ ...words, prompts: count, seed: 1 })
  const lexical = boxesLexical(
    { ...words, prompts: count, seed: 1, asked: words.objects.slice(0, 2) },
    'text and question',
    'lexical',
  )
  const labels = order.map((_, i) => ({
    id: `labels-${i}`,
    contrast: 'same-letter',
    tokens: Array.from({ length: 12 + (i % 2) }, (_, t) => 3 + ((5 * t + 7 * i) % 40)),
    labels: {
      query: Array.from({ length: 12 + (i % 2) }, (_, t) => 'abc'[(t * (i + 1)) % 3]),
      rule: 'same-label',
      causal: true,
    },
  }))
  return [
    ...order.map((prompt, i) => ({ ...prompt, group: `group-${Math.floor(i / 2)}` })),
    ...lexical,
    ...labels,
  ]
}

/** Everything that a result says, and its tensors, as one hash. */
export function resultHash(result) {
  const hash = createHash('sha256')
  for (const head of result.headNames) {
    for (const contrast of result.contrastNames) {
      const { u, s, v, nulls, ...rest } = result.head(head).contrast(contrast)
      hash.update(u).update(s).update(v).update(JSON.stringify(rest))
      for (const side of ['u', 'v']) {
        if (nulls?.[side]) {
          hash.update(nulls[side])
        }
      }
    }
  }
  return hash.digest('hex')
}

/** Ranks, p-values and what else the test says, which do not depend on the order of sums. */
export function testsOf(result) {
  return result.headNames.map((head) =>
    result.contrastNames.map((contrast) => {
      const { rank, test } = result.head(head).contrast(contrast)
      const { p, q, qAnyDependence, pMaximum, discovered, draws, units, componentP, blocks } = test
      return {
        head,
        contrast,
        rank,
        p,
        q,
        qAnyDependence,
        pMaximum,
        discovered,
        draws,
        units,
        componentP,
        blocks,
      }
    }),
  )
}

/** One pass: sums, tests and subspaces. */
export async function onePass(model, prompts, { accumulateWith = {}, decomposeWith = {} } = {}) {
  const sums = await accumulate(model, prompts, accumulateWith)
  try {
    return await decompose(sums, { nulls: 2, ...decomposeWith })
  } finally {
    disposeSums(sums)
  }
}
