/** Capture and accumulation of every head, against a plain run of the same graph to the same depth. */

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bundledFile } from '../../dist/bundled/files.js'
import { accumulate, disposeSums, openModel } from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'
import { tokenFeeds } from '../../dist/model/inference/inputs.js'
import { InferenceSession } from '../../dist/model/inference/session.js'
import { GraphEditor } from '../../dist/model/onnx/graph-editor.js'

const babyllama = fileURLToPath(new URL('../../../shared/models/babyllama-105/eager.onnx', import.meta.url))

export default {
  title: 'capture: every head of a model, prompts of 100 to 200 tokens',
  variants: (quick) => {
    const prompts = quick ? 100 : 1000
    const model = existsSync(babyllama) ? 'babyllama-105' : 'boxes'
    return [{ label: `${model}, ${prompts} prompts`, params: { model, prompts } }]
  },
  subjects: () => ['plain run', 'cpu'],
  load: async (subject, { model: name, prompts: count }) => {
    const model = await openModel(name === 'boxes' ? bundledFile('boxes.onnx') : babyllama)
    const prompts = makePrompts(count)
    if (subject === 'cpu') {
      const once = async () => disposeSums(await accumulate(model, prompts))
      return {
        tolerance: 0,
        once,
        verify: () => Math.max(...model.sites.map((s) => (s.relativeError < 1e-3 ? 0 : 1))),
      }
    }
    return plainRun(model, prompts)
  },
}

function makePrompts(count) {
  const random = seededRandom(5)
  return Array.from({ length: count }, () => {
    const length = 100 + random.below(101)
    const tokens = Array.from({ length }, () => 3 + random.below(90))
    return {
      contrast: 'c',
      tokens,
      terms: [{ query: -1, positive: [random.below(50)], negative: [50 + random.below(49)] }],
    }
  })
}

/** The model cut to the last queries and keys, run on the same batches, its rows left inside. */
async function plainRun(model, prompts) {
  const editor = new GraphEditor(model.graph)
  const last = model.sites.at(-1)
  // One number leaves the graph, so that the run is not charged for copying queries and keys out of it.
  for (const tensor of [last.query.tensor, last.key.tensor]) {
    editor.output(editor.node('ReduceMax', [tensor], { keepdims: 0 }))
  }
  const { bytes, inputs } = editor.build()
  const { weightsFolder } = model.graph.model
  const session = await InferenceSession.open({ bytes, weightsFolder, threads: model.threads })
  const used = model.inputs.filter((i) => inputs.includes(i.name))
  const sorted = []
  for (let i = 0; i < prompts.length; i += 128) {
    sorted.push(...prompts.slice(i, i + 128).sort((a, b) => a.tokens.length - b.tokens.length))
  }
  const once = async () => {
    for (let i = 0; i < sorted.length; i += 16) {
      await session.run(
        tokenFeeds(
          used,
          sorted.slice(i, i + 16).map((p) => p.tokens),
          0,
        ),
      )
    }
  }
  return { tolerance: 0, once, verify: () => 0 }
}
