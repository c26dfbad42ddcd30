/** Hugging Face tokenizers, with token offsets in UTF-16 units of the caller's text. */

import { existsSync } from 'node:fs'
import { Tokenizer } from 'tokenizers'
import { QkError } from '../errors.js'

export interface TokenizedText {
  ids: number[]
  /** [start, end) in UTF-16 units of the text; empty for special tokens. */
  spans: [start: number, end: number][]
  special: boolean[]
}

export interface PromptTokenizer {
  path: string
  padId: number
  encode(text: string): Promise<TokenizedText>
  /** The token's own text, for display. */
  token(id: number): string
}

/** Loads a `tokenizer.json`. Errors: ERR_FILE, ERR_TOKENIZER. */
export async function loadTokenizer(path: string): Promise<PromptTokenizer> {
  if (!existsSync(path)) throw new QkError('ERR_FILE', `cannot open the tokenizer ${path}: no such file`)
  let tokenizer: Tokenizer
  try {
    tokenizer = Tokenizer.fromFile(path)
    tokenizer.disablePadding()
    tokenizer.disableTruncation()
  } catch (error) {
    throw new QkError('ERR_TOKENIZER', `${path} is not a tokenizer.json: ${(error as Error).message}`, {
      cause: error,
    })
  }
  const padId = ['<pad>', '[PAD]', '<|endoftext|>', '</s>']
    .map((token) => tokenizer.tokenToId(token))
    .find((id) => id !== null)
  return {
    path,
    padId: padId ?? 0,
    token: (id) => tokenizer.idToToken(id) ?? `#${id}`,
    encode: async (text) => {
      const encoding = await tokenizer.encode(text)
      const units = utf16Offsets(text)
      const special = encoding.getSpecialTokensMask().map((flag) => flag === 1)
      const spans = encoding.getOffsets().map(([start, end]): [number, number] => [units(start), units(end)])
      return { ids: encoding.getIds(), spans, special }
    },
  }
}

/** From the tokenizer's code points to UTF-16 units; the same number unless the text has astral characters. */
function utf16Offsets(text: string): (codePoint: number) => number {
  const points = [...text]
  if (points.length === text.length) return (n) => n
  const starts = [0]
  for (const point of points) starts.push(starts[starts.length - 1] + point.length)
  return (n) => starts[Math.min(n, points.length)]
}
