/** Peak of resident memory against the number of prompts, and what cancelled runs leave behind. */

import { bundledFile } from '../../dist/bundled/files.js'
import { accumulate, disposeSums, openModel } from '../../dist/index.js'

export default {
  title: 'memory: peak resident memory (bar: 1,000 and 100,000 prompts within 5%)',
  variants: () => [{ label: 'prompts of 24 tokens, every head of the bundled transformer', params: {} }],
  subjects: () => ['1000 prompts', '100000 prompts', 'after 20 completed runs', 'after 20 cancelled runs'],
  load: async (subject) => ({ measure: (quick) => run(subject, quick) }),
}

async function run(subject, quick) {
  const model = await openModel(bundledFile('boxes.onnx'))
  const mb = (bytes) => ({ value: bytes / 2 ** 20, unit: 'MiB' })
  if (subject.endsWith('prompts')) {
    const count = Number.parseInt(subject, 10)
    await accumulate(model, prompts(quick ? Math.min(count, 5000) : count), { backend: 'cpu' })
    const heap = process.memoryUsage().heapTotal / 2 ** 20
    return {
      ...mb(process.resourceUsage().maxRSS * 1024),
      note: `of which V8's heap takes ${heap.toFixed(1)} MiB at the end`,
    }
  }
  // A cancelled run must leave no more behind than one of as many prompts that ended by itself.
  const once = subject.includes('cancelled')
    ? () => cancelled(model)
    : async () => disposeSums(await accumulate(model, prompts(CANCELLED_AFTER)))
  for (let i = 0; i < 20; i++) {
    await once()
  }
  globalThis.gc()
  return mb(process.memoryUsage().rss)
}

const CANCELLED_AFTER = 400

async function cancelled(model) {
  const controller = new AbortController()
  await accumulate(model, prompts(4000), {
    signal: controller.signal,
    onProgress: ({ prompts: done }) => done > CANCELLED_AFTER && controller.abort(),
  }).catch((error) => {
    if (error.code !== 'ERR_ABORTED') {
      throw error
    }
  })
}

/** Made as they are read, so that the set itself takes no memory. */
function prompts(count) {
  return {
    *[Symbol.iterator]() {
      for (let i = 0; i < count; i++) {
        const tokens = Array.from({ length: 24 }, (_, j) => 3 + ((i * 7 + j * 11) % 100))
        yield { contrast: 'c', tokens, terms: [{ query: -1, positive: [i % 20], negative: [(i + 3) % 20] }] }
      }
    },
  }
}
