/**
 * Power of the test of `effect` against the number of units: one planted direction, Gaussian noise, one term a unit.
 * Strength is the correlation between the query along the direction u and the difference of a positive and a negative key
 * along v.
 */

import { screen } from '../../dist/spectrum/rank/growing-draws.js'
import { range } from './data.mjs'
import { gaussianSource } from './flip-source.mjs'
import { seedOf, simulationRandom } from './random.mjs'

export const LEVELS = [0.05, 0.01, 0.001]
/** 1 / 1,000 is the smallest p of 999 draws. */
const STAGES = [199, 999]

/** Strength that stands out of the noise of d dimensions `distance` times as far as the largest one that does not. */
export const strengthAt = (distance, d, units) => distance * Math.sqrt(d / units)

export async function powerOfEffect(id, { d, units, strength, sets, heads }) {
  // Of a difference with variance 2 and a further part s x, x of variance 1, the correlation with x is s / sqrt(2 + s²).
  const s = (Math.SQRT2 * strength) / Math.sqrt(1 - strength ** 2)
  const p = []
  for (let call = 0; p.length < sets; call++) {
    const random = simulationRandom(seedOf(`${id} ${call}`))
    const count = Math.min(heads, sets - p.length)
    const plant = Array(count).fill([s])
    const source = await gaussianSource(random, { d, units, heads: count, plant, seed: call + 1 })
    try {
      for (const tally of await screen(source, range(count), STAGES)) {
        p.push(tally.p)
      }
    } finally {
      source.release()
    }
  }
  const power = LEVELS.map((level) => p.filter((value) => value <= level).length / p.length)
  return { sets: p.length, power }
}
