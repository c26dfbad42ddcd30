/** Sign-flip nulls of many heads, every row its own unit, as a permutation test of rank needs them. */

import { selectBackend } from '../../../dist/backend/select.js'
import { uploadTensor } from '../../../dist/covariance/device-tensor.js'
import { seededRandom } from '../../../dist/math/random.js'
import { BARS, limitAt, timeBar } from '../bars.mjs'
import { measure } from '../measure.mjs'
import { repeatedRows } from '../rows.mjs'

/** The limit is that of these sizes. */
const WHOLE = { nullHeads: 256, nullTerms: 3000, draws: 1000, headDim: 128 }
/** Of a singular value, relative; draws that are compared. */
const ALLOWED = 1e-3
const CHECKED = 2
const DTYPE = 'f32'

export default {
  title: 'sign-flip nulls',
  variants: ({ nullHeads, nullTerms, draws, headDim }) => [
    { label: `${draws} draws, ${nullHeads} heads, ${nullTerms} rows, d ${headDim}, ${DTYPE}` },
  ],
  run: async (bench, sizes) => {
    const { nullHeads: heads, nullTerms: rows, draws, headDim: d } = sizes
    const work = { dtype: DTYPE, operations: 2 * draws * heads * rows * d ** 2 }
    const figures = await measure(bench, work, {
      allowed: ALLOWED,
      fresh: async (seed) => {
        const host = {
          q: repeatedRows(rows, heads, d, DTYPE, 2 * seed),
          k: repeatedRows(rows, heads, d, DTYPE, 2 * seed + 1),
        }
        const flips = flipsOf(rows, draws, seed)
        return { host, flips, q: await bench.upload(host.q), k: await bench.upload(host.k) }
      },
      once: ({ q, k, flips }) => largest(bench.backend, { q, k, flips, heads, rows, draws }),
      verify: async ({ host, flips }, found) => {
        const [q, k] = await Promise.all([host.q, host.k].map((x) => uploadTensor(x, { backend: 'cpu' })))
        const words = Math.ceil(draws / 32)
        const first = Uint32Array.from({ length: rows }, (_, unit) => flips[unit * words])
        const few = { q, k, flips: first, heads, rows, draws: CHECKED }
        const want = await largest(selectBackend('cpu'), few)
        for (const tensor of [q, k]) {
          tensor.release()
        }
        return Math.max(
          ...Array.from(want, (value, i) => {
            const at = Math.floor(i / CHECKED) * draws + (i % CHECKED)
            return Math.abs(found[at] - value) / value
          }),
        )
      },
      release: ({ q, k }) => {
        q.release()
        k.release()
      },
    })
    const wanted = limitAt(sizes, WHOLE, BARS['sign-flip-nulls'].seconds)
    return { ...figures, bars: [timeBar('seconds of the call', figures.callMs.median / 1e3, wanted)] }
  },
}

function largest(backend, { q, k, flips, heads, rows, draws }) {
  return backend.largestOfFlips({
    q: q.on(backend, 'q'),
    k: k.on(backend, 'k'),
    heads: Int32Array.from({ length: heads }, (_, h) => h),
    coefficients: new Float32Array(rows).fill(1 / rows),
    units: Int32Array.from({ length: rows }, (_, unit) => unit),
    unitCount: rows,
    flips,
    draws,
  })
}

function flipsOf(units, draws, seed) {
  const random = seededRandom(seed)
  return Uint32Array.from({ length: units * Math.ceil(draws / 32) }, () => random.below(2 ** 32))
}
