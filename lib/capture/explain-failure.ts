/** Explains failed runs of the model in terms of the prompts in the run. */

import { QkError } from '../errors.js'
import type { Inference } from './batch.js'

/** Adds the prompts of the run to onnxruntime's error. Other errors stay unchanged. */
export function explainFailure(error: unknown, { queries, keys }: Inference): unknown {
  if (!(error instanceof QkError) || error.code !== 'ERR_INFERENCE') {
    return error
  }
  const rows = [...queries, ...keys]
  if (/GatherND|invalid ind|out of bounds/i.test(error.message) && !/idx=/.test(error.message)) {
    const last = rows.reduce((a, b) => (b.position > a.position ? b : a))
    return new QkError(
      'ERR_POSITION',
      `${last.where}: position ${last.position} lies outside the query or key axis of an attention site`,
      { cause: error },
    )
  }
  const where = [...new Set(rows.map((r) => r.where))]
  const among =
    where.length === 1 ? where[0] : `among ${where.length} prompts, ${where[0]} to ${where.at(-1)}`
  return new QkError('ERR_INFERENCE', `${among}: ${error.message}`, {
    cause: error,
    hint: 'A token id beyond the vocabulary, or a prompt longer than the model’s positions? With a batch size of 1 (batchSize: 1, --batch-size 1) the prompt is named.',
  })
}
