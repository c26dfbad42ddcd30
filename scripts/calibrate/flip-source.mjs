/**
 * Gaussian data as the test's own source of sign flips, for figures that need neither the other hypothesis nor the halves of
 * a replication, which take most of the time of `testRank`.
 */

import { selectBackend } from '../../dist/backend/select.js'
import { unitKey } from '../../dist/math/unit-hash.js'
import { flipData } from '../../dist/spectrum/rank/exchange/flip-source.js'
import { plantSignal, range } from './data.mjs'

/**
 * Queries, and differences of a positive and a negative key, of one term a unit; `plant` as in `explicitTerms`. To be
 * released.
 */
export async function gaussianSource(random, { d, units, heads, plant, seed }) {
  const size = units * heads * d
  const q = new Float32Array(size)
  const k = new Float32Array(size)
  for (let i = 0; i < size; i++) {
    q[i] = random.normal()
    // The difference of two keys of unit variance has variance 2.
    k[i] = Math.SQRT2 * random.normal()
  }
  const sizes = { heads, kvHeads: heads, d }
  plantSignal(random, q, k, { terms: units, firstKey: range(units), ...sizes, plant })
  const ones = new Float64Array(units).fill(1)
  /** @type {import('../../dist/spectrum/rank/exchange/flip-rows.js').UnitRows} */
  const rows = {
    q,
    k,
    rows: units,
    heads,
    kvHeads: heads,
    headDim: d,
    unit: Int32Array.from(range(units)),
    unitKeys: range(units).map((u) => unitKey(`${u}`)),
    side: new Int8Array(units),
    weight: ones,
    keys: ones,
    estimator: 'per-query',
    counterfactual: false,
  }
  return flipData(selectBackend('auto'), rows, seed, false).source('effect')
}
