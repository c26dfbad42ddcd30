/** The limit of null draws is passed by chance in one case of twenty at most, and by no more. */

import test from 'ava'
import { exceedsNull, nullP95 } from '../dist/math/null-limit.js'
import { seededRandom } from '../dist/math/random.js'

test('the order statistic, and nothing of few draws', (t) => {
  const to = (n) => Array.from({ length: n }, (_, i) => n - i)
  t.is(nullP95(to(20)), 20)
  t.is(nullP95(to(19)), 19)
  t.is(nullP95(to(99)), 95)
  t.is(nullP95(to(5)), 5)
  t.true(Number.isNaN(nullP95([])))
  t.is(exceedsNull(21, 20, 20), true)
  t.is(exceedsNull(20, 20, 20), false)
  t.is(exceedsNull(21, 20, 18), null)
  t.is(exceedsNull(null, 20, 20), null)
  t.is(exceedsNull(Number.NaN, 20, 20), null)
  t.is(exceedsNull(1, Number.NaN, 0), null)
})

test('a figure that is one of the draws exceeds the others in one case of 21', (t) => {
  const random = seededRandom(4)
  const trials = 20_000
  let above = 0
  for (let i = 0; i < trials; i++) {
    const draws = Array.from({ length: 20 }, () => random.normal())
    if (exceedsNull(random.normal(), nullP95(draws), 20)) {
      above += 1
    }
  }
  // Six standard errors.
  t.true(Math.abs(above / trials - 1 / 21) < 0.009, `${above / trials}`)
})
