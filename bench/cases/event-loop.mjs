/** The longest that the event loop was held up while prompts were accumulated and matrices decomposed. */

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { bundledFile, bundledWords } from '../../dist/bundled/files.js'
import { boxesOrder } from '../../dist/contrast/families/boxes.js'
import { accumulate, decompose, openModel, svd } from '../../dist/index.js'
import { noise } from '../data.mjs'

export default {
  title: 'event loop: longest delay while work runs (bar: 20 ms)',
  variants: () => [{ label: 'accumulate and decompose 2,000 prompts; 512 SVDs of 128 x 128', params: {} }],
  subjects: () => ['accumulate and decompose', 'svd'],
  load: async (subject) => ({
    measure: async (quick) => {
      const work = subject === 'svd' ? await svds(quick) : await prompts(quick)
      const delay = monitorEventLoopDelay({ resolution: 1 })
      delay.enable()
      await work()
      delay.disable()
      const ms = (ns) => `${(ns / 1e6).toFixed(1)} ms`
      return { value: delay.max / 1e6, unit: 'ms', note: `99th percentile ${ms(delay.percentile(99))}` }
    },
  }),
}

async function prompts(quick) {
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  const set = boxesOrder({ ...bundledWords(), prompts: quick ? 400 : 2000, seed: 1 })
  return async () => decompose(await accumulate(model, set))
}

async function svds(quick) {
  const n = quick ? 64 : 512
  const matrices = noise(n * 128 * 128, 1)
  return () => svd(matrices, { n, rows: 128, cols: 128, energy: 0.99 })
}
