/** A sweep with tests of all heads and figures on held-out prompts, against plain forward passes of the same batches. */

import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bundledFile } from '../../dist/bundled/files.js'
import { openModel, sweep } from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'
import { tokenFeeds } from '../../dist/model/inference/inputs.js'
import { InferenceSession } from '../../dist/model/inference/session.js'

const babyllama = fileURLToPath(new URL('../../../shared/models/babyllama-105/eager.onnx', import.meta.url))
const LENGTH = 128
const BATCH = 16

export default {
  title: 'sweep: tests of every head of a model, against its plain forward passes (bar: 1.5 times)',
  variants: (quick) => {
    const prompts = quick ? 100 : 1000
    const model = existsSync(babyllama) ? 'babyllama-105' : 'boxes'
    return [
      { label: `${model}, ${prompts} prompts of ${LENGTH} tokens, one contrast`, params: { model, prompts } },
    ]
  },
  subjects: () => ['plain run', 'cpu'],
  load: async (subject, { model: name, prompts: count }) => {
    const file = name === 'boxes' ? bundledFile('boxes.onnx') : babyllama
    const model = await openModel(file)
    const prompts = makePrompts(count)
    if (subject === 'plain run') {
      return plainRun(model, file, prompts)
    }
    return {
      tolerance: 0,
      once: () => sweep(model, prompts, { batchSize: BATCH }),
      // Every head of the one contrast was tested.
      verify: ({ rows }) => rows.length - model.sites.reduce((sum, { heads }) => sum + heads, 0),
    }
  },
}

/** The previous token against those before it. */
function makePrompts(count) {
  const random = seededRandom(6)
  const query = LENGTH - 1
  return Array.from({ length: count }, (_, i) => ({
    id: `${i}`,
    tokens: Array.from({ length: LENGTH }, () => 3 + random.below(90)),
    contrast: 'previous',
    terms: [{ query, positive: [query - 1], negative: [query - 2, query - 3, query - 4] }],
  }))
}

async function plainRun(model, file, prompts) {
  const { weightsFolder } = model.graph.model
  const bytes = readFileSync(file)
  const session = await InferenceSession.open({ bytes, weightsFolder, threads: model.threads })
  const once = async () => {
    for (let i = 0; i < prompts.length; i += BATCH) {
      const batch = prompts.slice(i, i + BATCH).map(({ tokens }) => tokens)
      await session.run(tokenFeeds(model.inputs, batch, 0))
    }
  }
  return { tolerance: 0, once, verify: () => 0 }
}
