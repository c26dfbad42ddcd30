/** What the results have to reach, and which do not. */

import { ALPHA } from './false-positives.mjs'
import { binomialBelow, holm } from './statistics.mjs'

/** Exact ranks at three times the noise. */
const EXACT = 0.95
const FALSE_DISCOVERY = 0.06
const FALSE_COVERAGE = 0.07
const REPLICATION_FALSE = 0.03
const REPLICATED_POWER = 0.8
/** A cell with few families is judged by bars this much wider. */
const ROUGH = 0.1

/** `done`: cells with their results. Rows of [group, what, figure, verdict] and the ones that miss a bar. */
export function judge(done) {
  return [
    ...falsePositiveRows(done),
    ...plantedRows(done),
    ...familyRows(done),
    ...bundledRows(done),
    ...otherRows(done),
  ]
}

/**
 * Each rate against alpha by an exact binomial test, Holm over all figures without a named exception. The bar is a rate
 * above alpha; a rate below it is named too, for it costs power.
 */
function falsePositiveRows(done) {
  const rows = done
    .filter(({ cell }) => cell.group === 'false positives')
    .flatMap(({ cell, result }) => {
      return cell.params.hypotheses.map((hypothesis) => {
        const { sets, rejected, rate, interval } = result[hypothesis]
        return {
          name: `${cell.id.replace('false positives/', '')}, ${hypothesis}`,
          group: cell.group,
          figure: `${figure(rate)} [${interval.map(figure).join(', ')}]`,
          exception: cell.exceptions.includes(hypothesis),
          above: 1 - binomialBelow(rejected - 1, sets, ALPHA),
          below: binomialBelow(rejected, sets, ALPHA),
        }
      })
    })
  const tested = rows.filter(({ exception }) => !exception)
  const above = holm(tested.map((row) => row.above))
  const below = holm(tested.map((row) => row.below))
  tested.forEach((row, i) => {
    row.missed = above[i] <= ALPHA
    row.note = below[i] <= ALPHA ? 'conservative' : `p ${figure(row.above)}, Holm ${figure(above[i])}`
  })
  for (const row of rows) {
    if (row.exception) {
      row.note = 'exception: 0.05 is not promised'
    }
  }
  return rows
}

/** Below the bar by more than chance: P(as few exact ones | 0.95) <= 0.01. */
function plantedRows(done) {
  return done
    .filter(({ cell }) => cell.group === 'planted ranks')
    .map(({ cell, result }) => {
      const { sets, exact, exactSets, under, over, energyMedian } = result
      return {
        name: cell.id.replace('planted ranks/', ''),
        group: cell.group,
        figure: `exact ${figure(exact)}, under ${figure(under)}, over ${figure(over)}; energy ${energyMedian}`,
        missed: cell.bar && exact < EXACT && binomialBelow(exactSets, sets, EXACT) <= 0.01,
        note: cell.bar ? `bar ${EXACT}` : '',
      }
    })
}

function familyRows(done) {
  return done
    .filter(({ cell }) => cell.group === 'many heads')
    .flatMap(({ cell, result }) => {
      const row = (what, value, bar, missed) => ({
        name: `${cell.kind}: ${what}`,
        group: cell.group,
        figure: figure(value),
        missed,
        note: bar,
      })
      const rough = cell.rough ? ROUGH : 0
      const most = (what, value, bar) => row(what, value, `at most ${bar}`, value > bar + rough)
      const { power, replicatedPower, families } = result
      const strong = !cell.params.strengths
      const rows = [
        most('false discovery rate', result.falseDiscoveryRate, FALSE_DISCOVERY),
        most('false coverage of adjusted ranks', result.falseCoverage, FALSE_COVERAGE),
        row('power', power, `${families} families`, false),
        row('exact adjusted ranks', result.exactRanks, '', false),
        most('false replications', result.replicationFalse, REPLICATION_FALSE),
        row(
          'replicated power',
          replicatedPower,
          strong ? `at least ${REPLICATED_POWER} of discovery's` : '',
          strong && replicatedPower < REPLICATED_POWER * power - rough,
        ),
      ]
      return [
        ...rows,
        row('false coverage of unadjusted ranks', result.falseCoverageUnadjusted, '', false),
        row('Benjamini-Yekutieli: false, power', result.dependentFalse, figure(result.dependentPower), false),
        row('max-T: any false, power', result.maximumAnyFalse, figure(result.maximumPower), false),
      ]
    })
}

/**
 * Real answers: the trained heads are discovered and replicated in every set. Elsewhere nothing is there to find, so that
 * any discovery at all comes in at most alpha of the sets (an exact binomial test at 0.01).
 */
function bundledRows(done) {
  return done
    .filter(({ cell }) => cell.group === 'bundled model')
    .map(({ cell, result }) => {
      const { families, tests, discovered, anyDiscovered, replicated, trainedHeads } = result
      const real = cell.params.answers === 'real' && cell.params.weights === 'trained'
      const chance = 1 - binomialBelow(anyDiscovered - 1, families, ALPHA)
      const none = !real && !cell.exception
      return {
        name: cell.id.replace('bundled model/', ''),
        group: cell.group,
        figure: real
          ? `L3H0 and L3H2 in ${trainedHeads} of ${families}`
          : `any in ${anyDiscovered} of ${families}`,
        missed: real ? trainedHeads < families : none && chance <= 0.01,
        note: `${discovered} of ${tests} discovered, ${replicated} replicated${cell.exception ? '; exception' : ''}`,
      }
    })
}

function otherRows(done) {
  return done.flatMap(({ cell, result }) => {
    const row = (text) => [{ name: cell.id, group: cell.group, figure: text, missed: false, note: '' }]
    if (cell.group === 'power') {
      return row(result.power.map(figure).join(' / '))
    }
    if (cell.group !== 'rank of noise') {
      return []
    }
    return row(`energy ${result.energyMedian}, tested 0 in ${figure(result.testedZero)}`)
  })
}

/** Three digits, no exponent. */
export const figure = (x) => (Math.abs(x) >= 0.0005 || x === 0 ? x.toFixed(3) : '< 0.001')
