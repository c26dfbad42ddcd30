/** Random token sequences with a repeated segment, from which roles are determined if no prompts are given. */

import type { Prompt } from '../../contrast/prompt.js'
import { QkError } from '../../errors.js'
import { type Random, seededRandom } from '../../math/random.js'
import { fixedLength } from '../../model/inference/inputs.js'
import type { Model } from '../../model/model.js'
import { counted } from '../../validate.js'
import { delimiterTest } from './delimiters.js'

export interface SequenceOptions {
  /** Number of sequences. */
  sequences: number
  /** Number of tokens in each, including those that a tokenizer adds around a text. */
  length: number
  seed: number
}

/** Shorter sequences cannot hold a segment, a gap and a copy. */
const LEAST_LENGTH = 24
/** With fewer tokens, a head that attends to one kind of token appears to have every role. */
const LEAST_VOCABULARY = 16
/** One token in so many is a delimiter, if a tokenizer identifies delimiters. */
const BLOCK_LENGTH = 9

/**
 * Sequences of tokens drawn uniformly from the vocabulary. In each, a segment of 6 tokens to a third of the length is
 * repeated after a random gap, so that no fixed distance leads from a token to its copy. They begin and end with the
 * tokenizer's own start and end tokens. Prompts without contrasts.
 *
 * Errors: ERR_ARGUMENT if the model takes no tokens, or its vocabulary is unknown or too small; ERR_TOKENIZER.
 */
export async function randomSequences(model: Model, options: SequenceOptions): Promise<Prompt[]> {
  const { sequences, length: wanted, seed } = options
  if (!model.takesTokens) {
    throw new QkError('ERR_ARGUMENT', `roles are told from tokens, and ${model.path} takes none`)
  }
  const length = fixedLength(model.inputs) ?? wanted
  if (length < LEAST_LENGTH) {
    throw new QkError(
      'ERR_ARGUMENT',
      `sequences of ${counted(length, 'token')} are too short to repeat a segment`,
      {
        hint: `They need ${LEAST_LENGTH}; give prompts of your own.`,
      },
    )
  }
  const { plain, delimiters, before, after } = await vocabularyOf(model)
  if (plain.length < LEAST_VOCABULARY) {
    throw new QkError(
      'ERR_ARGUMENT',
      `a vocabulary of ${counted(plain.length, 'token')} is too small to tell roles apart`,
      {
        hint: `It takes ${LEAST_VOCABULARY}; sweep prompts with contrasts of your own.`,
      },
    )
  }
  const random = seededRandom(seed)
  return Array.from({ length: sequences }, (_, i) => {
    const inner = repeating(length - before.length - after.length, plain, random)
    for (let at = 0; delimiters.length > 0 && at < inner.length; at++) {
      if (random.below(BLOCK_LENGTH) === 0) {
        inner[at] = random.pick(delimiters)
      }
    }
    return { id: `sequence ${i}`, tokens: [...before, ...inner, ...after] }
  })
}

/** prefix, segment, gap, segment, rest. */
function repeating(length: number, plain: readonly number[], random: Random): number[] {
  const draw = (count: number) => Array.from({ length: count }, () => random.pick(plain))
  const between = (least: number, most: number) => least + random.below(most - least + 1)
  const segment = draw(between(6, Math.floor(length / 3)))
  const free = length - 2 * segment.length
  const prefix = between(0, Math.min(6, free - 1))
  const gap = between(1, free - prefix)
  return [...draw(prefix), ...segment, ...draw(gap), ...segment, ...draw(free - prefix - gap)]
}

/** Tokens to draw from, and those that the tokenizer puts around every text. */
async function vocabularyOf({ tokenizer, vocabulary, path }: Model) {
  const size = Math.min(...[tokenizer?.size, vocabulary].filter((n) => n !== undefined))
  if (!Number.isFinite(size)) {
    throw new QkError('ERR_ARGUMENT', `${path} does not say how many tokens it knows`, {
      hint: 'Give its tokenizer, or prompts.',
    })
  }
  const all = Array.from({ length: size }, (_, id) => id)
  if (!tokenizer) {
    return { plain: all, delimiters: [], before: [], after: [] }
  }
  const encoded = await tokenizer.encode('')
  const ids = encoded.ids.filter((_, i) => encoded.special[i])
  // A single token begins a text; of two or more, the last one ends it.
  const split = Math.ceil(ids.length / 2)
  const isDelimiter = delimiterTest(tokenizer)!
  const isSpecial = (id: number) => /^(<.*>|\[[A-Z]+\])$/.test(tokenizer.token(id)) || ids.includes(id)
  return {
    plain: all.filter((id) => !isSpecial(id) && !isDelimiter(id)),
    delimiters: all.filter((id) => !isSpecial(id) && isDelimiter(id)),
    before: ids.slice(0, split),
    after: ids.slice(split),
  }
}
