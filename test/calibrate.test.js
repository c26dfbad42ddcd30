/** The calibration of the test of rank: its statistics, that its cells run, and that it catches a test that is wrong. */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { judge } from '../scripts/calibrate/bars.mjs'
import { FULL, MEASURES, QUICK } from '../scripts/calibrate/cells.mjs'
import { explicitTerms } from '../scripts/calibrate/data.mjs'
import { simulationRandom } from '../scripts/calibrate/random.mjs'
import { binomialBelow, holm, interval } from '../scripts/calibrate/statistics.mjs'
import { Results } from '../scripts/calibrate/store.mjs'
import { temporaryFolder } from './helpers/files.js'

const folder = temporaryFolder(test)

async function measured(cells) {
  const done = []
  for (const cell of cells) {
    done.push({ cell, result: await MEASURES[cell.group](cell.id, cell.params) })
  }
  return done
}

const quick = (start) => QUICK.filter(({ id }) => id.startsWith(start))

test.serial('small cells of explicit terms reach their bars', async (t) => {
  const cells = quick('false positives').filter(({ params }) => params.data !== 'labels')
  const rows = judge(await measured(cells))
  t.true(rows.length > 25)
  t.deepEqual(
    rows.filter(({ missed }) => missed),
    [],
  )
  // An exception stays visible: a mean query with a constant key offset is an effect.
  const offset = rows.find(({ name }) => /constant key offset.*effect/.test(name))
  t.regex(offset.figure, /^(0\.9|1\.0)/)
  t.regex(offset.note, /exception/)
})

test.serial('labels, ranks, noise and power', async (t) => {
  const cells = [
    ...quick('false positives/labels: sticky/'),
    ...quick('planted'),
    ...quick('rank of noise'),
    ...quick('power'),
  ]
  const done = await measured(cells)
  t.deepEqual(
    judge(done).filter(({ missed }) => missed),
    [],
  )
  const noise = done.find(({ cell }) => cell.group === 'rank of noise').result
  t.true(noise.energyMedian >= 5)
  t.is(noise.testedMedian, 0)
  const [weak, strong] = done.filter(({ cell }) => cell.group === 'power').map(({ result }) => result.power)
  t.true(strong[0] > 0.9 && weak[0] < 0.5)
  t.true(strong.every((power, i) => power >= weak[i]))
})

test.serial('many heads', async (t) => {
  const rows = judge(await measured(quick('many heads/separate')))
  t.deepEqual(
    rows.filter(({ missed }) => missed),
    [],
  )
  t.true(rows.some(({ name }) => name.endsWith('replicated power')))
})

test.serial('a test with terms as units, which share an offset, is caught', async (t) => {
  const [cell] = quick('false positives/offsets within prompts/')
  const wrong = { ...cell, params: { ...cell.params, unit: 'term', units: 60 } }
  const rows = judge(await measured([wrong]))
  t.deepEqual(
    rows.map(({ missed }) => missed),
    [true, true],
  )
  t.true(rows.every(({ figure }) => Number(figure.slice(0, 5)) > 0.9))
})

test('ranks that are missed, and too many false discoveries, are caught', (t) => {
  const planted = QUICK.find(({ group }) => group === 'planted ranks')
  const of = (exactSets) => ({
    sets: 100,
    exactSets,
    exact: exactSets / 100,
    under: 0,
    over: 0,
    energyMedian: 3,
  })
  const missed = (cell, result) => judge([{ cell, result }]).filter((row) => row.missed).length
  t.is(missed(planted, of(80)), 1)
  t.is(missed(planted, of(93)), 0)
  const heads = FULL.find(({ group }) => group === 'many heads')
  const figures = { families: 10, falseDiscoveryRate: 0.05, falseCoverage: 0.05, power: 0.9, exactRanks: 0.9 }
  const others = {
    falseCoverageUnadjusted: 0.09,
    replicationFalse: 0.01,
    replicatedPower: 0.8,
    dependentFalse: 0,
    dependentPower: 0,
    maximumAnyFalse: 0,
    maximumPower: 0,
  }
  t.is(missed(heads, { ...figures, ...others }), 0)
  t.is(missed(heads, { ...figures, ...others, falseDiscoveryRate: 0.07, replicationFalse: 0.04 }), 2)
  t.is(missed(heads, { ...figures, ...others, replicatedPower: 0.7 }), 1)
})

