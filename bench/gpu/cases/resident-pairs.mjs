/** One-to-one pairs of tensors that are on the device: every query against one positive and one negative key. */

import { BARS, floor, peerBar, speedBar } from '../bars.mjs'
import { ALLOWED, accumulated, errorAgainstCpu } from '../covariances.mjs'
import { measure } from '../measure.mjs'
import { bytesOf, repeatedRows, shuffled } from '../rows.mjs'
import { pairRows } from '../sizes.mjs'

const WANTED = BARS['resident-pairs']

export default {
  title: 'resident one-to-one pairs',
  variants: ({ rows, heads, kvHeads, pairDims, dtypes }) =>
    pairDims.flatMap((headDim) =>
      dtypes.map((dtype) => ({
        label: `${pairRows(rows, headDim)} rows, ${heads} over ${kvHeads} heads, d ${headDim}, ${dtype}`,
        dtype,
        headDim,
      })),
    ),
  run: async (bench, { rows: most, heads, kvHeads }, { dtype, headDim }) => {
    const rows = pairRows(most, headDim)
    const sizes = { heads, kvHeads, headDim }
    const offsets = Int32Array.from({ length: rows + 1 }, (_, i) => i)
    const work = {
      dtype,
      // Every query and both keys once, and the three indices.
      bytes: rows * ((heads + 2 * kvHeads) * headDim * bytesOf(dtype) + 12),
      operations: 4 * rows * heads * headDim ** 2,
    }
    const figures = await measure(bench, work, {
      allowed: ALLOWED,
      fresh: async (seed) => {
        const host = {
          q: repeatedRows(rows, heads, headDim, dtype, 2 * seed),
          k: repeatedRows(2 * rows, kvHeads, headDim, dtype, 2 * seed + 1),
        }
        const [q, k] = [await bench.upload(host.q), await bench.upload(host.k)]
        const pos = shuffled(rows, seed + 100)
        const neg = shuffled(rows, seed + 200, rows)
        const lists = { posOffsets: offsets, pos, negOffsets: offsets, neg }
        return { host, q, k, terms: { contrast: 'c', query: shuffled(rows, seed), ...lists } }
      },
      once: ({ q, k, terms }) => accumulated(bench.name, sizes, { q, k, terms }),
      verify: ({ host, terms }, found) => errorAgainstCpu(found, sizes, { ...host, terms }),
      release: ({ q, k }) => {
        q.release()
        k.release()
      },
    })
    const shortest = floor(work, bench.pytorch)
    const { median } = figures.deviceMs
    const peer = (kind, wanted = null) =>
      peerBar(`pairs-${dtype}-d${headDim}-${kind}`, bench.pytorch, median, wanted)
    const bars = [
      speedBar(shortest, median, WANTED.floor[headDim] ?? null),
      peer('gather-matmul', dtype === 'f32' && headDim === 128 ? WANTED.gather : null),
      peer('gather-matmul-compiled'),
      peer('cupy-gather-matmul'),
      ...(headDim === 128 ? [peer('loop')] : []),
    ]
    return { ...figures, floor: shortest, bars }
  },
}
