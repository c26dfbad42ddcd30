/** Planted ranks: how often the test finds exactly the components that are there, and what the energy rule says. */

import { QKCovariance, svd, testRank } from '../../dist/index.js'
import { explicitTerms, range } from './data.mjs'
import { ALPHA } from './false-positives.mjs'
import { labelSequences } from './label-data.mjs'
import { seedOf, simulationRandom } from './random.mjs'
import { interval, median, quantiles } from './statistics.mjs'

const ENERGY = 0.99

/**
 * Gaussian data whose expected ΔC has `rank` singular values, each `strength` times the 95th percentile of s_1 where
 * nothing is planted; or, with `data: 'labels'`, label sequences with `signal`. Ranks are those at plain alpha, each head a
 * family of its own.
 */
export async function plantedRank(id, { d, units, rank, strength, sets, heads, data, ...options }) {
  const noise = data === 'labels' ? undefined : await noiseLevel({ d, units, heads })
  const plant = Array(rank).fill(strength * noise)
  const found = []
  const energy = []
  for (let call = 0; call * heads < sets; call++) {
    const random = simulationRandom(seedOf(`${id} ${call}`))
    const count = Math.min(heads, sets - call * heads)
    const input =
      data === 'labels'
        ? labelSequences(random, { ...options, d, units, heads: count })
        : explicitTerms(random, { heads: count, d, units, plant: Array(count).fill(plant) })
    const { tests } = await testRank({ ...input, alpha: ALPHA, mostDraws: 199, seed: call + 1 })
    found.push(...tests[0].map(({ unadjustedRank }) => unadjustedRank))
    const { ranks } = await svd(await differences(input), { n: count, rows: d, cols: d, energy: ENERGY })
    energy.push(...ranks)
  }
  const part = (hit) => found.filter(hit).length / found.length
  const exact = found.filter((r) => r === rank).length
  return {
    sets: found.length,
    noiseLevel: noise,
    exact: exact / found.length,
    exactSets: exact,
    interval: interval(exact, found.length),
    under: part((r) => r < rank),
    over: part((r) => r > rank),
    testedMedian: median(found),
    energyMedian: median(energy),
  }
}

/** What the energy rule says of noise, against the test. */
export async function noiseRank(id, { d, units, sets, heads }) {
  const result = await plantedRank(id, { d, units, rank: 0, strength: 0, sets, heads })
  return {
    sets: result.sets,
    energyMedian: result.energyMedian,
    testedZero: result.exact,
    testedMedian: result.testedMedian,
  }
}

const NOISE_SETS = 200
const known = new Map()

/** The 95th percentile of s_1 of ΔC of Gaussian noise, by simulation. */
export async function noiseLevel({ d, units, heads }) {
  const name = `noise ${d} ${units}`
  if (known.has(name)) return known.get(name)
  const largest = []
  for (let call = 0; largest.length < NOISE_SETS; call++) {
    const input = explicitTerms(simulationRandom(seedOf(`${name} ${call}`)), { heads, d, units })
    const { s } = await svd(await differences(input), { n: heads, rows: d, cols: d, rank: 1 })
    largest.push(...s)
  }
  const [level] = quantiles(largest, [0.95])
  known.set(name, level)
  return level
}

/** ΔC of every head, [heads, d, d]. */
async function differences({ q, k, terms, labels }) {
  const [, , heads, headDim] = q.shape
  const covariance = new QKCovariance({ heads, kvHeads: k.shape[2], headDim, contrasts: ['c'] })
  try {
    const named = (of) => ({ ...of, contrast: 'c' })
    await covariance.add({ q, k, ...(terms ? { terms: named(terms) } : { labels: labels.map(named) }) })
    const { cPos, cNeg } = await covariance.read({ heads: range(heads) })
    return cPos.map((x, i) => x - cNeg[i])
  } finally {
    covariance.dispose()
  }
}
