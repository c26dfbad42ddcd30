/** Documents of files that are checked whole, or part by part: both find the same. */

import test from 'ava'
import { QkError } from '../dist/errors.js'
import * as s from '../dist/store/reading/schema.js'

const point = s.fields({ at: s.numbers, word: s.text })
const SCHEMA = s.fields({
  name: s.text,
  heads: s.byName(s.byName(s.fields({ rank: s.count, points: s.list(point) }))),
  seen: s.optional(s.list(s.list(s.count))),
  rule: s.variants('rule', [s.fields({ rule: s.oneOf('fixed'), rank: s.count })], 'the name of a rule'),
})

const right = () => ({
  name: 'boxes',
  heads: { L0H1: { order: { rank: 2, points: [{ at: [0.5, null], word: 'a' }] } }, L1H0: {} },
  seen: [[1], []],
  rule: { rule: 'fixed', rank: 2 },
  other: [undefined],
})

const misfit = (place, problem) => new QkError('ERR_FORMAT', `${place} ${problem}`)
const whole = (value) => s.checkDocument(SCHEMA, value, misfit)

test('a document that fits passes, with turns of the event loop between its parts', async (t) => {
  t.notThrows(() => whole(right()))
  let turns = 0
  await t.notThrowsAsync(
    s.checkInParts(SCHEMA, right(), misfit, async () => {
      turns += 1
    }),
  )
  t.true(turns > 10, `${turns}`)
})

/** @type {Record<string, [plant: (document: any) => any, expected: string]>} */
const FAULTS = {
  'a text that is a number': [(d) => Object.assign(d, { name: 5 }), 'name is 5, expected a text'],
  'no object at all': [() => [], ' is '],
  nothing: [() => null, ' is null'],
  'a missing field': [(d) => delete d.heads && d, 'heads is missing'],
  'a list in place of an object by name': [(d) => Object.assign(d, { heads: [1] }), 'heads'],
  'a deep field': [
    (d) => {
      d.heads.L0H1.order.points[0].at = ['x']
      return d
    },
    'heads.L0H1.order.points.0.at is ',
  ],
  'a missing deep field': [
    (d) => {
      delete d.heads.L0H1.order.points[0].word
      return d
    },
    'heads.L0H1.order.points.0.word is missing',
  ],
  'null in an optional list': [(d) => Object.assign(d, { seen: null }), 'seen is null'],
  'a wrong entry of a list of lists': [(d) => Object.assign(d, { seen: [[1], [-1]] }), 'seen.1.0 is -1'],
  'an unknown variant': [(d) => Object.assign(d, { rule: { rule: 'odd' } }), 'rule'],
}

for (const [name, [plant, expected]] of Object.entries(FAULTS)) {
  test(`${name}: the same error, whole and part by part`, async (t) => {
    const value = plant(right())
    const error = t.throws(() => whole(value), { name: 'QkError', code: 'ERR_FORMAT' })
    t.true(error.message.includes(expected), error.message)
    const inParts = await t.throwsAsync(s.checkInParts(SCHEMA, value, misfit, () => undefined))
    t.is(inParts.message, error.message)
  })
}

test('a check is ended by what its turn throws', async (t) => {
  const aborted = new QkError('ERR_ABORTED', 'aborted')
  const turn = () => Promise.reject(aborted)
  t.is(await t.throwsAsync(s.checkInParts(SCHEMA, right(), misfit, turn)), aborted)
})
