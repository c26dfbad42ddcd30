/** Adds the contrasts of token roles to a prompt set. */

import { encodeSource } from '../../capture/encode.js'
import type { Term, TermRule } from '../../contrast/prompt.js'
import { type PlacedPrompt, type PromptSet, summarise } from '../../contrast/prompt-set.js'
import { QkError } from '../../errors.js'
import { seededRandom } from '../../math/random.js'
import { unitKey, unitWord } from '../../math/unit-hash.js'
import type { Model } from '../../model/model.js'
import { delimiterTest } from './delimiters.js'
import { ROLES, type Role, roleTerms } from './role-terms.js'

export interface RoleSetOptions {
  roles: readonly Role[]
  /** Most terms of a role in a prompt. */
  each: number
  seed: number
}

/** Separates the choice of queries from other uses of the same seed. */
const QUERIES = 101

/**
 * The same prompts, with explicit terms of every role that occurs in a prompt's tokens. Queries are chosen by a hash
 * of seed and unit, so the order of prompts does not matter. Errors: ERR_PROMPT if a contrast of the set has a role's
 * name.
 */
export function withRoles(model: Model, set: PromptSet, { roles, each, seed }: RoleSetOptions): PromptSet {
  const causal = model.sites.some((site) => site.causal && !site.cross)
  const isDelimiter = delimiterTest(model.tokenizer)
  async function* prompts(): AsyncGenerator<PlacedPrompt> {
    for await (const placed of set) {
      const { run } = await encodeSource(model, placed.prompt, placed.where, placed.folder)
      if (run.kind !== 'tokens') {
        throw new QkError(
          'ERR_PROMPT',
          `${placed.where}: roles are told from tokens, and this prompt has none`,
        )
      }
      const taken = placed.rules.find(({ contrast }) => (ROLES as readonly string[]).includes(contrast))
      if (taken) {
        throw new QkError('ERR_PROMPT', `${placed.where}: "${taken.contrast}" is the name of a role`, {
          hint: 'Give the contrast another name, or sweep without roles.',
        })
      }
      const random = seededRandom(unitWord(seed, unitKey(`${placed.unit} ${run.ids}`), QUERIES, 0))
      const found = roleTerms({ ids: run.ids, causal, isDelimiter }, random, each)
      const rules = roles.flatMap((role) => {
        const terms = found.get(role)
        return terms ? [ruleOf(role, terms)] : []
      })
      if (placed.rules.length + rules.length > 0) {
        yield { ...placed, rules: [...placed.rules, ...rules] }
      }
    }
  }
  return {
    [Symbol.asyncIterator]: prompts,
    summary: async (signal) => {
      const { source, sha256 } = await set.summary(signal)
      return { source, sha256, ...(await summarise(prompts(), signal)) }
    },
  }
}

function ruleOf(contrast: Role, terms: readonly Term[]): TermRule {
  return {
    contrast,
    counterfactual: false,
    terms: terms.map(({ query, positive = [], negative = [] }) => {
      return { query, positive, queryNeg: query, negative }
    }),
  }
}
