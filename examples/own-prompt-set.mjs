/**
 * A prompt set of your own: a counterfactual contrast in memory, checked, written as JSONL, and tested.
 *
 *   node examples/own-prompt-set.mjs [FOLDER]
 */

import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import {
  accumulate,
  bundledFile,
  bundledWords,
  checkPromptSet,
  decompose,
  openModel,
  readPrompts,
  writePrompts,
} from 'qkspace'

const folder = process.argv[2] ?? (await mkdtemp(path.join(tmpdir(), 'qkspace-example-')))
const { objects, boxes } = bundledWords()

// Does a head look at a box because of the object in it? The prompt asks for the object of one box; in the
// counterfactual another object lies there, and the question stays.
const prompts = Array.from({ length: 120 }, (_, i) => {
  const [asked, other, instead] = [objects[i % 20], objects[20 + (i % 19)], objects[40 + (i % 17)]]
  const [box, otherBox] = [boxes[i % 5], boxes[5 + (i % 4)]]
  const text = (object) =>
    `The ${object} is in Box ${box}, the ${other} is in Box ${otherBox}. Which box is the ${asked} in? Box`
  const key = [{ match: `Box ${box}` }]
  return {
    id: `prompt ${i}`,
    contrast: 'object in its box',
    text: text(asked),
    terms: [{ query: -1, positive: key }],
    counterfactual: { text: text(instead), terms: [{ query: -1, negative: key }] },
  }
})

const file = path.join(folder, 'own.jsonl')
await writePrompts(file, prompts)
console.log(
  `${prompts.length} prompts, the first:\n  ${prompts[0].text}\n  ${prompts[0].counterfactual.text}`,
)

const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
const { contrasts } = await checkPromptSet(readPrompts(file), { tokenizer: model.tokenizer })
for (const { contrast, findings } of contrasts) {
  console.log(
    `${contrast}: ${findings.length === 0 ? 'nothing besides the feature was found' : findings.map(({ message }) => message).join('; ')}`,
  )
}

const result = await decompose(await accumulate(model, readPrompts(file)))
const found = result.toRows().filter((row) => row.discovered)
console.log(
  `discovered: ${found.map(({ head, rank, q }) => `${head} (rank ${rank}, q ${q.toPrecision(2)})`).join(', ') || 'none'}`,
)
