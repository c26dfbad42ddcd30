import test from 'ava'
import { bootstrapMean, bootstrapRatio } from '../dist/index.js'
import { normal } from './helpers/arithmetic-random.js'

const near = (t, a, b, tolerance) => t.true(Math.abs(a - b) <= tolerance, `${a} is not near ${b}`)

test('the mean of normal values, and an interval of the width that theory gives', (t) => {
  const values = Float64Array.from({ length: 400 }, normal(1))
  const { mean, low, high } = bootstrapMean(values, { seed: 2, samples: 4000 })
  const expected = values.reduce((a, b) => a + b) / 400
  const error = Math.sqrt(values.reduce((sum, x) => sum + (x - expected) ** 2, 0)) / 400
  near(t, mean, expected, 1e-14)
  near(t, low, expected - 1.96 * error, 0.2 * error)
  near(t, high, expected + 1.96 * error, 0.2 * error)
  const half = bootstrapMean(values, { seed: 2, samples: 4000, level: 0.5 })
  near(t, half.high - half.low, 2 * 0.674 * error, 0.2 * error)
})

test('the interval covers the true mean about as often as its level says', (t) => {
  const next = normal(3)
  let covered = 0
  for (let run = 0; run < 300; run++) {
    const values = Array.from({ length: 40 }, () => 5 + next())
    const { low, high } = bootstrapMean(values, { seed: run, samples: 300, level: 0.9 })
    if (low <= 5 && high >= 5) {
      covered++
    }
  }
  // 270 are expected, a little fewer from 40 values; the standard deviation is about 5.
  t.true(covered > 245 && covered < 288, `${covered} of 300`)
})

test('units are drawn whole: copies of a row in its group do not narrow the interval', (t) => {
  const next = normal(4)
  const single = Array.from({ length: 30 }, () => next())
  const copied = single.flatMap((x) => new Array(10).fill(x))
  const names = copied.map((_, i) => `prompt ${Math.floor(i / 10)}`)
  const one = bootstrapMean(single, { seed: 5 })
  const grouped = bootstrapMean(copied, { seed: 5, groups: names })
  near(t, grouped.low, one.low, 1e-12)
  near(t, grouped.high, one.high, 1e-12)
  const numbers = Int32Array.from(copied, (_, i) => Math.floor(i / 10))
  t.deepEqual(bootstrapMean(copied, { seed: 5, groups: numbers }), grouped)
  const rows = bootstrapMean(copied, { seed: 5 })
  t.true(rows.high - rows.low < 0.5 * (one.high - one.low))
})

test('groups need not lie together, and larger ones weigh more', (t) => {
  const { mean, low, high } = bootstrapMean([1, 10, 1, 1], { groups: [7, 8, 7, 7], samples: 500 })
  t.is(mean, 13 / 4)
  t.deepEqual([low, high], [1, 10])
})

test('a ratio is of sums, not the mean of ratios', (t) => {
  const { ratio, low, high } = bootstrapRatio([1, 8], [1, 2], { samples: 500 })
  t.is(ratio, 3)
  t.deepEqual([low, high], [1, 4])
  const next = normal(6)
  const below = Array.from({ length: 50 }, () => 1 + next() ** 2)
  const exact = bootstrapRatio(
    below.map((x) => 2 * x),
    below,
  )
  for (const value of Object.values(exact)) {
    near(t, value, 2, 1e-12)
  }
})

test('draws whose denominators are all zero are left out', (t) => {
  const { ratio, low, high } = bootstrapRatio([0, 3], [0, 1], { samples: 500 })
  t.deepEqual({ ratio, low, high }, { ratio: 3, low: 3, high: 3 })
})

test('the seed decides the interval', (t) => {
  const values = Array.from({ length: 20 }, normal(7))
  t.deepEqual(bootstrapMean(values, { seed: 1 }), bootstrapMean(values, { seed: 1 }))
  t.notDeepEqual(bootstrapMean(values, { seed: 1 }), bootstrapMean(values, { seed: 2 }))
  t.deepEqual(bootstrapMean(values), bootstrapMean(values, { seed: 0, samples: 1000, level: 0.95 }))
})

test('one unit has no interval', (t) => {
  const none = { mean: 2, low: Number.NaN, high: Number.NaN }
  t.deepEqual(bootstrapMean([2]), none)
  t.deepEqual(bootstrapMean([1, 3], { groups: ['a', 'a'] }), none)
})

test('wrong input is refused', (t) => {
  const refused = (run, code, message) => t.throws(run, { name: 'QkError', code, message })
  refused(() => bootstrapMean(undefined), 'ERR_TYPE', /values must be an array/)
  refused(() => bootstrapMean([]), 'ERR_EMPTY_SET', /values is empty/)
  refused(() => bootstrapMean([1, Number.NaN]), 'ERR_NON_FINITE', /values\[1\] is NaN/)
  // @ts-expect-error a string among the numbers
  refused(() => bootstrapMean([1, '2']), 'ERR_TYPE', /values\[1\]/)
  refused(() => bootstrapMean([1, 2], { groups: [1] }), 'ERR_SHAPE', /groups has 1/)
  // @ts-expect-error a string in the place of groups
  refused(() => bootstrapMean([1, 2], { groups: 'ab' }), 'ERR_TYPE', /groups must be/)
  refused(() => bootstrapMean([1, 2], { groups: [1, null] }), 'ERR_TYPE', /groups\[1\] is null/)
  refused(() => bootstrapMean([1, 2], { level: 95 }), 'ERR_ARGUMENT', /level is 95/)
  refused(() => bootstrapMean([1, 2], { samples: 0 }), 'ERR_ARGUMENT', /samples/)
  refused(() => bootstrapMean([1, 2], { seed: 1.5 }), 'ERR_ARGUMENT', /seed/)
  // @ts-expect-error an option that there is not
  refused(() => bootstrapMean([1, 2], { size: 3 }), 'ERR_ARGUMENT', /no "size"/)
  refused(() => bootstrapRatio([1, 2], [1]), 'ERR_SHAPE', /denominators has 1/)
  refused(() => bootstrapRatio([1, 2], [1, -1]), 'ERR_RANGE', /denominators\[1\] is -1/)
  refused(() => bootstrapRatio([1, 2], [0, 0]), 'ERR_ARGUMENT', /all zero/)
})
