/** Prompts seen through a tokenizer: the words that their positions fall on. */

import { resolvePosition } from '../../dist/contrast/positions.js'
import { promptRules } from '../../dist/contrast/prompt-rules.js'
import { loadTokenizer } from '../../dist/model/tokenizer/tokenizer.js'

const opened = new Map()

function tokenizerOf(file) {
  if (!opened.has(file)) {
    opened.set(file, loadTokenizer(file))
  }
  return opened.get(file)
}

/** A text's tokens, and a function from positions to the tokens' own text. */
export async function located(text, tokenizerFile) {
  const tokenizer = await tokenizerOf(tokenizerFile)
  const tokens = await tokenizer.encode(text)
  const words = tokens.ids.map(tokenizer.token)
  const run = { length: words.length, text, tokens }
  const index = (position) => resolvePosition(position, run, 'here')
  return { ids: tokens.ids, words, index, at: (position) => words[index(position)] }
}

/** For every term of a contrast: the words of its query, its positive and its negative keys. */
export async function termWords(prompt, contrast, tokenizerFile) {
  const rule = promptRules(prompt, 'here').find((r) => r.contrast === contrast)
  const here = await located(prompt.text, tokenizerFile)
  const there = rule.counterfactual ? await located(prompt.counterfactual.text, tokenizerFile) : here
  return rule.terms.map(({ query, positive, queryNeg, negative }) => ({
    query: here.at(query),
    positive: positive.map(here.at),
    queryNeg: there.at(queryNeg),
    negative: negative.map(there.at),
  }))
}
