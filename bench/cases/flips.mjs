/** Largest singular values under sign flips: many heads, units and draws, as a permutation test of rank needs them. */

import { selectBackend } from '../../dist/backend/select.js'
import { seededRandom } from '../../dist/math/random.js'
import { noise, read, relativeError, save } from '../data.mjs'

/** Heads and draws whose values are compared with those of the float64 reference. */
const CHECKED_HEADS = 2
const CHECKED_DRAWS = 6

export default {
  title: 'flips: largest singular values of matrices under sign flips',
  variants: (quick) => {
    const shape = (heads, d, n, draws, threads = 2) => ({
      label: `${heads} heads, d ${d}, ${n} units of one row, ${draws} draws, ${threads} threads`,
      params: { heads, d, n, draws, threads },
    })
    const small = [shape(4, 64, 3000, 999), shape(4, 64, 3000, 999, 1)]
    if (quick) {
      return small
    }
    return [shape(64, 64, 3000, 999), shape(64, 64, 1000, 999), shape(16, 128, 3000, 999), small[1]]
  },
  subjects: ({ threads, heads }) => [
    `cpu-${threads}`,
    // The reference takes minutes for a few heads.
    ...(heads <= 4 ? ['js'] : []),
    ...['outer', 'stacked'].map((way) => `numpy-${way}-${threads}`),
  ],
  work: ({ heads, d, n, draws }) => ({ flops: 2 * n * d * d * heads * draws }),
  prepare: async ({ heads, d, n, draws }, folder) => {
    const q = noise(n * heads * d, 1)
    const k = noise(n * heads * d, 2)
    const random = seededRandom(3)
    const words = Math.ceil(draws / 32)
    const flips = Uint32Array.from({ length: n * words }, () => random.below(2 ** 32))
    save(folder, 'q', q)
    save(folder, 'k', k)
    save(folder, 'flips', flips)
    const first = Uint32Array.from({ length: n }, (_, unit) => flips[unit * words])
    const request = { heads: CHECKED_HEADS, d, n, draws: CHECKED_DRAWS, flips: first }
    save(folder, 'reference', await run(selectBackend('js'), { ...request, q, k, tensorHeads: heads }))
    // As many Lanczos steps as the cpu backend takes on average.
    return { heads, d, n, draws, steps: d < 100 ? 16 : 20 }
  },
  load,
}

/** Values of the first heads and draws of uploaded rows. */
async function run(backend, { q, k, tensorHeads, heads, d, n, draws, flips, threads = 0 }) {
  const upload = async (data) => {
    const tensor = { data, dtype: 'f32', shape: [1, n, tensorHeads, d], strides: [0, tensorHeads * d, d, 1] }
    return { ...tensor, data: data.subarray(0, 0), resident: await backend.upload(tensor) }
  }
  const rows = { q: await upload(q), k: await upload(k) }
  try {
    return await backend.largestOfFlips({
      ...rows,
      heads: Int32Array.from({ length: heads }, (_, h) => h),
      coefficients: new Float32Array(n).fill(1 / n),
      units: Int32Array.from({ length: n }, (_, unit) => unit),
      unitCount: n,
      flips,
      draws,
      threads,
    })
  } finally {
    backend.release(rows.q.resident)
    backend.release(rows.k.resident)
  }
}

async function load(subject, { heads, d, n, draws }, folder) {
  const q = read(folder, 'q', Float32Array)
  const k = read(folder, 'k', Float32Array)
  const flips = read(folder, 'flips', Uint32Array)
  const want = read(folder, 'reference', Float64Array)
  const backend = selectBackend(subject.replace(/-\d$/, ''))
  const all = {
    q,
    k,
    tensorHeads: heads,
    heads,
    d,
    n,
    draws,
    flips,
    threads: Number(subject.split('-')[1] ?? 0),
  }
  // The reference takes a few draws of one head; its time is scaled in proportion.
  const share = subject === 'js' ? { heads: CHECKED_HEADS, draws: CHECKED_DRAWS } : { heads, draws }
  const words = Math.ceil(draws / 32)
  const own = subject === 'js' ? Uint32Array.from({ length: n }, (_, unit) => flips[unit * words]) : flips
  return {
    tolerance: 1e-6,
    once: () => run(backend, { ...all, ...share, flips: own }),
    verify: (found) => {
      const part = Float64Array.from(
        { length: CHECKED_HEADS * CHECKED_DRAWS },
        (_, i) => found[Math.floor(i / CHECKED_DRAWS) * share.draws + (i % CHECKED_DRAWS)],
      )
      return relativeError(part, want)
    },
    scale: (heads * draws) / (share.heads * share.draws),
    note: subject === 'js' ? `timed on ${share.draws} draws of ${share.heads} heads` : undefined,
  }
}
