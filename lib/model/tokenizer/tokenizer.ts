/** Hugging Face tokenizers, with token offsets in UTF-16 units of the caller's text. */

import { readFileSync } from 'node:fs'
import { type Encoding, Tokenizer } from 'tokenizers'
import { QkError } from '../../errors.js'
import { checkRegularFile } from '../../store/reading/regular-file.js'
import { checkTokenizer, type TokenizerJson } from './check.js'

/** A text, or two, as tokens. Arrays have one entry per token. */
export interface TokenizedText {
  /** Token ids. */
  ids: number[]
  /** [start, end) in UTF-16 units of the token's own text; empty for special tokens and added spaces. */
  spans: [start: number, end: number][]
  /** Whether the token comes from the tokenizer's own template, such as a start token. */
  special: boolean[]
  /** Whether the token belongs to the second text of a pair. */
  second: boolean[]
  /** Token type ids: the text of a pair that each token belongs to, as the model receives it. */
  segments: number[]
  /** Whether the token stands for text outside the vocabulary. */
  unknown: boolean[]
}

/** A tokenizer for prompts. */
export interface PromptTokenizer {
  /** Path of its `tokenizer.json`. */
  path: string
  /** Id of the token that pads shorter prompts of a batch. */
  padId: number
  /** One more than the largest id. */
  size: number
  /** Warnings, such as ids that differ from those of the file. */
  warnings: string[]
  /** One text, or two by the tokenizer's own template. Errors: ERR_TOKENIZER. */
  encode(text: string, pair?: string): Promise<TokenizedText>
  /** The token's own text, for display. */
  token(id: number): string
}

/** Loads a `tokenizer.json`. Errors: ERR_FILE, ERR_TOKENIZER. */
export async function loadTokenizer(path: string): Promise<PromptTokenizer> {
  checkRegularFile(path, 'the tokenizer')
  let tokenizer: Tokenizer
  let json: TokenizerJson
  try {
    const text = readFileSync(path, 'utf8')
    json = JSON.parse(text) as TokenizerJson
    if (typeof json !== 'object' || json === null) {
      throw new Error('it is not a JSON object')
    }
    await checkTokenizer(path, json)
    tokenizer = Tokenizer.fromString(text)
    tokenizer.disablePadding()
    tokenizer.disableTruncation()
  } catch (error) {
    if (error instanceof QkError) {
      throw error
    }
    throw new QkError('ERR_TOKENIZER', `${path} is not a tokenizer.json: ${(error as Error).message}`, {
      cause: error,
    })
  }
  const padId = ['<pad>', '[PAD]', '<|endoftext|>', '</s>']
    .map((token) => tokenizer.tokenToId(token))
    .find((id) => id !== null)
  const unknownId = unknownOf(json, tokenizer)
  return {
    path,
    padId: padId ?? 0,
    ...vocabularyOf(path, json, tokenizer),
    // The native package changes some ids, even within 32 bits.
    token: (id) => (isId(id) ? tokenizer.idToToken(id) : null) ?? `#${String(id)}`,
    encode: async (text, pair) => {
      try {
        return described(await tokenizer.encode(text, pair), text, pair, unknownId)
      } catch (error) {
        const shown = JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
        throw new QkError('ERR_TOKENIZER', `${path} cannot encode ${shown}: ${(error as Error).message}`, {
          cause: error,
        })
      }
    },
  }
}

const isId = (id: number): boolean => Number.isInteger(id) && id >= 0 && id <= 0xffffffff

function described(
  encoding: Encoding,
  text: string,
  pair: string | undefined,
  unknownId: number | undefined,
): TokenizedText {
  const tokens = encoding.getTokens()
  const ids = encoding.getIds()
  const special = encoding.getSpecialTokensMask().map((flag) => flag === 1)
  const second = encoding.getSequenceIds().map((sequence) => sequence === 1)
  const units = [utf16Offsets(text), utf16Offsets(pair ?? '')]
  const unknown: boolean[] = []
  const spans = encoding.getOffsets().map(([from, to], i): [number, number] => {
    const own = second[i] ? (pair ?? '') : text
    const unit = units[Number(second[i])]
    const [start, end] = [unit(from), unit(to)]
    const written = own.slice(start, end)
    unknown.push(ids[i] === unknownId && !special[i] && written !== tokens[i])
    return isAddedSpace(tokens[i], written) ? [start, start] : [start, end]
  })
  return { ids, spans, special, second, segments: encoding.getTypeIds(), unknown }
}

/** Spellings of a space: U+2581 in sentencepiece, U+0120 in byte-level tokenizers. */
const SPACES = /^[ \u2581\u0120]+$/

/**
 * Whether a token is only the space that the tokenizer adds before a word. The tokenizer gives it the offsets of the
 * word's first character, which belongs to another token.
 */
function isAddedSpace(token: string, written: string): boolean {
  return SPACES.test(token) && /\S/.test(written) && !SPACES.test(written)
}

/** The id for text outside the vocabulary. */
function unknownOf({ model }: TokenizerJson, tokenizer: Tokenizer): number | undefined {
  const { unk_token: token, unk_id: id } = (model ?? {}) as { unk_token?: unknown; unk_id?: unknown }
  if (typeof token === 'string') {
    return tokenizer.tokenToId(token) ?? undefined
  }
  return typeof id === 'number' ? id : undefined
}

function vocabularyOf(
  path: string,
  { model, added_tokens: added }: TokenizerJson,
  tokenizer: Tokenizer,
): Pick<PromptTokenizer, 'size' | 'warnings'> {
  const { vocab = {} } = (model ?? {}) as { vocab?: unknown[] | Record<string, number> }
  let size = 0
  if (Array.isArray(vocab)) {
    size = vocab.length
  } else {
    for (const token of Object.keys(vocab)) {
      size = Math.max(size, vocab[token] + 1)
    }
  }
  const other: string[] = []
  for (const { content, id } of (added ?? []) as { content: string; id: number }[]) {
    // The native package gives added tokens outside its model consecutive ids.
    const given = tokenizer.tokenToId(content)
    if (given !== null) {
      size = Math.max(size, given + 1)
    }
    if (given !== id) {
      other.push(`${JSON.stringify(content)} has ${id} and gets ${given ?? 'none'}`)
    }
  }
  if (other.length === 0) {
    return { size, warnings: [] }
  }
  const shown = other.slice(0, 3).join(', ')
  const warning = `${path}: ${other.length} added tokens do not get the ids that the file gives them: ${shown}`
  return { size, warnings: [warning] }
}

/** Converts the tokenizer's code points to UTF-16 units. The two differ only if the text has astral characters. */
function utf16Offsets(text: string): (codePoint: number) => number {
  const points = [...text]
  if (points.length === text.length) {
    return (n) => n
  }
  const starts = [0]
  for (const point of points) {
    starts.push(starts[starts.length - 1] + point.length)
  }
  return (n) => starts[Math.min(n, points.length)]
}
