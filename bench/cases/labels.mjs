/** Label-matched contrasts: every token is a query, positives are the earlier tokens with its label. */

import { seededRandom } from '../../dist/math/random.js'
import { noise, read, readShared, relativeError, save } from '../data.mjs'
import { accumulation } from '../own.mjs'
import { loadProduct } from '../peers/javascript.mjs'

export default {
  title: 'labels: label-matched contrasts, causal',
  variants: (quick) =>
    (quick ? [2048] : [128, 512, 2048, 4096, 8192]).map((tokens) => ({
      label: `${tokens} tokens, 16 labels, d 64, 1 head`,
      params: { tokens, labels: 16, d: 64 },
    })),
  // Every peer on the longest case; the others show how time grows.
  subjects: ({ tokens }) =>
    tokens === 8192 || tokens === 2048
      ? ['cpu', 'js', 'ml-matrix', 'tfjs-cpu', 'tfjs-wasm', 'numpy-masked', 'numpy-sorted', 'torch-masked-2']
      : ['cpu', 'numpy-sorted'],
  work: ({ tokens, d }) => ({ flops: tokens * (4 * d * d + 4 * d), bytes: 2 * tokens * d * 4 }),
  prepare: ({ tokens, labels, d }, folder) => {
    const random = seededRandom(3)
    const q = noise(tokens * d, 1)
    const k = noise(tokens * d, 2)
    const label = Int32Array.from({ length: tokens }, () => random.below(labels))
    save(folder, 'q', q)
    save(folder, 'k', k)
    save(folder, 'label', label)
    save(folder, 'reference', contrast(q, k, label, { tokens, labels, d }))
    return { tokens, labels, d }
  },
  load,
}

/** C+ and C- in float64 by running sums, [2, d, d]. */
function contrast(q, k, label, { tokens, labels, d }) {
  const out = new Float64Array(2 * d * d)
  const { count, rows } = meanKeys(k, label, { tokens, labels, d }, Float64Array)
  for (const side of [0, 1]) {
    for (let t = 0; t < tokens; t++) {
      for (let i = 0; i < d; i++) {
        const x = q[t * d + i] / count
        for (let c = 0; c < d; c++) {
          out[(side * d + i) * d + c] += x * rows[side][t * d + c]
        }
      }
    }
  }
  return out
}

/** Mean positive and negative key of every query; zero for queries that are skipped. */
function meanKeys(k, label, { tokens, labels, d }, Type) {
  const rows = [new Type(tokens * d), new Type(tokens * d)]
  const sums = new Float64Array(labels * d)
  const total = new Float64Array(d)
  const counts = new Int32Array(labels)
  let count = 0
  for (let t = 0; t < tokens; t++) {
    const l = label[t]
    if (counts[l] > 0 && t - counts[l] > 0) {
      count += 1
      for (let c = 0; c < d; c++) {
        rows[0][t * d + c] = sums[l * d + c] / counts[l]
        rows[1][t * d + c] = (total[c] - sums[l * d + c]) / (t - counts[l])
      }
    }
    for (let c = 0; c < d; c++) {
      sums[l * d + c] += k[t * d + c]
      total[c] += k[t * d + c]
    }
    counts[l] += 1
  }
  return { count, rows }
}

async function load(subject, { tokens, labels, d }, folder) {
  const label = read(folder, 'label', Int32Array)
  const want = read(folder, 'reference', Float64Array)
  const verify = ([cPos, cNeg]) => relativeError([...cPos, ...cNeg], want)
  if (subject === 'cpu' || subject === 'js') {
    const q = readShared(folder, 'q', Float32Array)
    const k = readShared(folder, 'k', Float32Array)
    const rows = Int32Array.from({ length: tokens }, (_, i) => i)
    const shape = [1, tokens, 1, d]
    const labels = {
      contrast: 'c',
      keyScope: 'before',
      queryRows: rows,
      queryLabels: label,
      keyRows: rows,
      keyLabels: label,
    }
    const batch = { q: { data: q, shape }, k: { data: k, shape }, labels }
    const once = accumulation(subject, { heads: 1, headDim: d }, batch)
    return { tolerance: 1e-5, once, verify }
  }
  const product = await loadProduct(subject)
  const q = read(folder, 'q', Float32Array)
  const k = read(folder, 'k', Float32Array)
  const once = () => {
    const { count, rows } = meanKeys(k, label, { tokens, labels, d }, Float32Array)
    return rows.map((side) => Float64Array.from(product(q, side, tokens, d), (x) => x / count))
  }
  return { tolerance: 1e-3, once, verify }
}
