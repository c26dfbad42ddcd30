/** One-to-one pairs: one positive and one negative key a query, rows gathered at random from large tensors. */

import { decode, encode } from '../../dist/math/tensor.js'
import { noise, permutation, read, readShared, relativeError, save } from '../data.mjs'
import { accumulation } from '../own.mjs'
import { gather, loadProduct } from '../peers/javascript.mjs'

export default {
  title: 'pairs: C+ and C- of one-to-one pairs',
  variants: (quick) => {
    const n = quick ? 20_000 : 200_000
    const shape = (params) => ({
      label: [
        `${params.n ?? n} pairs, ${params.heads ?? 1} heads`,
        params.kvHeads ? ` over ${params.kvHeads} key heads` : '',
        `, d ${params.d}, ${params.dtype}${params.counterfactual ? ', counterfactual' : ''}`,
      ].join(''),
      params: { n, heads: 1, kvHeads: params.heads ?? 1, counterfactual: false, ...params },
    })
    const main = ['f32', 'f16', 'bf16'].map((dtype) => shape({ d: 128, dtype }))
    if (quick) {
      return main
    }
    return [
      ...main,
      shape({ d: 128, dtype: 'f32', counterfactual: true }),
      ...[16, 64, 80, 256].map((d) => shape({ d, dtype: 'f32', n: Math.round((n * 64) / d) })),
      shape({ d: 64, dtype: 'f32', heads: 32, n: 20_000 }),
      shape({ d: 64, dtype: 'f32', heads: 32, kvHeads: 8, n: 20_000 }),
      shape({ d: 16, dtype: 'f32', heads: 1024, n: 2000 }),
    ]
  },
  // Every peer on the main case; the other shapes against OpenBLAS alone.
  subjects: ({ d, dtype, heads, counterfactual }) => {
    if (dtype !== 'f32' || counterfactual || heads > 1) {
      return ['cpu']
    }
    if (d !== 128) {
      return ['cpu', 'numpy-contiguous', 'numpy-gather']
    }
    return [
      'cpu',
      'js',
      'ml-matrix',
      'tfjs-cpu',
      'tfjs-wasm',
      'numpy-contiguous',
      'numpy-gather',
      'torch-1',
      'torch-2',
    ]
  },
  work: ({ n, d, heads, kvHeads, dtype }) => ({
    flops: 4 * n * heads * d * d,
    bytes: n * (heads + 2 * kvHeads) * d * (dtype === 'f32' ? 4 : 2),
  }),
  prepare: ({ n, d, heads, kvHeads, dtype, counterfactual }, folder) => {
    const q = noise(n * heads * d, 1)
    const k = noise(n * kvHeads * d, 2)
    const index = [3, 4, 5, 6].map((seed) => permutation(n, seed))
    if (!counterfactual) {
      index[3] = index[0]
    }
    const [query, pos, neg, queryNeg] = index
    save(folder, 'q', encode(q, dtype))
    save(folder, 'k', encode(k, dtype))
    for (const [name, rows] of Object.entries({ query, pos, neg, queryNeg })) {
      save(folder, name, rows)
    }
    const [rounded, keys] = [q, k].map((x) => decode(encode(x, dtype), dtype))
    save(folder, 'reference', reference(rounded, keys, { n, d, heads, kvHeads }, query, queryNeg, pos, neg))
    return { n, d, heads, kvHeads, dtype }
  },
  load,
}

/** Float64 sums over a sample of the pairs for the first entries; the whole would take minutes. */
const CHECKED = 8

function reference(q, k, { n, d, heads, kvHeads }, query, queryNeg, pos, neg) {
  const out = new Float64Array(2 * CHECKED * d)
  for (const [side, queries, keys] of [
    [0, query, pos],
    [1, queryNeg, neg],
  ]) {
    for (let t = 0; t < n; t++) {
      const qAt = queries[t] * heads * d
      const kAt = keys[t] * kvHeads * d
      for (let i = 0; i < CHECKED; i++) {
        const x = q[qAt + i] / n
        for (let j = 0; j < d; j++) {
          out[(side * CHECKED + i) * d + j] += x * k[kAt + j]
        }
      }
    }
  }
  return out
}

async function load(subject, { n, d, heads, kvHeads, dtype }, folder) {
  const Type = dtype === 'f32' ? Float32Array : Uint16Array
  const index = Object.fromEntries(
    ['query', 'queryNeg', 'pos', 'neg'].map((name) => [name, read(folder, name, Int32Array)]),
  )
  const want = read(folder, 'reference', Float64Array)
  const rows = (cPos, cNeg) => [cPos, cNeg].flatMap((c) => Array.from(c.subarray(0, CHECKED * d)))
  const verify = ([cPos, cNeg]) => relativeError(rows(cPos, cNeg), want)

  if (subject === 'cpu' || subject === 'js') {
    const q = readShared(folder, 'q', Type)
    const k = readShared(folder, 'k', Type)
    const offsets = Int32Array.from({ length: n + 1 }, (_, i) => i)
    const terms = { contrast: 'c', ...index, posOffsets: offsets, negOffsets: offsets }
    const tensor = (data, count) => ({ data, dtype, shape: [1, n, count, d] })
    const batch = { q: tensor(q, heads), k: tensor(k, kvHeads), terms }
    const once = accumulation(subject, { heads, kvHeads, headDim: d }, batch, { heads: [0] })
    return { tolerance: 1e-4, once, verify }
  }
  const product = await loadProduct(subject)
  const q = read(folder, 'q', Float32Array)
  const k = read(folder, 'k', Float32Array)
  const once = () => {
    const queries = gather(q, index.query, d)
    const divide = (c) => Float64Array.from(c, (x) => x / n)
    return [index.pos, index.neg].map((rows) => divide(product(queries, gather(k, rows, d), n, d)))
  }
  return { tolerance: 1e-3, once, verify }
}
