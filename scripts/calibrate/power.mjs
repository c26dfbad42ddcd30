/**
 * Power of the test of `effect` against the number of units: one planted direction, Gaussian noise, one term a unit.
 * Strength is the correlation between the query along the direction u and the difference of a positive and a negative key
 * along v. The code of the test's screening is called by itself, without the halves and components that power needs not.
 */

import { selectBackend } from '../../dist/backend/select.js'
import { unitKey } from '../../dist/math/unit-hash.js'
import { flipData } from '../../dist/spectrum/rank/exchange/flip-source.js'
import { screen } from '../../dist/spectrum/rank/growing-draws.js'
import { orthonormal, range } from './data.mjs'
import { seedOf, simulationRandom } from './random.mjs'

export const LEVELS = [0.05, 0.01, 0.001]
/** 1 / 1,000 is the smallest p of 999 draws. */
const STAGES = [199, 999]

/** Strength that stands out of the noise of d dimensions `distance` times as far as the largest one that does not. */
export const strengthAt = (distance, d, units) => distance * Math.sqrt(d / units)

export async function powerOfEffect(id, { d, units, strength, sets, heads }) {
  const p = []
  for (let call = 0; p.length < sets; call++) {
    const random = simulationRandom(seedOf(`${id} ${call}`))
    const count = Math.min(heads, sets - p.length)
    const data = flipData(
      selectBackend('auto'),
      plantedRows(random, { d, units, strength, heads: count }),
      call + 1,
      false,
    )
    const source = await data.source('effect')
    try {
      for (const tally of await screen(source, range(count), STAGES)) p.push(tally.p)
    } finally {
      source.release()
    }
  }
  const power = LEVELS.map((level) => p.filter((value) => value <= level).length / p.length)
  return { sets: p.length, power }
}

/** Queries, and differences of a positive and a negative key, of one term a unit. */
function plantedRows(random, { d, units, strength, heads }) {
  const size = units * heads * d
  const q = Float32Array.from({ length: size }, random.normal)
  // The difference of two keys of unit variance has variance 2.
  const k = Float32Array.from({ length: size }, () => Math.SQRT2 * random.normal())
  const slope = (Math.SQRT2 * strength) / Math.sqrt(1 - strength ** 2)
  for (let h = 0; h < heads; h++) {
    const [[u], [v]] = [orthonormal(random, d, 1), orthonormal(random, d, 1)]
    for (let unit = 0; unit < units; unit++) {
      const at = (unit * heads + h) * d
      let along = 0
      for (let i = 0; i < d; i++) along += q[at + i] * u[i]
      for (let i = 0; i < d; i++) k[at + i] += slope * along * v[i]
    }
  }
  const ones = new Float64Array(units).fill(1)
  return {
    ...{ q, k, rows: units, heads, kvHeads: heads, headDim: d },
    term: Int32Array.from(range(units)),
    unit: Int32Array.from(range(units)),
    unitKeys: range(units).map((u) => unitKey(`${u}`)),
    side: new Int8Array(units),
    weight: ones,
    keys: ones,
    estimator: 'per-query',
    counterfactual: false,
  }
}
