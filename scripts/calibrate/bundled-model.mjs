/** The bundled transformer: real answers against shuffled ones, and its graph with random weights. */

import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  accumulate,
  boxesOrder,
  bundledFile,
  bundledWords,
  categoryPrompts,
  decompose,
  disposeSums,
  openModel,
} from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'
import { ModelProtoSchema } from '../../dist/model/onnx/proto/onnx_pb.js'

/** Heads that the bundled model was trained to bind and to filter with (lib/bundled/README.md). */
const TRAINED = ['L3H0', 'L3H2']
const FAMILIES = {
  boxes: (prompts, seed) => boxesOrder({ ...bundledWords(), prompts, seed }),
  categories: (prompts, seed) => categoryPrompts({ categories: bundledWords().categories, prompts, seed }),
}
/** The contrast of each family that is over all its prompts. */
const POOLED = { boxes: 'order', categories: 'category' }

/**
 * `seeds` prompt sets of `prompts` prompts. `answers`: 'real', or 'shuffled': which keys of a term are positive is drawn
 * anew. `weights`: 'trained' or 'random', of the same graph with weights of the same spread. `center`: the interaction.
 */
export async function bundledModel(_, { family, prompts, seeds, answers, weights, center = false }) {
  const found = { families: seeds, tests: 0, discovered: 0, anyDiscovered: 0, replicated: 0, trainedHeads: 0 }
  const folder = await mkdtemp(path.join(tmpdir(), 'qkspace-calibrate-'))
  try {
    for (let seed = 0; seed < seeds; seed++) {
      const file = weights === 'random' ? randomModel(folder, seed) : bundledFile('boxes.onnx')
      const model = await openModel(file, { tokenizer: bundledFile('boxes.tokenizer.json') })
      const set = FAMILIES[family](prompts, seed)
      const sums = await accumulate(model, answers === 'shuffled' ? shuffled(set, seed) : set, {
        batchSize: 64,
      })
      const result = await decompose(sums, { center }).finally(() => disposeSums(sums))
      count(found, result, POOLED[family])
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return found
}

function count(found, result, pooled) {
  const tests = result.headNames.flatMap((head) =>
    result.contrastNames.map((contrast) => result.head(head).contrast(contrast).test),
  )
  const discovered = tests.filter((test) => test.discovered)
  found.tests += tests.length
  found.discovered += discovered.length
  found.anyDiscovered += discovered.length > 0 ? 1 : 0
  found.replicated += discovered.filter(({ replication }) => replication?.replicated).length
  const both = TRAINED.every((head) => {
    const { test } = result.head(head).contrast(pooled)
    return test.discovered && test.replication?.replicated
  })
  found.trainedHeads += both ? 1 : 0
}

/** As many positives as before, drawn anew among the keys of each term. */
function shuffled(prompts, seed) {
  const random = seededRandom(1_000 + seed)
  const rule = ({ terms, ...rest }) => ({
    ...rest,
    terms: terms.map(({ query, positive, negative }) => {
      const keys = random.sample([...positive, ...negative], positive.length + negative.length)
      return { query, positive: keys.slice(0, positive.length), negative: keys.slice(positive.length) }
    }),
  })
  return prompts.map((prompt) => {
    if (!prompt.contrasts) {
      return rule(prompt)
    }
    const contrasts = Object.entries(prompt.contrasts).map(([name, of]) => [name, rule(of)])
    return { ...prompt, contrasts: Object.fromEntries(contrasts) }
  })
}

/** ONNX's number of float32. */
const FLOAT = 1
/** Smaller tensors are gains, biases and constants of the graph. */
const LEAST_WEIGHTS = 1_000

function randomModel(folder, seed) {
  const model = fromBinary(ModelProtoSchema, readFileSync(bundledFile('boxes.onnx')))
  const random = seededRandom(50 + seed)
  for (const tensor of model.graph.initializer) {
    if (tensor.dataType !== FLOAT || tensor.dims.length < 2 || !tensor.rawData?.length) {
      continue
    }
    const values = new Float32Array(Uint8Array.from(tensor.rawData).buffer)
    if (values.length < LEAST_WEIGHTS) {
      continue
    }
    const spread = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length)
    for (let i = 0; i < values.length; i++) {
      values[i] = spread * random.normal()
    }
    tensor.rawData = new Uint8Array(values.buffer)
  }
  const file = path.join(folder, `random-${seed}.onnx`)
  writeFileSync(file, toBinary(ModelProtoSchema, model))
  return file
}
