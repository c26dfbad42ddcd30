import { openModel } from '../../../dist/model/model.js'
import { target as reader } from './onnx-read.mjs'

/** The same models, opened as `qkspace inspect` opens them: in a process of their own, where onnxruntime may crash. */
export const target = {
  ...reader,
  run: async (file) => {
    await openModel(file, { isolate: true, threads: 1, tokenizer: false })
  },
}
