/** Checks that a tokenizer can resolve the positions of a prompt set. */

import { QkError } from '../errors.js'
import type { PromptTokenizer } from '../model/tokenizer/tokenizer.js'
import { type Located, resolvePosition } from './positions.js'
import type { Prompt, PromptSource } from './prompt.js'
import { promptRules } from './prompt-rules.js'

/**
 * Resolves every position of text prompts. Refuses terms in which a positive and a negative key of one run are the
 * same token, since words that the tokenizer joins cannot be contrasted. Errors: ERR_PROMPT, ERR_POSITION, ERR_MATCH.
 */
export async function checkTokenPositions(
  prompts: Iterable<Prompt>,
  tokenizer: PromptTokenizer,
): Promise<void> {
  let index = 0
  for (const prompt of prompts) {
    const where = `prompt ${prompt.id ?? index}`
    const rules = promptRules(prompt, where)
    const run = await locate(prompt, tokenizer, where)
    const { counterfactual } = prompt
    const other = counterfactual && (await locate(counterfactual, tokenizer, where))
    for (const { terms } of rules) {
      for (const { query, positive, queryNeg, negative } of terms ?? []) {
        resolvePosition(query, run, where)
        resolvePosition(queryNeg, other ?? run, where)
        const wanted = positive.map((position) => resolvePosition(position, run, where))
        const rest = negative.map((position) => resolvePosition(position, other ?? run, where))
        const shared = other ? undefined : wanted.find((token) => rest.includes(token))
        if (shared !== undefined) {
          throw new QkError(
            'ERR_POSITION',
            `${where}: token ${shared} is both a positive and a negative key`,
            {
              hint: 'The tokenizer joins the two words; use others, or another wording.',
            },
          )
        }
      }
    }
    index += 1
  }
}

async function locate(
  { text, pair }: PromptSource,
  tokenizer: PromptTokenizer,
  where: string,
): Promise<Located> {
  if (text === undefined) {
    throw new QkError('ERR_PROMPT', `${where} is not given as "text"`)
  }
  const tokens = await tokenizer.encode(text, pair)
  return { length: tokens.ids.length, text, pair, tokens }
}
