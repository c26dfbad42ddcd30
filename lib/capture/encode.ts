/** Converts prompts to runs of the model, with every position resolved to a row. */

import { tokenIds } from '../contrast/check-source.js'
import { type Located, resolvePosition } from '../contrast/positions.js'
import type { Label, Labels, PairedTerm, Prompt, PromptSource } from '../contrast/prompt.js'
import type { PlacedPrompt } from '../contrast/prompt-set.js'
import { QkError } from '../errors.js'
import { fixedLength } from '../model/inference/inputs.js'
import type { Model } from '../model/model.js'
import type { PromptTokenizer, TokenizedText } from '../model/tokenizer/tokenizer.js'
import { checkIds } from '../model/tokenizer/vocabulary.js'
import { counted } from '../validate.js'
import { encodeInputs, type TensorRun } from './encode-inputs.js'

/** One run of a model: token ids, or a tensor for each of its inputs (without the batch axis). */
export type Run = TokenRun | TensorRun

export interface TokenRun {
  kind: 'tokens'
  ids: readonly number[]
  /** Token type ids: the text of a pair that each token belongs to; zeros by default. */
  segments?: readonly number[]
}

/** A term whose two halves may lie in different runs of the prompt. */
export interface EncodedTerm extends Pick<PairedTerm, 'label' | 'labelNeg' | 'negativeLabels'> {
  query: number
  positive: number[]
  queryNeg: number
  negative: number[]
}

/** Labels of positions as numbers; -1 for a position without a label. */
export interface EncodedLabels {
  query: Int32Array
  key: Int32Array
  causal: boolean
}

export interface EncodedRule {
  contrast: string
  terms?: EncodedTerm[]
  labels?: EncodedLabels
  /** Whether the negative halves of the terms belong to the second run. */
  counterfactual: boolean
}

export interface EncodedPrompt {
  where: string
  /** Unit of exchange, as in `PlacedPrompt.unit`. */
  unit: string
  /** The prompt's run and, for a counterfactual contrast, the run of the changed prompt. */
  runs: Run[]
  rules: EncodedRule[]
  /** Token id or class of the prompt's answer. */
  answer?: number
}

/** Errors: ERR_PROMPT, ERR_POSITION (also of keys that a causal model masks), ERR_MATCH, ERR_TOKENIZER, ERR_FILE; all name the prompt. */
export async function encodePrompt(model: Model, placed: PlacedPrompt): Promise<EncodedPrompt> {
  const { prompt, where, unit, folder } = placed
  const first = await encodeSource(model, prompt, where, folder)
  const second =
    prompt.counterfactual &&
    (await encodeSource(model, prompt.counterfactual, `${where}: counterfactual`, folder))
  placed.onEncoded?.(first.located, where)
  if (second) {
    placed.onEncoded?.(second.located, where)
  }
  const rules = placed.rules.map((rule): EncodedRule => {
    const { contrast, counterfactual } = rule
    if (rule.labels) {
      return { contrast, counterfactual, labels: encodeLabels(rule.labels, first.located.length, where) }
    }
    const other = second?.located ?? first.located
    const terms = rule.terms!.map((term, i): EncodedTerm => {
      const at = `${where}: term ${i}`
      const encoded = {
        ...term,
        query: resolvePosition(term.query, first.located, at),
        positive: term.positive.map((p) => resolvePosition(p, first.located, at)),
        queryNeg: resolvePosition(term.queryNeg, other, at),
        negative: term.negative.map((p) => resolvePosition(p, other, at)),
      }
      if (!counterfactual) {
        refuseBothSides(encoded, at)
      }
      if (model.sites.every(({ causal, cross }) => causal && !cross)) {
        refuseMasked(encoded, at)
      }
      return encoded
    })
    return { contrast, counterfactual, terms }
  })
  const runs = second ? [first.run, second.run] : [first.run]
  if (prompt.answer === undefined) {
    return { where, unit, runs, rules }
  }
  return { where, unit, runs, rules, answer: await encodeAnswer(model, prompt, first.run, where) }
}

/** Refuses a key on both sides, which would cancel itself. */
function refuseBothSides({ positive, negative }: EncodedTerm, where: string): void {
  const both = positive.find((key) => negative.includes(key))
  if (both === undefined) {
    return
  }
  throw new QkError('ERR_PROMPT', `${where}: the key at ${both} is both positive and negative`, {
    hint: 'A key carries the feature, or does not: take it out of one of the sets.',
  })
}

/** Refuses keys after their query if every head is causal: the model masks them, so they have no score. */
function refuseMasked({ query, positive, queryNeg, negative }: EncodedTerm, where: string): void {
  for (const [side, from, keys] of [
    ['positive', query, positive],
    ['negative', queryNeg, negative],
  ] as const) {
    const after = keys.find((key) => key > from)
    if (after === undefined) {
      continue
    }
    throw new QkError('ERR_POSITION', `${where}: a ${side} key is at ${after}, after the query at ${from}`, {
      hint: 'The model is causal: a query sees the keys up to its own position.',
    })
  }
}

