/**
 * The same arithmetic on an NVIDIA GPU, where there is one, with rows that stay there.
 *
 *   node examples/gpu.mjs [ROWS [HEADS]]
 */

import { backends, QKCovariance, uploadTensor } from 'qkspace/arrays'

const cuda = backends().find(({ name }) => name === 'cuda')
if (!cuda.available) {
  console.log(`no GPU is used: ${cuda.reason}`)
  console.log(cuda.hint ?? '')
  process.exit()
}
console.log(`on ${cuda.description.device.name}`)

const [rows = 1 << 14, heads = 32] = process.argv.slice(2).map(Number)
const d = 128
const random = () => Float32Array.from({ length: rows * heads * d }, () => Math.random() - 0.5)
const shape = [1, rows, heads, d]
const q = await uploadTensor({ data: random(), dtype: 'f32', shape }, { backend: 'cuda' })
const k = await uploadTensor({ data: random(), dtype: 'f32', shape }, { backend: 'cuda' })

const each = Int32Array.from({ length: rows }, (_, i) => i)
const offsets = Int32Array.from({ length: rows + 1 }, (_, i) => i)
const terms = {
  contrast: 'c',
  query: each,
  pos: each,
  posOffsets: offsets,
  neg: each.toReversed(),
  negOffsets: offsets,
}
const covariance = new QKCovariance({ heads, kvHeads: heads, headDim: d, contrasts: ['c'], backend: 'cuda' })
await covariance.add({ q, k, terms })
const { cPos } = await covariance.read()
console.log(`C+ of ${heads} heads from ${rows} pairs: ${cPos.length} numbers`)
q.release()
k.release()
