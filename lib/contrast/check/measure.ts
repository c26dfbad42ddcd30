/** Computes measures and their null distributions from the differences of units. */

import { DRAWS, LEVEL, type Measure, type MeasureName, MINIMAL } from './report.js'
import { meanOf, type UnitDifferences, vectorsOf } from './units/differences.js'
import { flipTest } from './units/flip-test.js'

const SCALES: Record<MeasureName, Measure['scale']> = {
  position: 'auc',
  'position spread': 'totalVariation',
  'relative position': 'auc',
  distance: 'auc',
  'distance spread': 'totalVariation',
  token: 'totalVariation',
  'query token': 'totalVariation',
  length: 'auc',
  'position by label': 'totalVariation',
  'token by label': 'totalVariation',
  'label drift': 'totalVariation',
  'label repetition': 'rate',
}

/** All measures that the units have, except omitted ones, in a fixed order. Errors: ERR_ABORTED. */
export async function measureAll(
  units: readonly UnitDifferences[],
  omitted: readonly MeasureName[],
  seed: number,
  signal?: AbortSignal,
): Promise<Measure[]> {
  const measures: Measure[] = []
  for (const [name, scale] of Object.entries(SCALES) as [MeasureName, Measure['scale']][]) {
    const vectors = omitted.includes(name) ? [] : vectorsOf(units, name)
    if (vectors.length > 0) {
      const single = scale !== 'totalVariation'
      const test = await flipTest(vectors, { single, draws: DRAWS, seed, signal })
      const { chance, chance99, p } = test
      if (single) {
        const { mean, standardError } = meanOf(vectors)
        const half = scale === 'auc' ? 0.5 : 0
        measures.push({
          name,
          scale,
          size: half + mean,
          standardError,
          chance: half + chance,
          chance99: half + chance99,
          p,
          units: test.units,
        })
      } else {
        measures.push({ name, scale, size: test.size, chance, chance99, p, units: test.units })
      }
    }
  }
  return measures
}

/** The level of each measure, with Bonferroni's correction. */
export function levelOf(measures: number): number {
  return LEVEL / Math.max(1, measures)
}

/** Whether an imbalance is significant at this level, and large enough to matter. */
export function exceeds(measure: Measure | undefined, level: number): measure is Measure {
  if (measure === undefined || measure.p > level) {
    return false
  }
  const { scale, size, chance } = measure
  if (scale === 'auc') {
    return Math.abs(size - 0.5) >= MINIMAL.auc
  }
  if (scale === 'rate') {
    return Math.abs(size) >= MINIMAL.rate
  }
  return size - chance >= MINIMAL.totalVariation
}
