/** Checks that token ids fit the model. A tokenizer of another model gives wrong rows, or none. */

import { QkError } from '../../errors.js'
import { counted } from '../../validate.js'
import type { PromptTokenizer } from './tokenizer.js'

/** Rows that a table of embeddings may have beyond the tokenizer's ids, since tables are often padded. */
const PADDING = { ratio: 1.1, rows: 256 } as const

/** What is odd about a tokenizer for a model, given the number of rows in the model's table. */
export function vocabularyWarnings(
  tokenizer: PromptTokenizer | undefined,
  rows: number | undefined,
): string[] {
  if (!tokenizer || rows === undefined) {
    return []
  }
  const { path, size } = tokenizer
  const short = size > rows
  const long = rows > PADDING.ratio * size && rows > size + PADDING.rows
  if (!short && !long) {
    return []
  }
  const counts = `${path} has ${counted(size, 'token id')}, and the model's table of embeddings ${counted(rows, 'row')}`
  return [`${counts}: is it the tokenizer of this model?`]
}

/** Refuses ids outside the table, before the model runs. Errors: ERR_PROMPT. */
export function checkIds(
  ids: readonly number[],
  rows: number | undefined,
  tokenizer: PromptTokenizer | undefined,
  where: string,
): void {
  const index = rows === undefined ? -1 : ids.findIndex((id) => id >= rows!)
  if (index < 0) {
    return
  }
  const token = tokenizer ? ` (${JSON.stringify(tokenizer.token(ids[index]))} in ${tokenizer.path})` : ''
  throw new QkError(
    'ERR_PROMPT',
    `${where}: token ${index} has the id ${ids[index]}${token}, and the model's table of embeddings has ${rows} rows`,
    { hint: tokenizer ? 'Give the tokenizer of this model.' : `Token ids go from 0 to ${rows! - 1}.` },
  )
}
