/** Sums with signs by tables, against sums one by one. */

import test from 'ava'
import { seededRandom } from '../../dist/math/random.js'
import { unitKey } from '../../dist/math/unit-hash.js'
import { groupedSigns, signedSums } from '../../dist/spectrum/rank/exchange/signed-sums.js'
import { flipBits } from '../../dist/spectrum/rank/exchange/signs.js'

for (const [units, draws] of [
  [1, 1],
  [7, 33],
  [8, 64],
  [9, 100],
  [203, 999],
]) {
  test(`${units} units, ${draws} draws`, async (t) => {
    const random = seededRandom(units)
    const values = Float64Array.from({ length: units }, () => random.normal())
    const keys = Array.from({ length: units }, (_, i) => unitKey(`${i}`))
    const bits = flipBits(3, keys, 0, draws)
    const words = Math.ceil(draws / 32)
    const found = await signedSums(values, await groupedSigns(bits, units, draws))
    for (let draw = 0; draw < draws; draw++) {
      let sum = 0
      values.forEach((value, u) => {
        sum += (bits[u * words + (draw >>> 5)] >>> (draw & 31)) & 1 ? -value : value
      })
      t.true(Math.abs(found[draw] - sum) < 1e-12 * units, `draw ${draw}`)
    }
  })
}
