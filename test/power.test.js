/** `qkspace power`, `powerOf` and `unitsFor`: between simulations, never beyond them. */

import test from 'ava'
import { bundledPower } from '../dist/bundled/files.js'
import { powerOf, unitsFor } from '../dist/index.js'
import { powerOfEffect } from '../scripts/calibrate/power.mjs'
import { runCommand } from './helpers/command.js'
import { temporaryFolder } from './helpers/files.js'

const folder = temporaryFolder(test)
const { levels, curves } = bundledPower()

test('the table: every curve rises from the level, and says how many data sets it rests on', (t) => {
  t.deepEqual(levels, [0.05, 0.01, 0.001])
  t.true(curves.length >= 12)
  for (const { headDim, units, sets, points } of curves) {
    t.true(headDim >= 16 && units >= 50 && sets >= 50)
    for (const [i, point] of points.entries()) {
      t.is(point.length, 1 + levels.length)
      t.true(point.every((x) => x >= 0 && x <= 1))
      t.true(point[1] >= point[2] && point[2] >= point[3])
      if (i > 0) {
        t.true(point.every((x, at) => x >= points[i - 1][at] && point[0] > points[i - 1][0]))
      }
    }
  }
})

test('what was simulated is given back as it is', (t) => {
  for (const { headDim, units, points } of curves) {
    for (const [strength, ...power] of points) {
      levels.forEach((level, i) => {
        const heads = Math.round(0.05 / level)
        const answer = powerOf({ units, strength, headDim, heads })
        t.true(Math.abs(answer.power - power[i]) < 1e-6, `${headDim} ${units} ${strength} ${level}`)
        t.true(Math.abs(answer.level - level) < 1e-12)
      })
    }
  }
})

test('power rises with units and strength, and falls with the dimension and the number of heads', (t) => {
  const rising = (answers) => {
    for (let i = 1; i < answers.length; i++) {
      t.true(answers[i] >= answers[i - 1] - 0.03, answers.join(' '))
    }
  }
  const base = { units: 400, strength: 0.25, headDim: 40 }
  const of = (change) => powerOf({ ...base, ...change }).power
  rising([50, 77, 120, 300, 520, 900, 1700, 3000].map((units) => of({ units })))
  rising([0.05, 0.12, 0.2, 0.25, 0.3, 0.4, 0.6].map((strength) => of({ strength })))
  rising([128, 100, 64, 50, 32, 20, 16].map((headDim) => of({ headDim })))
  rising([50, 30, 10, 4, 1].map((heads) => of({ heads })))
  t.is(of({ heads: 100, effects: 20 }), of({ heads: 5 }))
  const strong = powerOf({ ...base, units: 3000, strength: 0.8 })
  t.true(strong.atLeast && strong.power > 0.95)
})

test('between the simulated places power is near what a simulation there gives', async (t) => {
  for (const { d, units, strength } of [
    { d: 24, units: 180, strength: 0.42 },
    { d: 40, units: 70, strength: 0.7 },
  ]) {
    const { power } = await powerOfEffect(`test ${d}`, { d, units, strength, sets: 150, heads: 150 })
    const answer = powerOf({ units, strength, headDim: d })
    t.true(Math.abs(answer.power - power[0]) < 0.15, `${answer.power} ${power[0]}`)
  }
})

test('the units that a power takes', (t) => {
  const effect = { strength: 0.3, headDim: 64 }
  const { units, atMost } = unitsFor(effect)
  t.false(atMost)
  t.true(powerOf({ ...effect, units }).power >= 0.8)
  t.true(powerOf({ ...effect, units: units - 1 }).power < 0.8)
  t.true(unitsFor({ ...effect, power: 0.9 }).units >= units)
  t.true(unitsFor({ ...effect, heads: 20 }).units > units)
  t.like(unitsFor({ strength: 0.9, headDim: 16, power: 0.5 }), { units: 50, atMost: true })
})

test('outside what was simulated is an error', (t) => {
  const given = { units: 400, strength: 0.25, headDim: 40 }
  /** @type {[any, RegExp][]} */
  const outside = [
    [{ units: 49 }, /units is 49; simulated were 50 to 3000/],
    [{ units: 4000 }, /units is 4000/],
    [{ headDim: 8 }, /headDim is 8; simulated were dimensions 16 to 128/],
    [{ strength: 0.95 }, /strength is 0.95; simulated were correlations up to 0.9/],
    [{ strength: 0 }, /expected a correlation above 0 and below 1/],
    [{ strength: -0.2 }, /expected a correlation/],
    [{ heads: 1000 }, /1 of 1000 heads .* level of 0\.00005; simulated were levels down to 0.001/],
    [{ heads: 5, effects: 6 }, /effects is 6, expected a whole number from 1 to 5/],
    [{ alpha: 0.01 }, /powerOf has no "alpha"/],
  ]
  for (const [change, message] of outside) {
    t.throws(() => powerOf({ ...given, ...change }), { code: 'ERR_ARGUMENT', message })
  }
  // @ts-expect-error a strength in words
  t.throws(() => powerOf({ ...given, strength: '0.2' }), { code: 'ERR_TYPE' })
  t.throws(() => powerOf({ ...given, strength: Number.NaN }), { code: 'ERR_NON_FINITE' })
  const weak = { strength: 0.02, headDim: 64 }
  t.throws(() => unitsFor(weak), {
    code: 'ERR_ARGUMENT',
    message: /takes more than 3000 units \(they have 0\.0/,
  })
  t.throws(() => unitsFor({ ...weak, power: 1 }), { code: 'ERR_ARGUMENT', message: /power is 1/ })
})

test('the command', async (t) => {
  const run = (...args) => runCommand(folder, ['power', ...args])
  const effect = ['--strength', '0.3', '--head-dim', '64']
  const text = await run(...effect)
  t.is(text.status, 0)
  t.regex(text.stdout, /^\d+ units have a power of 0\.8\nto find an effect of one direction/)
  const { stdout } = await run(...effect, '--json')
  t.deepEqual(JSON.parse(stdout), {
    strength: 0.3,
    headDim: 64,
    heads: 1,
    effects: 1,
    power: 0.8,
    ...unitsFor({ strength: 0.3, headDim: 64 }),
  })
  const units = await run(...effect, '--units', '500', '--heads', '100', '--effects', '10', '--json')
  const options = { strength: 0.3, headDim: 64, units: 500, heads: 100, effects: 10 }
  t.deepEqual(JSON.parse(units.stdout), { ...options, ...powerOf(options) })
  const many = await run(...effect, '--units', '500', '--heads', '100', '--effects', '10')
  t.regex(many.stdout, /500 units have a power of .*10 of 100 heads have one, .* = 0\.005/s)
  const beyond = await run(...effect, '--units', '9000')
  t.is(beyond.status, 1)
  t.regex(beyond.stderr, /units is 9000; simulated were 50 to 3000 units\n.*not extrapolated/)
  t.is((await run(...effect, '--units', '500', '--power', '0.9')).status, 2)
  t.is((await run('--strength', '0.3')).status, 2)
  t.is((await run(...effect, '--units', 'many')).status, 2)
})
