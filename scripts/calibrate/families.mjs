/** Families of many heads of which some have something: false discoveries, false ranks, replication, and power. */

import { testRank } from '../../dist/index.js'
import { explicitTerms, range } from './data.mjs'
import { ALPHA } from './false-positives.mjs'
import { noiseLevel } from './planted.mjs'
import { seedOf, simulationRandom } from './random.mjs'
import { mean } from './statistics.mjs'

/**
 * `families` of `heads` heads on the same units, `signals` of them with a planted rank of 1 to 3 whose singular values are
 * 2 to 4 times the noise, or as `strengths` says. `group`, `common`: heads share keys and noise.
 */
export async function manyHeads(id, { d, units, heads, signals, families, strengths = [2, 4], ...sharing }) {
  const noise = await noiseLevel({ d, units, heads: 50 })
  const [least, most] = strengths
  const figures = []
  for (let family = 0; family < families; family++) {
    const random = simulationRandom(seedOf(`${id} ${family}`))
    // Signals are spread over the heads, so that under grouped keys they share key heads with heads that have none.
    const every = heads / signals
    const plant = range(heads).map((h) => {
      if (h % every !== 0) {
        return []
      }
      return Array(1 + random.below(3)).fill(noise * (least + (most - least) * random.next()))
    })
    const input = explicitTerms(random, { heads, d, units, plant, ...sharing })
    const { tests } = await testRank({ ...input, alpha: ALPHA, mostDraws: 999, seed: family + 1 })
    figures.push(
      figuresOf(
        tests[0],
        plant.map(({ length }) => length),
      ),
    )
  }
  const over = (name) => mean(figures.map((of) => of[name]))
  return { families, ...Object.fromEntries(Object.keys(figures[0]).map((name) => [name, over(name)])) }
}

/** Of one family, as parts of 1. */
function figuresOf(tests, ranks) {
  const all = range(tests.length)
  const discovered = all.filter((h) => tests[h].discovered)
  const replicated = all.filter((h) => tests[h].replication?.replicated)
  const maximum = all.filter((h) => tests[h].pMaximum <= ALPHA)
  const dependent = all.filter((h) => tests[h].qAnyDependence <= ALPHA)
  const signals = all.filter((h) => ranks[h] > 0)
  const part = (list, hit) => (list.length === 0 ? 0 : list.filter(hit).length / list.length)
  const isNull = (h) => ranks[h] === 0
  const found = (list) => part(signals, (h) => list.includes(h))
  return {
    falseDiscoveryRate: part(discovered, isNull),
    falseCoverage: part(discovered, (h) => tests[h].rank > ranks[h]),
    falseCoverageUnadjusted: part(discovered, (h) => tests[h].unadjustedRank > ranks[h]),
    exactRanks: part(signals, (h) => tests[h].rank === ranks[h]),
    power: found(discovered),
    replicationFalse: part(replicated, isNull),
    replicatedPower: found(replicated),
    dependentFalse: part(dependent, isNull),
    dependentPower: found(dependent),
    maximumAnyFalse: maximum.some(isNull) ? 1 : 0,
    maximumPower: found(maximum),
  }
}
