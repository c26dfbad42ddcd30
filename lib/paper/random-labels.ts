/** The control of a whole experiment: prompts whose positive and negative labels carry no information. */

import type { ContrastRule, Prompt, Term } from '../contrast/prompt.js'
import { seededRandom } from '../math/random.js'
import { derivedSeed, type FigureContext } from './figure.js'

/** The prompts to decompose: as they are, or with random labels. */
export function labelled(
  prompts: readonly Prompt[],
  { seed, randomLabels }: FigureContext,
): readonly Prompt[] {
  return randomLabels ? exchangeLabels(prompts, derivedSeed(seed, 900)) : prompts
}

/**
 * Exchanges the positive and the negative half of every second prompt or so, for all its contrasts: of terms the keys, of a
 * counterfactual the two runs. ΔC of what comes out is zero on average.
 */
export function exchangeLabels(prompts: readonly Prompt[], seed: number): Prompt[] {
  const random = seededRandom(seed)
  return prompts.map((prompt) => (random.next() < 0.5 ? prompt : exchanged(prompt)))
}

function exchanged(prompt: Prompt): Prompt {
  const { counterfactual } = prompt
  if (!counterfactual) {
    return withTerms(prompt, prompt)
  }
  const { id, contrast, group } = prompt
  return {
    ...withTerms(counterfactual, counterfactual),
    ...(id !== undefined && { id }),
    ...(contrast !== undefined && { contrast }),
    ...(group !== undefined && { group }),
    counterfactual: withTerms({ ...prompt, ...CLEARED }, prompt),
  }
}

/** What belongs to the prompt alone, not to its runs. */
const CLEARED = { id: undefined, contrast: undefined, group: undefined, counterfactual: undefined }
/** Exchanged keys are no longer what the prompt set calls them. */
const UNNAMED = { keyNames: undefined }

function withTerms<T extends object>(
  own: T,
  { terms, contrasts }: ContrastRule & Pick<Prompt, 'contrasts'>,
): T {
  const defined = Object.fromEntries(
    Object.entries({ ...own, ...UNNAMED }).filter(([, value]) => value !== undefined),
  ) as T
  return {
    ...defined,
    ...(terms && { terms: terms.map(exchangedTerm) }),
    ...(contrasts && {
      contrasts: Object.fromEntries(
        Object.entries(contrasts).map(([name, rule]) => [
          name,
          {
            ...(rule.labels && { labels: rule.labels }),
            ...(rule.terms && { terms: rule.terms.map(exchangedTerm) }),
          },
        ]),
      ),
    }),
  }
}

/** Labels of keys are for the legends of pictures: they do not go with the exchanged keys. */
function exchangedTerm({ query, positive, negative }: Term): Term {
  return { query, ...(negative && { positive: negative }), ...(positive && { negative: positive }) }
}
