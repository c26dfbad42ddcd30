/** Planted ranks: how often the test finds exactly the components that are there, and what the energy rule says. */

import { QKCovariance, svd, testRank } from '../../dist/index.js'
import { testComponents } from '../../dist/spectrum/rank/components.js'
import { screen } from '../../dist/spectrum/rank/growing-draws.js'
import { range } from './data.mjs'
import { ALPHA } from './false-positives.mjs'
import { gaussianSource } from './flip-source.mjs'
import { labelSequences } from './label-data.mjs'
import { seedOf, simulationRandom } from './random.mjs'
import { interval, median, quantiles } from './statistics.mjs'

/** @typedef {{ d: number, heads: number, units: number, sets: number, stages?: number[] }} Sizes */

const ENERGY = 0.99
const DRAWS = 199

/**
 * Gaussian data whose expected ΔC has `rank` singular values, each `strength` times the 95th percentile of s_1 where
 * nothing is planted. Ranks are those at plain alpha, each head a family of its own.
 *
 * @param {string} id
 * @param {Sizes & { rank: number, strength: number }} params
 */
export async function plantedRank(id, { rank, strength, ...sizes }) {
  const noise = await noiseLevel(sizes)
  const plant = Array(rank).fill(strength * noise)
  const results = await inCalls(id, sizes, (random, heads, seed) => {
    return ranksOfSource({ random, ...sizes, heads, plant: Array(heads).fill(plant), seed })
  })
  return { noiseLevel: noise, ...summary(results, rank) }
}

/**
 * Label sequences whose classes show in queries and keys, with `signal` (see `labelSequences`).
 * @param {string} id
 * @param {Sizes & { rank: number }} params
 */
export async function plantedLabels(id, { rank, ...options }) {
  const results = await inCalls(id, options, async (random, heads, seed) => {
    const input = labelSequences(random, { ...options, heads })
    const { tests } = await testRank({ ...input, alpha: ALPHA, mostDraws: DRAWS, seed })
    const found = tests[0].map(({ unadjustedRank }) => unadjustedRank)
    return { found, energy: await energyRanks(await labelDifferences(input), heads, options.d) }
  })
  return summary(results, rank)
}

/** What the energy rule says of noise, against the test. */
export async function noiseRank(id, sizes) {
  const result = await plantedRank(id, { rank: 0, strength: 0, ...sizes })
  const { sets, energyMedian, testedMedian, exact } = result
  return { sets, energyMedian, testedMedian, testedZero: exact }
}

async function inCalls(id, { sets, heads }, run) {
  const results = []
  for (let call = 0; call * heads < sets; call++) {
    const random = simulationRandom(seedOf(`${id} ${call}`))
    results.push(await run(random, Math.min(heads, sets - call * heads), call + 1))
  }
  return results
}

function summary(results, rank) {
  const found = results.flatMap((result) => result.found)
  const part = (hit) => found.filter(hit).length / found.length
  const exact = found.filter((r) => r === rank).length
  return {
    sets: found.length,
    exact: exact / found.length,
    exactSets: exact,
    interval: interval(exact, found.length),
    under: part((r) => r < rank),
    over: part((r) => r > rank),
    testedMedian: median(found),
    energyMedian: median(results.flatMap((result) => result.energy)),
  }
}

/** The steps of `testRank` that give unadjusted ranks. */
async function ranksOfSource({ random, d, units, heads, plant, seed, stages = [DRAWS] }) {
  const source = await gaussianSource(random, { d, units, heads, plant, seed })
  try {
    const all = range(heads)
    const tallies = await screen(source, all, stages)
    const open = all.filter((h) => tallies[h].p <= ALPHA)
    const found = Array(heads).fill(0)
    if (open.length > 0) {
      const options = { alpha: ALPHA, stages }
      const components = await testComponents(
        source,
        open,
        open.map((h) => tallies[h]),
        options,
      )
      components.forEach(({ p }, i) => {
        found[open[i]] = p.filter((value) => value <= ALPHA).length
      })
    }
    return { found, energy: await energyRanks(await source.observed(all), heads, d) }
  } finally {
    source.release()
  }
}

async function energyRanks(matrices, n, d) {
  const { ranks } = await svd(matrices, { n, rows: d, cols: d, energy: ENERGY })
  return [...ranks]
}

const NOISE_SETS = 200
const known = new Map()

/** The 95th percentile of s_1 of ΔC of Gaussian noise, by simulation. */
export async function noiseLevel({ d, units, heads }) {
  const name = `noise ${d} ${units}`
  if (known.has(name)) {
    return known.get(name)
  }
  const largest = []
  for (let call = 0; largest.length < NOISE_SETS; call++) {
    const random = simulationRandom(seedOf(`${name} ${call}`))
    const source = await gaussianSource(random, { d, units, heads, plant: Array(heads).fill([]), seed: 1 })
    try {
      const { s } = await svd(await source.observed(range(heads)), { n: heads, rows: d, cols: d, rank: 1 })
      largest.push(...s)
    } finally {
      source.release()
    }
  }
  const [level] = quantiles(largest, [0.95])
  known.set(name, level)
  return level
}

/** ΔC of every head, [heads, d, d]. */
async function labelDifferences({ q, k, labels }) {
  const [, , heads, headDim] = q.shape
  const covariance = new QKCovariance({ heads, kvHeads: k.shape[2], headDim, contrasts: ['c'] })
  try {
    await covariance.add({ q, k, labels: labels.map((of) => ({ ...of, contrast: 'c' })) })
    const { cPos, cNeg } = await covariance.read({ heads: range(heads) })
    return cPos.map((x, i) => x - cNeg[i])
  } finally {
    covariance.dispose()
  }
}
