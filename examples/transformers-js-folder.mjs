/**
 * A model folder as transformers.js has it: config.json, tokenizer.json, onnx/model.onnx. The tokenizer is found.
 *
 *   node examples/transformers-js-folder.mjs
 */

import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { bundledFile, capture, openModel } from 'qkspace'

const folder = await mkdtemp(path.join(tmpdir(), 'qkspace-example-'))
await mkdir(path.join(folder, 'onnx'))
await copyFile(bundledFile('boxes.onnx'), path.join(folder, 'onnx', 'model.onnx'))
await copyFile(bundledFile('boxes.tokenizer.json'), path.join(folder, 'tokenizer.json'))
await writeFile(path.join(folder, 'config.json'), '{ "model_type": "llama" }')

// A folder of your own, or 'hf:org/name' on the Hugging Face Hub. With several files: { dtype: 'q4' }.
const model = await openModel(folder)
console.log(
  `${path.relative(folder, model.path)}: ${model.sites.length} attention sites, a tokenizer ${model.tokenizer ? 'beside it' : 'not found'}`,
)

const { tokens, sites, activations } = await capture(
  model,
  { text: 'The apple is in Box O' },
  { heads: 'L3H0', pattern: true },
)
const pattern = activations[sites[0].hooks.pattern]
console.log(`${tokens.length} tokens; pattern of L3H0: [${pattern.shape}]`)
await rm(folder, { recursive: true })
