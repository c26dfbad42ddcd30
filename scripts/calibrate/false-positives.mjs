/** How often the test rejects where there is nothing to find: one cell of the table of false positives. */

import { testRank } from '../../dist/index.js'
import { explicitTerms, skewedUnits } from './data.mjs'
import { labelSequences } from './label-data.mjs'
import { seedOf, simulationRandom } from './random.mjs'
import { interval, quantiles } from './statistics.mjs'

export const ALPHA = 0.05
/** p-values that are at most each of these parts of all, kept for the picture. */
export const PARTS = [
  0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95,
]

const GENERATORS = { explicit: explicitTerms, skewed: skewedUnits, labels: labelSequences }

/**
 * `data`: 'explicit', 'skewed' or 'labels', with the options of that generator. `sets` data sets in calls of `heads`, each
 * call with signs of its own.
 */
export async function falsePositives(
  id,
  { data, sets, heads, hypotheses, draws = 199, mostDraws = draws, ...options },
) {
  const p = Object.fromEntries(hypotheses.map((name) => [name, []]))
  for (let call = 0; call * heads < sets; call++) {
    const random = simulationRandom(seedOf(`${id} ${call}`))
    const count = Math.min(heads, sets - call * heads)
    const input = GENERATORS[data](random, { ...options, heads: count })
    const { tests } = await testRank({ ...input, alpha: ALPHA, draws, mostDraws, seed: call + 1 })
    for (const test of tests[0]) {
      for (const name of hypotheses) {
        p[name].push(test.p[name])
      }
    }
  }
  return Object.fromEntries(hypotheses.map((name) => [name, summary(p[name])]))
}

function summary(p) {
  const rejected = p.filter((value) => value <= ALPHA).length
  return {
    sets: p.length,
    rejected,
    rate: rejected / p.length,
    interval: interval(rejected, p.length).map((x) => round(x)),
    quantiles: quantiles(p, PARTS).map((x) => round(x)),
  }
}

const round = (x) => Number(x.toPrecision(4))
