/** Results that are made in a moment, of the bundled transformer and of a model without rotation. */

import { mkdirSync } from 'node:fs'
import path from 'node:path'
import {
  accumulate,
  boxesLexical,
  boxesOrder,
  bundledFile,
  bundledWords,
  decompose,
  disposeSums,
  openModel,
} from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'
import { writeTinyModel } from './tiny-model.js'

const openBoxes = () =>
  openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })

async function decomposed(model, prompts, heads, options) {
  const sums = await accumulate(model, prompts, { heads })
  return decompose(sums, options).finally(() => disposeSums(sums))
}

/** Of the bundled transformer: rotated queries, two query heads a key head. */
export async function boxesResult(options = {}, { heads = 'L3H0,L3H1,L1H0', prompts = 60 } = {}) {
  const set = boxesOrder({ ...bundledWords(), prompts, seed: 1 })
  return decomposed(await openBoxes(), set, heads, options)
}

/** Of a counterfactual contrast. */
export async function lexicalResult(options = {}) {
  const set = boxesLexical({ ...bundledWords(), prompts: 60, seed: 1 })
  return decomposed(await openBoxes(), set, 'L3H0,L1H0', options)
}

/** Of a model without rotation, at rank 2: four query heads, two key heads. */
export async function unrotatedResult(folder) {
  const own = path.join(folder, 'unrotated')
  mkdirSync(own, { recursive: true })
  const model = await openModel(writeTinyModel(own, { rope: false, heads: 4, kvHeads: 2 }))
  const random = seededRandom(3)
  const prompts = Array.from({ length: 40 }, () => ({
    contrast: 'c',
    tokens: Array.from({ length: 6 }, () => random.below(20)),
    terms: [{ query: 5, positive: [1, 2], negative: [3] }],
  }))
  return decomposed(model, prompts, 'all', { rank: { rule: 'fixed', rank: 2 }, nulls: 3 })
}
