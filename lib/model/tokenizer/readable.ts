/** Readable forms of tokens. Tokenizers mark spaces in several ways, or leave them out. */

/** Marks of a space: byte-level tokenizers' (U+0120), SentencePiece's (U+2581), or the space itself. */
const SPACE_MARKS = /[\u0120\u2581]/g
const STARTS_WITH_SPACE = /^[\u0120\u2581 ]/
/** Line ends in byte-level tokenizers. */
const LINE_ENDS = /\u010A|\n/g
/** WordPiece's mark of a piece that continues a word. */
const CONTINUES = /^##/

/**
 * One token without the marks of its tokenizer: with a plain space for a marked one, and the sign ⏎ for the end of a
 * line.
 */
export function readableToken(token: string): string {
  return (fromBytes(token) ?? token).replace(SPACE_MARKS, ' ').replace(LINE_ENDS, '⏎')
}

/**
 * The text of a byte-level token. Byte-level tokenizers write every byte as a character, so that "é" is "Ã©".
 * Undefined if the token is of another kind, or holds only a part of a character.
 */
function fromBytes(token: string): string | undefined {
  // Plain letters stand for themselves, and a single letter of Latin-1 is not valid UTF-8.
  if (!/[^\x20-\x7e]/.test(token)) {
    return undefined
  }
  const bytes: number[] = []
  for (const character of token) {
    const byte = BYTE_OF.get(character)
    if (byte === undefined) {
      return undefined
    }
    bytes.push(byte)
  }
  try {
    return UTF8.decode(Uint8Array.from(bytes))
  } catch {
    return undefined
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
/** GPT-2's alphabet: printable bytes are their own characters, the others are U+0100 and on, in order. */
const BYTE_OF = new Map<string, number>()
for (let byte = 0, others = 0; byte < 256; byte++) {
  const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
  BYTE_OF.set(String.fromCharCode(printable ? byte : 0x100 + others++), byte)
}

/** A token in its context: `before + token + after` reads as the original text. */
export interface TokenInContext {
  /** The token. */
  token: string
  /** Text before it, with the space in between. */
  before: string
  /** Text after it, with the space in between. */
  after: string
}

/** The token at an index, with at most `reach` tokens on either side. */
export function tokenInContext(tokens: readonly string[], place: number, reach: number): TokenInContext {
  const marked = tokens.some((token) => STARTS_WITH_SPACE.test(token))
  // Tokens of word-level tokenizers and of WordPiece carry no space of their own.
  const gap = (token: string) => (marked || CONTINUES.test(token) ? '' : ' ')
  const bare = (token: string) => readableToken(marked ? token : token.replace(CONTINUES, ''))
  const joined = (from: number, to: number) =>
    tokens
      .slice(from, to)
      .map((token) => gap(token) + bare(token))
      .join('')
  const before = joined(Math.max(0, place - reach), place)
  return {
    token: bare(tokens[place]),
    before: before === '' ? '' : before.replace(marked ? '' : /^ /, '') + gap(tokens[place]),
    after: joined(place + 1, place + 1 + reach),
  }
}
