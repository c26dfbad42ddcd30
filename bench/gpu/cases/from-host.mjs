/** One-to-one pairs from host memory, as a caller waits for them: copies, arithmetic and all. */

import { BARS, hostBar } from '../bars.mjs'
import { ALLOWED, accumulated, errorAgainstCpu } from '../covariances.mjs'
import { measure } from '../measure.mjs'
import { bytesOf, denseRows, shuffled } from '../rows.mjs'

const WANTED = BARS['from-host'].part

export default {
  title: 'pairs from host memory, end to end',
  variants: ({ hostRows, heads, kvHeads, headDim, dtypes }) =>
    dtypes.map((dtype) => ({
      label: `${hostRows} rows, ${heads} over ${kvHeads} heads, d ${headDim}, ${dtype}`,
      dtype,
    })),
  run: async (bench, sizes, { dtype }) => {
    const { hostRows: rows, heads, kvHeads, headDim } = sizes
    const offsets = Int32Array.from({ length: rows + 1 }, (_, i) => i)
    const work = { bytes: rows * (heads + 2 * kvHeads) * headDim * bytesOf(dtype) }
    const figures = await measure(bench, work, {
      allowed: ALLOWED,
      fresh: (seed) => {
        const pos = shuffled(rows, seed + 100)
        const neg = shuffled(rows, seed + 200, rows)
        const lists = { posOffsets: offsets, pos, negOffsets: offsets, neg }
        return {
          q: denseRows(rows, heads, headDim, dtype, 2 * seed),
          k: denseRows(2 * rows, kvHeads, headDim, dtype, 2 * seed + 1),
          terms: { contrast: 'c', query: shuffled(rows, seed), ...lists },
        }
      },
      once: (batch) => accumulated(bench.name, sizes, batch),
      verify: (batch, found) => errorAgainstCpu(found, sizes, batch),
    })
    return { ...figures, bars: [hostBar(figures.callRates.bytesPerSecond, bench.pytorch, WANTED)] }
  },
}
