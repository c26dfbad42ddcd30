/** Resolves positions in text to token indices. */

import { QkError } from '../errors.js'
import type { TokenizedText } from '../model/tokenizer/tokenizer.js'
import { counted } from '../validate.js'
import type { Position } from './prompt.js'

/** The run in which positions are resolved. */
export interface Located {
  /** Number of positions. Undefined for models without tokens, whose rows onnxruntime counts. */
  length: number | undefined
  text?: string
  /** The second text of a pair. */
  pair?: string
  tokens?: TokenizedText
}

/** The token index of a position. Errors: ERR_POSITION, ERR_MATCH. */
export function resolvePosition(position: Position, run: Located, where: string): number {
  if (typeof position === 'number') {
    return resolveIndex(position, run, where)
  }
  checkForm(position, where)
  const second = position.in === 'pair'
  const text = second ? run.pair : run.text
  if (text === undefined || run.tokens === undefined) {
    throw new QkError(
      'ERR_POSITION',
      `${where}: ${JSON.stringify(position)} needs a prompt given as "text"${second ? ' with a "pair"' : ''}`,
    )
  }
  const span = textSpan(position, text, where)
  const hits = tokensInSpan(text, run.tokens, span, second)
  if (hits.length === 0) {
    throw new QkError(
      'ERR_POSITION',
      `${where}: no token lies in ${JSON.stringify(text.slice(...span))} at characters ${span[0]} to ${span[1]}`,
    )
  }
  return position.token === 'first' ? hits[0] : hits[hits.length - 1]
}

/** A position given as a span of the text. */
export type TextPosition = Exclude<Position, number>

/** The characters that a position covers, [start, end) in UTF-16 units. Errors: ERR_POSITION, ERR_MATCH. */
export function textSpan(position: TextPosition, text: string, where: string): [start: number, end: number] {
  checkForm(position, where)
  return 'match' in position ? matchSpan(position, text, where) : charSpan(position.char, text, where)
}

function checkForm(position: TextPosition, where: string): void {
  if (typeof position !== 'object' || position === null) {
    throw new QkError('ERR_POSITION', `${where}: ${JSON.stringify(position)} is not a position`, {
      hint: 'A position is a token index, {"char": [start, end]} or {"match": "text"}.',
    })
  }
  const known = 'match' in position ? ['match', 'nth', 'token', 'in'] : ['char', 'token', 'in']
  const unknown = Object.keys(position).find((key) => !known.includes(key))
  if (unknown !== undefined) {
    throw new QkError('ERR_POSITION', `${where}: a position has no "${unknown}" beside "${known[0]}"`, {
      hint: `It has ${known.join(', ')}.`,
    })
  }
  if (position.token !== undefined && position.token !== 'first' && position.token !== 'last') {
    throw new QkError(
      'ERR_POSITION',
      `${where}: "token" is "first" or "last", not ${JSON.stringify(position.token)}`,
    )
  }
  if (position.in !== undefined && position.in !== 'text' && position.in !== 'pair') {
    throw new QkError(
      'ERR_POSITION',
      `${where}: "in" is "text" or "pair", not ${JSON.stringify(position.in)}`,
    )
  }
}

function resolveIndex(index: number, { length }: Located, where: string): number {
  if (!Number.isSafeInteger(index)) {
    throw new QkError('ERR_POSITION', `${where}: ${index} is not a whole number`)
  }
  if (length === undefined) {
    if (index < 0) {
      throw new QkError('ERR_POSITION', `${where}: position ${index} counts from an end that is not known`, {
        hint: 'Rows of models without tokens are counted from 0.',
      })
    }
    return index
  }
  const resolved = index < 0 ? index + length : index
  if (resolved < 0 || resolved >= length) {
    throw new QkError(
      'ERR_POSITION',
      `${where}: position ${index} is outside the prompt of ${counted(length, 'token')}`,
    )
  }
  return resolved
}

function charSpan(char: unknown, text: string, where: string): [number, number] {
  const ok = Array.isArray(char) && char.length === 2 && char.every((n) => Number.isSafeInteger(n))
  const [start, end] = ok ? (char as [number, number]) : [0, 0]
  if (!ok || start < 0 || end <= start || end > text.length) {
    throw new QkError(
      'ERR_POSITION',
      `${where}: {"char": ${JSON.stringify(char)}} is not a span of the text's ${text.length} characters`,
      { hint: 'Offsets are UTF-16 units, as in JavaScript strings: [start, end), start < end.' },
    )
  }
  return [start, end]
}

function matchSpan(
  { match, nth }: { match: string; nth?: number },
  text: string,
  where: string,
): [number, number] {
  if (typeof match !== 'string' || match === '') {
    throw new QkError('ERR_MATCH', `${where}: "match" is a piece of the text, not empty`)
  }
  if (nth !== undefined && !(Number.isSafeInteger(nth) && nth >= 0)) {
    throw new QkError(
      'ERR_MATCH',
      `${where}: "nth" is ${JSON.stringify(nth)}, expected a whole number from 0`,
    )
  }
  const starts: number[] = []
  for (let at = text.indexOf(match); at >= 0; at = text.indexOf(match, at + 1)) {
    starts.push(at)
  }
  if (starts.length === 0) {
    throw new QkError('ERR_MATCH', `${where}: ${JSON.stringify(match)} is not in the text`, {
      hint: 'Capitals and spaces count.',
    })
  }
  if (nth === undefined && starts.length > 1) {
    throw new QkError(
      'ERR_MATCH',
      `${where}: ${JSON.stringify(match)} is in the text ${starts.length} times`,
      {
        hint: 'Say which with "nth", from 0, or match a longer piece.',
      },
    )
  }
  const start = starts[nth ?? 0]
  if (start === undefined) {
    throw new QkError(
      'ERR_MATCH',
      `${where}: ${JSON.stringify(match)} is in the text ${starts.length} times; "nth": ${nth} counts from 0`,
    )
  }
  return [start, start + match.length]
}

/** Tokens whose text, without surrounding space, overlaps the span. Special tokens and added spaces never do. */
function tokensInSpan(
  text: string,
  { spans, special, second }: TokenizedText,
  [start, end]: [number, number],
  inSecond: boolean,
): number[] {
  const hits: number[] = []
  spans.forEach(([from, to], index) => {
    if (special[index] || second[index] !== inSecond) {
      return
    }
    let a = from
    let b = to
    while (a < b && /\s/.test(text[a])) {
      a++
    }
    while (b > a && /\s/.test(text[b - 1])) {
      b--
    }
    if (a < b && a < end && b > start) {
      hits.push(index)
    }
  })
  return hits
}
