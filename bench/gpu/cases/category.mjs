/** Category terms on the device: one query against the items of its list, about a fifth of them positive. */

import { seededRandom } from '../../../dist/math/random.js'
import { BARS, floor, peerBar } from '../bars.mjs'
import { ALLOWED, accumulated, errorAgainstCpu } from '../covariances.mjs'
import { measure } from '../measure.mjs'
import { repeatedRows } from '../rows.mjs'

const DTYPE = 'f32'
const WANTED = BARS.category

export default {
  title: 'resident category terms',
  variants: ({ prompts, items, heads, kvHeads, headDim }) => [
    {
      label: `${prompts} queries against ${items} items, ${heads} over ${kvHeads} heads, d ${headDim}, ${DTYPE}`,
    },
  ],
  run: async (bench, sizes) => {
    const { prompts, items, heads, kvHeads, headDim } = sizes
    const work = {
      dtype: DTYPE,
      bytes: 4 * prompts * ((heads + items * kvHeads) * headDim + items + 3),
      // Key sums of a key head serve all query heads of its group.
      operations: prompts * (items * kvHeads * headDim + 4 * heads * headDim ** 2),
    }
    const figures = await measure(bench, work, {
      allowed: ALLOWED,
      fresh: async (seed) => {
        const host = {
          q: repeatedRows(prompts, heads, headDim, DTYPE, 2 * seed),
          k: repeatedRows(prompts * items, kvHeads, headDim, DTYPE, 2 * seed + 1),
        }
        const [q, k] = [await bench.upload(host.q), await bench.upload(host.k)]
        return { host, q, k, terms: categoryTerms(prompts, items, seed) }
      },
      once: ({ q, k, terms }) => accumulated(bench.name, sizes, { q, k, terms }),
      verify: ({ host, terms }, found) => errorAgainstCpu(found, sizes, { ...host, terms }),
      release: ({ q, k }) => {
        q.release()
        k.release()
      },
    })
    const { median } = figures.deviceMs
    const bars = [
      peerBar('category-gather-matmul', bench.pytorch, median, WANTED.gather),
      peerBar('category-key-sums', bench.pytorch, median, WANTED.keySums),
      peerBar('category-gather-matmul-compiled', bench.pytorch, median, null),
      peerBar('category-key-sums-compiled', bench.pytorch, median, null),
      peerBar('category-loop', bench.pytorch, median, null),
    ]
    return { ...figures, floor: floor(work, bench.pytorch), bars }
  },
}

/** Item j of prompt p is key row p * items + j. */
function categoryTerms(prompts, items, seed) {
  const random = seededRandom(seed)
  const sides = { pos: [], neg: [] }
  const offsets = { pos: [0], neg: [0] }
  for (let p = 0; p < prompts; p++) {
    for (let j = 0; j < items; j++) {
      const positive = j === 0 || (j > 1 && random.next() < 0.2)
      sides[positive ? 'pos' : 'neg'].push(p * items + j)
    }
    for (const side of ['pos', 'neg']) {
      offsets[side].push(sides[side].length)
    }
  }
  return {
    contrast: 'c',
    query: Int32Array.from({ length: prompts }, (_, p) => p),
    posOffsets: Int32Array.from(offsets.pos),
    pos: Int32Array.from(sides.pos),
    negOffsets: Int32Array.from(offsets.neg),
    neg: Int32Array.from(sides.neg),
  }
}
