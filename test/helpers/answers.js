/** What a language model answers to prompts. */

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { openModel } from '../../dist/index.js'
import { tokenFeeds } from '../../dist/model/inference/inputs.js'
import { InferenceSession } from '../../dist/model/inference/session.js'
import { tensorValues } from '../../dist/model/inference/values.js'

/** The likeliest token after each text, as the tokenizer writes it. */
export async function answers(file, tokenizer, texts) {
  const model = await openModel(file, { tokenizer })
  const sequences = await Promise.all(texts.map(async (text) => (await model.tokenizer.encode(text)).ids))
  const session = await InferenceSession.open({
    bytes: readFileSync(file),
    weightsFolder: path.dirname(file),
    threads: 1,
  })
  const { logits } = await session.run(tokenFeeds(model.inputs, sequences, model.tokenizer.padId))
  await session.close()
  const [, length, vocabulary] = logits.dims
  return sequences.map((ids, b) => {
    const from = (b * length + ids.length - 1) * vocabulary
    const row = tensorValues(logits).subarray(from, from + vocabulary)
    return model.tokenizer.token(row.indexOf(row.reduce((a, x) => (x > a ? x : a))))
  })
}