/** The id of the first token that the answer adds to the prompt's text. */
async function encodeAnswer(
  model: Model,
  { text, pair, answer }: Prompt,
  run: Run,
  where: string,
): Promise<number> {
  if (typeof answer === 'number') {
    if (Number.isSafeInteger(answer) && answer >= 0) {
      return answer
    }
    throw new QkError('ERR_PROMPT', `${where}: the answer ${answer} is not a token id or class`)
  }
  const writes = text !== undefined && pair === undefined
  if (typeof answer !== 'string' || !writes || !model.tokenizer || run.kind !== 'tokens') {
    throw new QkError('ERR_PROMPT', `${where}: an answer is a token id, or text in a prompt of one text`)
  }
  const before = run.ids.length
  const { ids } = await encodeText(model.tokenizer, where, text + answer)
  if (ids.length > before && run.ids.every((id, i) => ids[i] === id)) {
    return ids[before]
  }
  throw new QkError('ERR_PROMPT', `${where}: the answer "${answer}" changes the tokens before it`, {
    hint: 'Does it need a space in front? Or give its token id.',
  })
}

export async function encodeSource(
  model: Model,
  source: PromptSource,
  where: string,
  folder: string,
): Promise<{ run: Run; located: Located }> {
  if (source.inputs) {
    return encodeInputs(model, source.inputs, where, folder)
  }
  if (!model.takesTokens) {
    const names = model.inputs.map((i) => `${i.name} [${i.shape}]`).join(', ')
    throw new QkError('ERR_PROMPT', `${where}: the model does not take token ids alone; it takes ${names}`, {
      hint: 'Give the prompt "inputs": {"name": {"npy": "file.npy", "row": 0}} in place of text.',
    })
  }
  if (source.tokens) {
    const ids = tokenIds(source.tokens)
    checkLength(model, ids.length, where)
    checkIds(ids, model.vocabulary, undefined, where)
    return { run: { kind: 'tokens', ids }, located: { length: ids.length } }
  }
  if (!model.tokenizer) {
    throw new QkError('ERR_TOKENIZER', `${where}: text needs a tokenizer`, {
      hint: 'Open the model with its tokenizer.json (openModel(file, { tokenizer }), --tokenizer), or give prompts as "tokens".',
    })
  }
  const { pair } = source
  const text = source.text!
  const tokens = await encodeText(model.tokenizer, where, text, pair)
  const { ids, segments } = tokens
  if (ids.length === 0) {
    throw new QkError('ERR_PROMPT', `${where}: the text has no tokens`)
  }
  checkLength(model, ids.length, where)
  checkIds(ids, model.vocabulary, model.tokenizer, where)
  return { run: { kind: 'tokens', ids, segments }, located: { length: ids.length, text, pair, tokens } }
}

/** Errors: ERR_TOKENIZER, with the place of the prompt. */
async function encodeText(
  tokenizer: PromptTokenizer,
  where: string,
  text: string,
  pair?: string,
): Promise<TokenizedText> {
  return tokenizer.encode(text, pair).catch((error) => {
    if (!(error instanceof QkError)) {
      throw error
    }
    throw new QkError(error.code, `${where}: ${error.message}`, { hint: error.hint, cause: error })
  })
}

/**
 * Checks the length for models exported with a fixed length. They take shorter prompts only if a mask marks padding.
 */
function checkLength(model: Model, length: number, where: string): void {
  const fixed = fixedLength(model.inputs)
  if (fixed === undefined || length === fixed) {
    return
  }
  const padded = model.inputs.some((i) => i.role === 'mask')
  if (length > fixed || !padded) {
    throw new QkError(
      'ERR_PROMPT',
      `${where}: ${counted(length, 'token')}; the model was exported for ${padded ? 'at most' : 'exactly'} ${fixed}`,
    )
  }
}

function encodeLabels(labels: Labels, length: number | undefined, where: string): EncodedLabels {
  const ids = new Map<Label, number>()
  const encode = (list: Label[], side: string) => {
    if (length !== undefined && list.length !== length) {
      throw new QkError(
        'ERR_PROMPT',
        `${where}: ${list.length} ${side} labels for ${counted(length, 'token')}`,
        {
          hint: 'Special tokens count; give them the label null.',
        },
      )
    }
    return Int32Array.from(list, (label) => {
      if (label === null) {
        return -1
      }
      const key = typeof label === 'number' ? label : `"${label}`
      if (!ids.has(key)) {
        ids.set(key, ids.size)
      }
      return ids.get(key)!
    })
  }
  const query = encode(labels.query, 'query')
  return { query, key: labels.key ? encode(labels.key, 'key') : query, causal: labels.causal ?? false }
}
