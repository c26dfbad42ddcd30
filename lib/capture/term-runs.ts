/** From prompts to the single interventions on them. */

import type { PromptSet } from '../contrast/prompt-set.js'
import { QkError } from '../errors.js'
import type { EditItem } from '../intervention/edit-layout.js'
import { seededRandom } from '../math/random.js'
import type { Model } from '../model/model.js'
import { type EncodedPrompt, encodePrompt } from './encode.js'

export interface ItemOptions {
  /** Contrast whose terms name origin and target; by default every contrast's do. */
  contrast?: string
  /** Seed of the choice among several negative keys. */
  seed: number
}

/**
 * One item a term: its first positive key is the origin, one of its negative keys, chosen by the seed, the
 * target. Where the negative half lies in a counterfactual run, that run is the donor and there is no target.
 * Errors: those of prompts; ERR_PROMPT where labels take the place of terms.
 */
export async function* editItems(
  model: Model,
  set: PromptSet,
  { contrast, seed }: ItemOptions,
): AsyncGenerator<EditItem> {
  const random = seededRandom(seed)
  let prompt = 0
  for await (const placed of set) {
    const encoded = await encodePrompt(model, placed)
    for (const rule of encoded.rules) {
      if (contrast !== undefined && rule.contrast !== contrast) continue
      if (!rule.terms) {
        throw new QkError(
          'ERR_PROMPT',
          `${placed.where}: queries are taken from "terms", and this prompt has "labels"`,
        )
      }
      for (const term of rule.terms) {
        const { query, positive, queryNeg, negative } = term
        const origin = positive[0]
        const target = random.pick(negative)
        yield {
          where: placed.where,
          prompt,
          run: encoded.runs[0],
          query,
          origin,
          ...{ contrast: rule.contrast, term },
          ...(rule.counterfactual
            ? { donor: { run: encoded.runs[1], query: queryNeg, key: target } }
            : { target, other: tokenAt(encoded, target) }),
          answer: encoded.answer ?? tokenAt(encoded, origin),
        }
      }
    }
    prompt += 1
  }
}

/** Retrieval copies what stands at the key, so the token there is the natural answer. */
function tokenAt({ runs: [run] }: EncodedPrompt, position: number): number | undefined {
  return run.kind === 'tokens' ? run.ids[position] : undefined
}
