/** P-values of many tests, extrapolated tails, units by hash: against tables and definitions. */

import test from 'ava'
import { compareKeys, STREAMS, unitKey, unitWord } from '../../dist/math/unit-hash.js'
import { drawnFlips, flipBits, halfOf } from '../../dist/spectrum/rank/exchange/signs.js'
import { adjustedByMaximum, adjustedByRate } from '../../dist/spectrum/rank/false-discovery.js'
import { gammaTail, upperGamma } from '../../dist/spectrum/rank/gamma-tail.js'
import { stagesForLevel, stagesFrom } from '../../dist/spectrum/rank/growing-draws.js'
import { replicated } from '../../dist/spectrum/rank/replication.js'
import { normal, uniform } from '../helpers/arithmetic-random.js'

const near = (t, a, b, limit = 1e-12) => t.true(Math.abs(a - b) <= limit, `${a}, expected ${b}`)

test('Benjamini-Hochberg: the worked example of their paper', (t) => {
  const p = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719, 0.6528,
    0.759, 1,
  ]
  const q = adjustedByRate(p)
  t.is(q.filter((x) => x <= 0.05).length, 4)
  near(t, q[3], (0.0095 * 15) / 4)
  t.true(q.every((x, i) => i === 0 || x >= q[i - 1]))
  // Benjamini-Yekutieli divides the level by 1 + 1/2 + ... + 1/m.
  const harmonic = p.reduce((sum, _, i) => sum + 1 / (i + 1), 0)
  near(t, adjustedByRate(p, true)[3], harmonic * q[3])
})

test('p-values in any order, ties, one that is no test', (t) => {
  const q = adjustedByRate([0.04, Number.NaN, 0.01, 0.04, 0.5])
  t.deepEqual(
    [...q].map((x) => (Number.isNaN(x) ? null : Number(x.toFixed(12)))),
    [0.053333333333, null, 0.04, 0.053333333333, 0.5],
  )
  t.is(adjustedByRate([]).length, 0)
})

test('max-T: step-down over shared draws, by its definition', (t) => {
  const next = normal(3)
  const draws = 60
  const nulls = Array.from({ length: 5 }, (_, i) =>
    Float64Array.from({ length: draws }, () => (i + 1) * (3 + next())),
  )
  const observed = nulls.map((_, i) => (i + 1) * [9, 4, 6.2, 3, 5.1][i])
  const scaled = nulls.map((values) => {
    const mean = values.reduce((a, b) => a + b) / draws
    const sd = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (draws - 1))
    return { of: (x) => (x - mean) / sd, values }
  })
  const z = observed.map((x, i) => scaled[i].of(x))
  const order = [0, 1, 2, 3, 4].sort((a, b) => z[b] - z[a])
  let least = 0
  order.forEach((i, step) => {
    let above = 0
    for (let b = 0; b < draws; b++) {
      const most = Math.max(...order.slice(step).map((j) => scaled[j].of(nulls[j][b])))
      if (most >= z[i]) {
        above += 1
      }
    }
    least = Math.max(least, (1 + above) / (1 + draws))
    near(t, adjustedByMaximum(observed, nulls)[i], least)
  })
})

test('the incomplete gamma function: closed forms of small shapes, and the normal limit', (t) => {
  for (const x of [0.1, 1, 2, 7, 30]) {
    near(t, upperGamma(1, x), Math.exp(-x), 1e-12)
    near(t, upperGamma(3, x), Math.exp(-x) * (1 + x + x ** 2 / 2), 1e-12)
  }
  // erfc(sqrt(0.3)) = Q(1/2, 0.3)
  near(t, upperGamma(0.5, 0.3), 0.4385780260809999, 1e-12)
  // P(S > x) of S with shape a tends to 1 - Φ((x - a) / sqrt(a)): 0.5 at the median, a - 1/3.
  near(t, upperGamma(10_000, 10_000 - 1 / 3), 0.5, 1e-5)
})

test('an extrapolated tail agrees with draws where there are many, and is absent where there are few', (t) => {
  // Sums of exponentials: a gamma distribution of shape 8.
  const next = uniform(9)
  const value = () => Array.from({ length: 8 }, () => -Math.log(1 - next())).reduce((a, b) => a + b)
  const nulls = Float64Array.from({ length: 20_000 }, value)
  const above = upperGamma(8, 18)
  t.true(Math.abs(Math.log(gammaTail(18, nulls) / above)) < 0.3)
  t.true(Number.isNaN(gammaTail(3, nulls.subarray(0, 19))))
  t.true(Number.isNaN(gammaTail(3, new Float64Array(50).fill(2))))
})

