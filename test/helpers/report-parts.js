/** What the tests of the report put on pages: results of the bundled transformer, with and without tests, nulls and findings. */

import path from 'node:path'
import { bundledFile, bundledWords } from '../../dist/bundled/files.js'
import {
  accumulate,
  attribute,
  boxesLexical,
  boxesOrder,
  decompose,
  disposeSums,
  explain,
  intervene,
  openModel,
  writeReport,
} from '../../dist/index.js'
import { ENERGY } from './rank-rules.js'
import { shuffledAnswers } from './shuffled-answers.js'

const FEATURES = ['order', 'lexical']
const base = { ...bundledWords(), prompts: 120, seed: 1 }

export const openBoxes = () =>
  openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })

/** New prompts of the contrast `order`. */
export const heldOut = (prompts = 12) => boxesOrder({ ...base, prompts, seed: 2 })

async function decomposed(model, prompts, options) {
  const sums = await accumulate(model, prompts)
  try {
    return await decompose(sums, options)
  } finally {
    disposeSums(sums)
  }
}

/** A tested result with null subspaces, and what was measured with it on new prompts, in two heads. */
export async function testedParts() {
  const model = await openBoxes()
  const prompts = [
    ...boxesOrder(base),
    ...boxesLexical({ ...base, asked: base.objects.slice(0, 2) }, 'text and question', 'lexical'),
  ]
  const result = await decomposed(model, prompts, { spectrum: true, nulls: 20 })
  const held = heldOut()
  return {
    model,
    result,
    attribution: await attribute(model, held, { result, heads: 'L3H0,L2H0', features: FEATURES }),
    interventions: await intervene(model, held, {
      result,
      heads: 'L3H0',
      features: FEATURES,
      contrast: 'order',
      randoms: 2,
    }),
    explanation: await explain(model, held, { result, examples: 2, randoms: 2 }),
  }
}

/** A result under the energy rule, without tests and null subspaces, and what was measured with it. */
export async function untestedParts() {
  const model = await openBoxes()
  const result = await decomposed(model, boxesOrder({ ...base, prompts: 24 }), { rank: ENERGY })
  const options = { result, heads: 'L3H0', randoms: 1 }
  const held = heldOut()
  return {
    result,
    attribution: await attribute(model, held, options),
    interventions: await intervene(model, held, options),
  }
}

/** A result of prompts whose positive key is any box, whatever was asked: there is nothing to be found. */
export async function emptyResult() {
  const prompts = shuffledAnswers(boxesOrder({ ...base, prompts: 100, seed: 3 }), 5)
  return decomposed(await openBoxes(), prompts, { spectrum: true, nulls: 20 })
}

/** The page of a tested result with everything beside it; its file. */
export async function testedPage(folder, parts, name = 'report.html') {
  const file = path.join(folder, name)
  await writeReport(file, {
    results: [{ name: 'boxes.safetensors', value: parts.result }],
    // What a name or a prompt says must never end the script that holds it, nor become markup.
    attributions: [{ name: '</script><b>held out', value: parts.attribution }],
    interventions: [{ name: 'held out', value: parts.interventions }],
    explanations: [{ name: 'stored', value: parts.explanation }],
  })
  return file
}
