/** Sign-flip nulls of many heads over one-to-one terms, as a permutation test of rank needs them. */

import { nullSingularValues } from '../../../dist/spectrum/rank/null-values.js'
import { secondsBar } from '../bars.mjs'
import { measure } from '../measure.mjs'
import { repeatedRows } from '../rows.mjs'

const WANTED_SECONDS = 3
/** Of a singular value, relative; draws that are compared. */
const ALLOWED = 1e-3
const CHECKED = 2
const DTYPE = 'f32'

export default {
  title: 'sign-flip nulls',
  variants: ({ nullHeads, nullTerms, draws, headDim }) => [
    { label: `${draws} draws, ${nullHeads} heads, ${nullTerms} one-to-one terms, d ${headDim}, ${DTYPE}` },
  ],
  run: async (bench, { nullHeads: heads, nullTerms: terms, draws, headDim: d }) => {
    const work = { dtype: DTYPE, operations: 2 * (draws + 1) * heads * 2 * terms * d ** 2 }
    const figures = await measure(bench, work, {
      allowed: ALLOWED,
      fresh: async (seed) => {
        const host = {
          q: repeatedRows(terms, heads, d, DTYPE, 2 * seed),
          k: repeatedRows(2 * terms, heads, d, DTYPE, 2 * seed + 1),
        }
        return { host, seed, q: await bench.upload(host.q), k: await bench.upload(host.k) }
      },
      once: ({ q, k, seed }) =>
        nullSingularValues({ q, k, terms: pairs(terms), draws, seed, backend: bench.name }),
      verify: async ({ host, seed }, found) => {
        const options = { ...host, terms: pairs(terms), draws: CHECKED, seed, backend: 'cpu' }
        const want = await nullSingularValues(options)
        const off = (a, b) => Math.abs(a - b) / b
        return Math.max(
          ...Array.from(want.observed, (value, h) => off(found.observed[h], value)),
          ...Array.from(want.permuted, (value, i) =>
            off(found.permuted[Math.floor(i / CHECKED) * draws + (i % CHECKED)], value),
          ),
        )
      },
      release: ({ q, k }) => {
        q.release()
        k.release()
      },
    })
    return { ...figures, bars: [secondsBar(figures.callMs.median / 1e3, WANTED_SECONDS)] }
  },
}

/** Query t against key 2t, and not key 2t + 1. */
function pairs(count) {
  const offsets = Int32Array.from({ length: count + 1 }, (_, t) => t)
  return {
    query: offsets.subarray(0, count),
    pos: Int32Array.from({ length: count }, (_, t) => 2 * t),
    posOffsets: offsets,
    neg: Int32Array.from({ length: count }, (_, t) => 2 * t + 1),
    negOffsets: offsets,
  }
}
