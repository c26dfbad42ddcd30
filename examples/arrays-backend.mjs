/**
 * Plain arrays: covariances, decomposition and the test of rank as a backend for other tools, without any model.
 *
 *   node examples/arrays-backend.mjs
 */

import { backends, QKCovariance, svd, testRank } from 'qkspace/arrays'

const backend = process.env.QKSPACE_BACKEND ?? 'auto'
console.log(
  `backends here: ${backends()
    .filter((one) => one.available)
    .map((one) => one.name)
    .join(', ')}`,
)

// 300 units of one query and two keys each. In head 0 queries and keys share one direction by a sign that the
// positive key has too; head 1 is noise.
const [units, heads, d] = [300, 2, 16]
const random = generator(1)
const q = tensor(units, heads, () => random())
const k = tensor(2 * units, heads, () => random())
for (let unit = 0; unit < units; unit++) {
  const sign = unit % 2 === 0 ? 1 : -1
  q.data[unit * heads * d] += 2 * sign
  k.data[2 * unit * heads * d + 1] += 2 * sign
}
const each = Int32Array.from({ length: units }, (_, i) => i)
const offsets = Int32Array.from({ length: units + 1 }, (_, i) => i)
const terms = {
  contrast: 'planted',
  query: each,
  pos: each.map((unit) => 2 * unit),
  posOffsets: offsets,
  neg: each.map((unit) => 2 * unit + 1),
  negOffsets: offsets,
}

const covariance = new QKCovariance({ heads, kvHeads: heads, headDim: d, contrasts: ['planted'], backend })
await covariance.add({ q, k, terms })
const { cPos, cNeg } = await covariance.read()
covariance.dispose()
const { s, u } = await svd(
  cPos.map((value, i) => value - cNeg[i]),
  { n: heads, rows: d, cols: d, rank: 2, backend },
)
console.log(
  `s_1: ${s[0].toFixed(2)} and ${s[2].toFixed(2)}; the first query direction of head 0 starts with ${Math.abs(u[0]).toFixed(2)}`,
)

// A singular value says nothing without its null: signs of whole units are flipped.
const { p, ranks } = await testRank({ q, k, terms, units: each, backend })
for (const head of [0, 1]) {
  console.log(`head ${head}: rank ${ranks[head]}, p ${p[head].toFixed(4)}`)
}

function tensor(rows, width, value) {
  return {
    data: Float32Array.from({ length: rows * width * d }, value),
    dtype: 'f32',
    shape: [1, rows, width, d],
  }
}

/** Standard normal numbers from a seed, by the method of Box and Muller. */
function generator(seed) {
  let state = seed
  const uniform = () => {
    state = (state * 48271) % 2147483647
    return state / 2147483647
  }
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
}
