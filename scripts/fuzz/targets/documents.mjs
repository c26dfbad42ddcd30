import { bundledFile, bundledWords } from '../../../dist/bundled/files.js'
import {
  accumulate,
  attribute,
  boxesOrder,
  decompose,
  disposeSums,
  explain,
  intervene,
  openModel,
  QkError,
  readAttribution,
  readExplanation,
  readInterventions,
  readPaper,
} from '../../../dist/index.js'
import { changedBytes, changedJson } from '../mutate.mjs'

const READERS = [readAttribution, readInterventions, readExplanation, readPaper]

/** What `attribute`, `intervene` and `explain` wrote of the bundled transformer, with fields or bytes changed. */
export const target = {
  extension: 'json',
  prepare: async () => {
    const model = await openModel(bundledFile('boxes.onnx'), {
      tokenizer: bundledFile('boxes.tokenizer.json'),
    })
    const sums = await accumulate(model, boxesOrder({ ...bundledWords(), prompts: 24, seed: 1 }), {
      heads: 'L3H0',
    })
    const result = await decompose(sums, { rank: { rule: 'fixed', rank: 2 }, nulls: 2 })
    disposeSums(sums)
    const held = boxesOrder({ ...bundledWords(), prompts: 2, seed: 2 })
    const options = { result, heads: 'L3H0', randoms: 1 }
    const documents = [
      await attribute(model, held, { ...options, points: 4, reads: false }),
      await intervene(model, held, { ...options, nulls: 2 }),
      await explain(model, held, { ...options, examples: 1, nulls: 2 }),
    ]
    return documents.map((document) => JSON.parse(JSON.stringify(document)))
  },
  make: (random, seeds) => {
    // The whole document may have become nothing.
    const bytes = Buffer.from(JSON.stringify(changedJson(random, random.pick(seeds))) ?? '')
    return random.next() < 0.2 ? changedBytes(random, bytes) : bytes
  },
  /** Each reader takes its own kind or names what it found: none may fail otherwise. */
  run: async (file) => {
    const refusals = []
    for (const read of READERS) {
      try {
        await read(file)
      } catch (error) {
        if (!(error instanceof QkError)) {
          throw error
        }
        refusals.push(error)
      }
    }
    if (refusals.length === READERS.length) {
      throw refusals[0]
    }
  },
}
