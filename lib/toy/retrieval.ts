/** Prompts from the toy model's training task, with known latents, for figures 3 and 4. */

import type { Prompt } from '../contrast/prompt.js'
import { seededRandom } from '../math/random.js'
import { signs, type ToyTask } from './task.js'

export interface RetrievalPrompts {
  /**
   * Prompts with one contrast, `retrieval`, of one term: the token that matches the query against the tokens that
   * match it in neither latent. The answer is the payload's class.
   */
  prompts: Prompt[]
  /** Latents z1 and z2 of each prompt's query, [r1 + r2], which equal those of the positive token. */
  latents: Float64Array[]
}

/**
 * If every token of a context shares a latent with the query, the context is drawn again, since a swap needs a key
 * that shares none.
 */
export function retrievalPrompts(task: ToyTask, count: number, seed: number): RetrievalPrompts {
  const random = seededRandom(seed)
  const { context, dModel, r1 } = task.config
  const batch = task.allocate(1)
  const prompts: Prompt[] = []
  const latents: Float64Array[] = []
  while (prompts.length < count) {
    const tokens: Float64Array[] = []
    let target = 0
    task.sample(random, batch, (_, t, own, isTarget) => {
      tokens.push(own.slice())
      if (isTarget) {
        target = t
      }
    })
    const wanted = tokens[target]
    const shares = (own: Float64Array, from: number, to?: number) =>
      own.subarray(from, to).every((value, i) => value === wanted[from + i])
    const neither = [...tokens.keys()].filter((t) => !shares(tokens[t], 0, r1) && !shares(tokens[t], r1))
    if (neither.length === 0) {
      continue
    }
    latents.push(wanted)
    prompts.push({
      id: `retrieval-${prompts.length}`,
      contrast: 'retrieval',
      terms: [
        {
          query: 0,
          positive: [target],
          negative: neither,
          label: signs(wanted),
          negativeLabels: neither.map((t) => signs(tokens[t])),
        },
      ],
      inputs: {
        context: { data: batch.tokens.slice(), shape: [context, dModel] },
        query: { data: batch.queries.slice(), shape: [1, dModel] },
      },
      answer: batch.answers[0],
    })
  }
  return { prompts, latents }
}
