/** Accumulates so many short prompts, with so many bytes for the rows of the test, and prints the peak of resident memory in MB. */

import { bundledFile } from '../../dist/bundled/files.js'
import { accumulate, openModel } from '../../dist/index.js'

const [count, nullBytes] = process.argv.slice(2).map(Number)

const prompts = {
  *[Symbol.iterator]() {
    for (let i = 0; i < count; i++) {
      const tokens = Array.from({ length: 24 }, (_, j) => 3 + ((i * 7 + j * 11) % 100))
      yield { contrast: 'c', tokens, terms: [{ query: -1, positive: [i % 20], negative: [(i + 3) % 20] }] }
    }
  },
}

const model = await openModel(bundledFile('boxes.onnx'))
await accumulate(model, prompts, { backend: 'cpu', nullBytes })
process.stdout.write(`${Math.round(process.resourceUsage().maxRSS / 1024)}`)
