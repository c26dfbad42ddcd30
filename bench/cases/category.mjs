/** Category terms: one query a prompt, its list's items as keys, about a fifth of them positive. */

import { seededRandom } from '../../dist/math/random.js'
import { noise, read, readShared, relativeError, save } from '../data.mjs'
import { accumulation } from '../own.mjs'
import { loadProduct } from '../peers/javascript.mjs'

export default {
  title: 'category: one query against 25 items, several heads',
  variants: (quick) => {
    const sizes = quick ? [[500, 8, 25, 128]] : [[2000, 8, 25, 128]]
    return sizes.map(([prompts, heads, items, d]) => ({
      label: `${prompts} prompts, ${heads} heads, ${items} items, d ${d}, f32`,
      params: { prompts, heads, items, d },
    }))
  },
  subjects: () => [
    'cpu',
    'js',
    'ml-matrix',
    'tfjs-cpu',
    'tfjs-wasm',
    'numpy',
    'torch-best-1',
    'torch-best-2',
    'torch-einsum-2',
    'torch-loop-2',
  ],
  work: ({ prompts, heads, items, d }) => ({
    flops: prompts * heads * (2 * items * d + 4 * d * d),
    bytes: prompts * heads * (items + 1) * d * 4,
  }),
  prepare: ({ prompts, heads, items, d }, folder) => {
    const random = seededRandom(3)
    const q = noise(prompts * heads * d, 1)
    const k = noise(prompts * items * heads * d, 2)
    const positive = Uint8Array.from({ length: prompts * items }, () => (random.next() < 0.2 ? 1 : 0))
    for (let p = 0; p < prompts; p++) {
      positive[p * items] = 1
      positive[p * items + 1] = 0
    }
    save(folder, 'q', q)
    save(folder, 'k', k)
    save(folder, 'positive', positive)
    save(folder, 'reference', reference(q, k, positive, { prompts, heads, items, d }))
    return { prompts, heads, items, d }
  },
  load,
}

/** C+ and C- of the first head in float64, [2, d, d]. */
function reference(q, k, positive, { prompts, heads, items, d }) {
  const out = new Float64Array(2 * d * d)
  const sums = [new Float64Array(d), new Float64Array(d)]
  for (let p = 0; p < prompts; p++) {
    const counts = [0, 0]
    for (const sum of sums) {
      sum.fill(0)
    }
    for (let j = 0; j < items; j++) {
      const side = positive[p * items + j] ? 0 : 1
      counts[side] += 1
      for (let c = 0; c < d; c++) {
        sums[side][c] += k[(p * items + j) * heads * d + c]
      }
    }
    for (const side of [0, 1]) {
      for (let i = 0; i < d; i++) {
        const x = q[p * heads * d + i] / counts[side] / prompts
        for (let c = 0; c < d; c++) {
          out[(side * d + i) * d + c] += x * sums[side][c]
        }
      }
    }
  }
  return out
}

async function load(subject, { prompts, heads, items, d }, folder) {
  const positive = read(folder, 'positive', Uint8Array)
  const want = read(folder, 'reference', Float64Array)
  const verify = ([cPos, cNeg]) =>
    relativeError([...cPos.subarray(0, d * d), ...cNeg.subarray(0, d * d)], want)
  if (subject === 'cpu' || subject === 'js') {
    const q = readShared(folder, 'q', Float32Array)
    const k = readShared(folder, 'k', Float32Array)
    const csr = (wanted) => {
      const keys = []
      const offsets = [0]
      for (let p = 0; p < prompts; p++) {
        for (let j = 0; j < items; j++) {
          if (positive[p * items + j] === wanted) {
            keys.push(p * items + j)
          }
        }
        offsets.push(keys.length)
      }
      return [Int32Array.from(keys), Int32Array.from(offsets)]
    }
    const [pos, posOffsets] = csr(1)
    const [neg, negOffsets] = csr(0)
    const query = Int32Array.from({ length: prompts }, (_, i) => i)
    const terms = { contrast: 'c', query, pos, posOffsets, neg, negOffsets }
    const once = accumulation(
      subject,
      { heads, headDim: d },
      {
        q: { data: q, shape: [1, prompts, heads, d] },
        k: { data: k, shape: [1, prompts * items, heads, d] },
        terms,
      },
    )
    return { tolerance: 1e-5, once, verify }
  }
  const product = await loadProduct(subject)
  const q = read(folder, 'q', Float32Array)
  const k = read(folder, 'k', Float32Array)
  const once = () => {
    const { queries, sides } = weightedRows(q, k, positive, { prompts, heads, items, d })
    return sides.map((side) => {
      const out = new Float64Array(heads * d * d)
      side.forEach((keys, h) => {
        out.set(product(queries[h], keys, prompts, d), h * d * d)
      })
      return out
    })
  }
  return { tolerance: 1e-3, once, verify }
}

/** By head, queries [prompts, d], and of both sides of keys the mean of each prompt, over the count of prompts. */
function weightedRows(q, k, positive, { prompts, heads, items, d }) {
  const sides = [0, 1].map(() => Array.from({ length: heads }, () => new Float32Array(prompts * d)))
  const queries = Array.from({ length: heads }, () => new Float32Array(prompts * d))
  for (let p = 0; p < prompts; p++) {
    let positives = 0
    for (let j = 0; j < items; j++) {
      positives += positive[p * items + j]
    }
    for (let h = 0; h < heads; h++) {
      queries[h].set(q.subarray((p * heads + h) * d, (p * heads + h + 1) * d), p * d)
      for (let j = 0; j < items; j++) {
        const mine = positive[p * items + j]
        const out = sides[1 - mine][h]
        const weight = 1 / (mine ? positives : items - positives) / prompts
        const at = ((p * items + j) * heads + h) * d
        for (let c = 0; c < d; c++) {
          out[p * d + c] += weight * k[at + c]
        }
      }
    }
  }
  return { queries, sides }
}
