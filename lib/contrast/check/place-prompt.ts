/** Resolves the positions of a prompt's keys and queries: to tokens, or to characters if there is no tokenizer. */

import { QkError } from '../../errors.js'
import type { PromptTokenizer, TokenizedText } from '../../model/tokenizer/tokenizer.js'
import { tokenIds } from '../check-source.js'
import { type Located, resolvePosition, textSpan } from '../positions.js'
import type { PairedTerm, Position, PromptSource } from '../prompt.js'

/** Units of the positions of a run. */
export type PositionUnit = 'tokens' | 'characters' | 'rows'

/** A key or query in a run. */
export interface PlacedRow {
  at: number
  /** Token id, or the text of the span. Undefined if the model takes no tokens. */
  token: number | string | undefined
}

/** A run of a prompt whose positions can be resolved. */
export interface PlacedRun {
  unit: PositionUnit
  /** Number of positions of the run; undefined for rows. */
  length: number | undefined
  /** Token ids or UTF-16 units, to compare beginnings; empty for rows. */
  sequence: Int32Array
  /**
   * Resolves a position. Undefined for a token index in a text without a tokenizer. Errors: ERR_POSITION, ERR_MATCH.
   */
  place(position: Position, where: string): PlacedRow | undefined
}

/** Number of positions over which beginnings of prompts are compared. */
const LONGEST_SEQUENCE = 4096

/** Errors: ERR_PROMPT, ERR_TOKENIZER. */
export async function placeRun(
  source: PromptSource,
  tokenizer: PromptTokenizer | undefined,
  where: string,
): Promise<PlacedRun> {
  const { text, pair, tokens } = source
  if (tokens !== undefined) {
    return onTokens(tokenIds(tokens), { length: tokens.length })
  }
  if (text === undefined) {
    const rows: Located = { length: undefined }
    return {
      unit: 'rows',
      length: undefined,
      sequence: new Int32Array(0),
      place: (position, at) => ({ at: resolvePosition(position, rows, at), token: undefined }),
    }
  }
  if (tokenizer === undefined) {
    return onCharacters(text, pair)
  }
  let encoded: TokenizedText
  try {
    encoded = await tokenizer.encode(text, pair)
  } catch (error) {
    if (!(error instanceof QkError)) {
      throw error
    }
    throw new QkError(error.code, `${where}: ${error.message}`, { hint: error.hint, cause: error })
  }
  const { ids } = encoded
  if (ids.length === 0) {
    throw new QkError('ERR_PROMPT', `${where}: the text has no tokens`)
  }
  return onTokens(ids, { length: ids.length, text, pair, tokens: encoded })
}

function onTokens(ids: readonly number[], located: Located): PlacedRun {
  return {
    unit: 'tokens',
    length: ids.length,
    sequence: Int32Array.from(ids.slice(0, LONGEST_SEQUENCE)),
    place: (position, where) => {
      const at = resolvePosition(position, located, where)
      return { at, token: ids[at] }
    },
  }
}

/** Without a tokenizer, only the last token is known, which ends with the last character. */
function onCharacters(text: string, pair: string | undefined): PlacedRun {
  const whole = pair === undefined ? text : `${text}\n${pair}`
  return {
    unit: 'characters',
    length: whole.length,
    sequence: Int32Array.from({ length: Math.min(whole.length, LONGEST_SEQUENCE) }, (_, i) =>
      whole.charCodeAt(i),
    ),
    place: (position, where) => {
      if (position === -1) {
        return { at: whole.length - 1, token: whole.match(/\S+\s*$/)?.[0].trim() ?? '' }
      }
      if (typeof position === 'number') {
        return undefined
      }
      const second = typeof position === 'object' && position?.in === 'pair'
      const own = second ? pair : text
      if (own === undefined) {
        throw new QkError(
          'ERR_POSITION',
          `${where}: ${JSON.stringify(position)} needs a prompt with a "pair"`,
        )
      }
      const [start, end] = textSpan(position, own, where)
      return { at: start + (second ? text.length + 1 : 0), token: own.slice(start, end) }
    },
  }
}

/** A term with all rows resolved. In a counterfactual contrast, rows of the negative half lie in `other`. */
export interface PlacedTerm {
  query: PlacedRow | undefined
  positive: PlacedRow[]
  queryNeg: PlacedRow | undefined
  negative: PlacedRow[]
  label: string | undefined
}

/** A term with resolved rows. Undefined if a key cannot be resolved. Errors: ERR_POSITION, ERR_MATCH. */
export function placeTerm(
  term: PairedTerm,
  run: PlacedRun,
  other: PlacedRun,
  where: string,
): PlacedTerm | undefined {
  const positive = term.positive.map((position) => run.place(position, where))
  const negative = term.negative.map((position) => other.place(position, where))
  const query = run.place(term.query, where)
  const queryNeg = other.place(term.queryNeg, where)
  if (!positive.every((row) => row !== undefined) || !negative.every((row) => row !== undefined)) {
    return undefined
  }
  return { query, positive, queryNeg, negative, label: term.label }
}