test('a planted ΔC has the singular values that were asked for', (t) => {
  const [d, units] = [6, 4000]
  const { q, k, terms } = explicitTerms(simulationRandom(3), { heads: 1, d, units, plant: [[4, 2]] })
  const delta = Array.from({ length: d }, () => new Float64Array(d))
  for (let u = 0; u < units; u++) {
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        const difference = k.data[terms.pos[u] * d + j] - k.data[terms.neg[u] * d + j]
        delta[i][j] += (q.data[u * d + i] * difference) / units
      }
    }
  }
  const energy = delta.flatMap((row) => [...row]).reduce((sum, x) => sum + x ** 2, 0)
  t.true(Math.abs(energy - 20) < 2, `${energy}`)
})

test('exact binomial figures and Holm', (t) => {
  t.true(Math.abs(binomialBelow(2, 10, 0.5) - 56 / 1024) < 1e-12)
  const [low, high] = interval(5, 100)
  t.true(Math.abs(low - 0.0164) < 1e-3 && Math.abs(high - 0.1128) < 1e-3)
  t.deepEqual(interval(0, 10)[0], 0)
  t.deepEqual(
    holm([0.01, 0.04, 0.03]).map((p) => Number(p.toFixed(3))),
    [0.03, 0.06, 0.06],
  )
})

test('numbers of the simulation are uniform and normal, and the same for a seed', (t) => {
  const [one, other] = [simulationRandom(1), simulationRandom(1)]
  const normals = Array.from({ length: 20_000 }, one.normal)
  t.deepEqual(normals.slice(0, 5), Array.from({ length: 5 }, other.normal))
  const moment = (power) => normals.reduce((sum, x) => sum + x ** power, 0) / normals.length
  t.true(Math.abs(moment(1)) < 0.03 && Math.abs(moment(2) - 1) < 0.05 && Math.abs(moment(4) - 3) < 0.3)
})

test('results are kept, and measured again only with other parameters', (t) => {
  const file = path.join(folder, 'results.json')
  const results = new Results(file)
  const cell = { id: 'a/b', params: { d: 16, sets: 3 } }
  t.is(results.get(cell), undefined)
  results.add(cell, { rate: 0.5 }, 1.2, { cpu: 'x', date: 'today' })
  const again = new Results(file)
  t.deepEqual(again.get(cell), { rate: 0.5 })
  t.is(again.get({ ...cell, params: { d: 16, sets: 4 } }), undefined)
  t.is(new Results(file, { fresh: true }).get(cell), undefined)
  writeFileSync(`${file}.partial`, 'cut off')
  t.deepEqual(new Results(file).get(cell), { rate: 0.5 })
  t.is(JSON.parse(readFileSync(file, 'utf8')).cells['a/b'].date, 'today')
})

test('cells have names of their own, and nulls with exceptions say so', (t) => {
  for (const cells of [FULL, QUICK]) {
    t.is(new Set(cells.map(({ id }) => id)).size, cells.length)
  }
  const cells = /** @type {{ kind?: string, exceptions?: string[] }[]} */ (FULL)
  const exceptions = cells.filter((cell) => cell.exceptions?.length > 0).map(({ kind }) => kind)
  t.deepEqual(
    [...new Set(exceptions)],
    [
      'mean query, constant key offset',
      'skewed units, lognormal',
      'skewed units, exponential',
      'wrong unit: term, not prompt',
      'wrong: signs turned, sticky labels',
    ],
  )
})