test('signs follow from seed, unit and draw alone, and are even', async (t) => {
  const keys = Array.from({ length: 400 }, (_, i) => unitKey(`prompt ${i}`))
  t.is(new Set(keys.map(String)).size, 400)
  const bits = flipBits(7, keys, 0, 320)
  t.deepEqual(
    flipBits(7, keys, 64, 320),
    Uint32Array.from(keys.flatMap((_, u) => [...bits.subarray(u * 10 + 2, u * 10 + 10)])),
  )
  t.deepEqual(flipBits(7, [keys[17]], 0, 320), bits.slice(170, 180))
  t.deepEqual(await drawnFlips(7, keys, [0, 320]), bits)
  t.deepEqual(await drawnFlips(7, keys, [64, 320]), flipBits(7, keys, 64, 320))
  const sign = (unit, draw) => ((bits[unit * 10 + (draw >>> 5)] >>> (draw & 31)) & 1 ? -1 : 1)
  t.true(
    keys.every((_, u) => sign(u, 0) === 1),
    'draw 0 is what was observed',
  )
  // Of 319 draws of 400 units the mean sign has a standard error of 0.0028; of two units' products 0.056 each.
  let sum = 0
  for (let u = 0; u < 400; u++) {
    for (let b = 1; b < 320; b++) {
      sum += sign(u, b)
    }
  }
  t.true(Math.abs(sum / 400 / 319) < 0.012)
  for (const [a, b] of [
    [0, 1],
    [5, 300],
  ]) {
    let together = 0
    for (let draw = 1; draw < 320; draw++) {
      together += sign(a, draw) * sign(b, draw)
    }
    t.true(Math.abs(together / 319) < 0.25)
  }
  t.notDeepEqual(flipBits(8, keys, 0, 320), bits)
  const halves = keys.map((key) => halfOf(7, key))
  t.true(Math.abs(halves.filter((half) => half === 1).length - 200) < 45)
})

test('words of a unit are the same for ever: results of shards must agree', (t) => {
  t.deepEqual(unitKey('a'), [...unitKey('a')])
  t.deepEqual([unitKey(''), unitKey('a'), unitKey('order-17')], FIXED.keys)
  t.deepEqual(
    [0, 1, 2 ** 40].map((seed) => unitWord(seed, unitKey('order-17'), STREAMS.signs, 3)),
    FIXED.words,
  )
  t.true(compareKeys(unitKey('a'), unitKey('b')) * compareKeys(unitKey('b'), unitKey('a')) < 0)
})
const FIXED = {
  keys: [
    [2872998923, 2551842700],
    [711464985, 3344298137],
    [1984301154, 3187572359],
  ],
  words: [2201710055, 1518820073, 1557519900],
}

test('draws grow in stages, within the limit', (t) => {
  t.deepEqual(stagesFrom(199, 99_999), [199, 999, 9_999])
  t.deepEqual(stagesFrom(1_500, 5_000), [1_500])
  t.deepEqual(stagesFrom(19, 999), [19, 999])
  // Components: 1 / 1000 is a fiftieth of 0.05, and a tenth of 0.01.
  const usual = [199, 999, 9_999]
  t.deepEqual(stagesForLevel(usual, 0.05, 99_999), [199, 999])
  t.deepEqual(stagesForLevel(usual, 0.01, 99_999), usual)
  t.deepEqual(stagesForLevel(usual, 1e-3, 99_999), [...usual, 19_999])
  t.deepEqual(stagesForLevel(usual, 1e-5, 99_999), usual)
})

test('replicated: either direction, Benjamini-Hochberg at half the level over what was screened', (t) => {
  const of = (p) => (p === undefined ? undefined : { p, ratio: 1, error: 0.1 })
  const forth = [0.001, 0.02, undefined, 0.4, undefined].map(of)
  const back = [undefined, 0.5, 0.01, 0.3, undefined].map(of)
  // Forth: 0.001 * 3 / 1 and 0.02 * 3 / 2 = 0.03 > 0.025; back: 0.01 * 3 / 1 > 0.025.
  const found = replicated(forth, back, 0.05)
  t.deepEqual(
    found.map((x) => x?.replicated),
    [true, false, false, false, undefined],
  )
  t.deepEqual(
    found.map((x) => x?.p),
    [0.001, 0.02, 0.01, 0.3, undefined],
  )
})
