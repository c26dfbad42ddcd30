/** Prints, as JSON, digests of what the CUDA backend answers on batches of several chunks, one after another. */

import { createHash } from 'node:crypto'
import { QKCovariance, svd, testRank, uploadTensor } from '../../dist/index.js'
import { sequence, tensor, terms } from './arithmetic-batches.js'
import { normal } from './arithmetic-random.js'

const backend = /** @type {const} */ ('cuda')
const spec = { heads: 4, kvHeads: 2, headDim: 16, contrasts: ['a', 'b'], backend }
const ROWS = 20_000

function digest(...arrays) {
  const hash = createHash('sha256')
  for (const array of arrays) {
    hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
  }
  return hash.digest('hex').slice(0, 16)
}

async function moments(...batches) {
  const [cov, merged] = [new QKCovariance(spec), new QKCovariance(spec)]
  for (const batch of batches) {
    await cov.add(batch)
  }
  await merged.merge(cov)
  const { positive, negative } = await merged.moments()
  cov.dispose()
  merged.dispose()
  return digest(...[positive, negative].flatMap((side) => [side.weight, side.q, side.k, side.qk]))
}

const q = tensor([1, ROWS, 4, 16], { seed: 1 })
const k = tensor([1, ROWS, 2, 16], { seed: 2, layout: 'BHTd' })
// Terms with rows from everywhere, then sequences.
const scattered = (seed) => ({
  q,
  k,
  terms: terms(5000, ROWS, ROWS, { contrasts: 2, most: 3, weights: true, counterfactual: true, seed }),
  labels: [0, 1, 2, 3].map((i) => sequence(400, { first: 2000 * i, contrast: i % 2, seed: i })),
})

// So many pairs that their indices come in several chunks, each of which reads some rows that none before did.
const [PAIRS, PAIR_ROWS] = [16_000, 1600]
const ascending = Int32Array.from({ length: PAIRS }, (_, i) => Math.floor((i * PAIR_ROWS) / PAIRS))
const offsets = Int32Array.from({ length: PAIRS + 1 }, (_, i) => i)
const pairs = {
  q: tensor([1, PAIR_ROWS, 4, 16], { seed: 3, dtype: 'bf16' }),
  k: tensor([1, PAIR_ROWS, 2, 16], { seed: 4, dtype: 'bf16' }),
  terms: {
    contrast: 'a',
    query: ascending,
    pos: ascending,
    posOffsets: offsets,
    neg: ascending.map((row) => row ^ 1),
    negOffsets: offsets,
  },
}

const resident = { q: await uploadTensor(pairs.q, { backend }), k: await uploadTensor(pairs.k, { backend }) }
const some = { ...terms(60, 300, 300, { seed: 7 }), contrast: undefined }

const next = normal(8)
const matrices = Float64Array.from({ length: 40 * 12 * 10 }, next)

/** @type {Record<string, string>} */
const out = {
  scattered: await moments(scattered(9), scattered(10)),
  pairs: await moments(pairs),
  resident: await moments({ ...resident, terms: pairs.terms }),
}
const units = some.query.map((row) => row % 30)
const { tests } = await testRank({ ...pairs, terms: some, units, draws: 19, mostDraws: 19, seed: 1, backend })
out.tests = digest(Buffer.from(JSON.stringify(tests)))
const { u, s, v } = await svd(matrices, { n: 40, rows: 12, cols: 10, backend })
out.svd = digest(u, s, v)
const energy = await svd(matrices, { n: 40, rows: 12, cols: 10, energy: 0.7, backend })
out.energy = digest(energy.u, energy.s, energy.v)
process.stdout.write(JSON.stringify(out))
