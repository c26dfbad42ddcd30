import test from 'ava'
import { interveneArrays, measureMove } from '../dist/index.js'
import { orthonormal } from './helpers/arithmetic-random.js'
import {
  fromColumns,
  gaussian,
  inner,
  largestGap,
  minus,
  narrowed,
  plus,
  projection,
  rowOf,
  toColumns,
} from './helpers/plain-arrays.js'

const [n, keys, d] = [4, 6, 7]
const q = gaussian([n, d], 1)
const k = gaussian([n, keys, d], 2)
const donor = gaussian([n, d], 3)
const mean = gaussian([d], 4)
const basis = gaussian([d, 3], 5)
const scale = 0.4
const origin = Int32Array.of(0, 2, 5, 1)
const target = Int32Array.of(3, 1, 0, 4)
/** @type {InterveneArraysOptions} */
const swap = { q, k, scale, edit: 'swap', basis, origin, target }
const identity = fromColumns(
  Array.from({ length: d }, (_, i) => Array.from({ length: d }, (_, j) => (i === j ? 1 : 0))),
)

/** @import { InterveneArraysOptions } from '../dist/index.js' */

/** Softmax over the visible keys of one row. */
function softmax(scores, visible = scores.map(() => true)) {
  const powers = scores.map((x, i) => (visible[i] ? Math.exp(x) : 0))
  const sum = powers.reduce((a, b) => a + b)
  return powers.map((x) => x / sum)
}

/**
 * Scores and patterns after `change({ query, keys }, row)` has edited copies of a row and its keys in place.
 * @param {(state: { query: number[], keys: number[][] }, row: number) => void} [change]
 * @param {Uint8Array} [mask]
 */
function reference(change = () => {}, mask = undefined) {
  const scores = []
  const pattern = []
  for (let row = 0; row < n; row++) {
    const state = {
      query: rowOf(q, row),
      keys: Array.from({ length: keys }, (_, j) => rowOf(k, row * keys + j)),
    }
    change(state, row)
    const line = state.keys.map((key) => scale * inner(state.query, key))
    scores.push(...line)
    pattern.push(
      ...softmax(
        line,
        line.map((_, j) => mask === undefined || mask[row * keys + j] === 1),
      ),
    )
  }
  return { scores, pattern }
}

const columns = toColumns(basis)
const inside = (x) => projection(columns, x)
const outside = (x) => minus(x, inside(x))

/** Compares scores and patterns, before and after, with the definition. */
function agrees(t, options, change) {
  const result = interveneArrays(options)
  const expected = reference(change, options.mask)
  const before = reference(undefined, options.mask)
  t.true(largestGap(result.scores, expected.scores) < 1e-12)
  t.true(largestGap(result.pattern, expected.pattern) < 1e-12)
  t.true(largestGap(result.before.scores, before.scores) < 1e-12)
  t.true(largestGap(result.before.pattern, before.pattern) < 1e-12)
  t.true(largestGap(result.scores, before.scores) > 1e-2)
}

/**
 * What replaces x, by edit, and the options that it needs.
 * @type {Record<string, [Partial<InterveneArraysOptions>, (x: number[], row: number) => number[]]>}
 */
const REPLACEMENTS = {
  patch: [{ donor }, (_x, row) => rowOf(donor, row)],
  ablate: [{}, (x) => x.map(() => 0)],
  'ablate to the mean': [{ mean }, () => rowOf(mean, 0)],
  scale: [{ factor: -1.5 }, (x) => x.map((value) => -1.5 * value)],
}

for (const complement of [false, true]) {
  const part = complement ? outside : inside
  const where = complement ? 'the complement' : 'the span'

  test(`keys swapped in ${where}, against the definition`, (t) => {
    for (const strength of [1, 0.3]) {
      agrees(t, { ...swap, complement, strength }, (state, row) => {
        const [a, b] = [state.keys[origin[row]], state.keys[target[row]]]
        state.keys[origin[row]] = plus(a, minus(part(b), part(a)), strength)
        state.keys[target[row]] = plus(b, minus(part(a), part(b)), strength)
      })
    }
  })

  for (const [name, [options, replacement]] of Object.entries(REPLACEMENTS)) {
    test(`${name} in ${where}, keys and queries, against the definition`, (t) => {
      for (const strength of [1, 0.3]) {
        const edit = { q, k, scale, edit: name.split(' ')[0], basis, complement, strength, ...options }
        const change = (x, row) => plus(x, minus(part(replacement(x, row)), part(x)), strength)
        agrees(t, { ...edit, origin }, (state, row) => {
          state.keys[origin[row]] = change(state.keys[origin[row]], row)
        })
        agrees(t, { ...edit, side: 'query' }, (state, row) => {
          state.query = change(state.query, row)
        })
      }
    })
  }
}

test('a swap of whole keys is a swap of their scores', (t) => {
  const { scores, pattern, before } = interveneArrays({ ...swap, basis: identity })
  for (const [after, was] of [
    [scores, before.scores],
    [pattern, before.pattern],
  ]) {
    const expected = Float64Array.from(was)
    for (let row = 0; row < n; row++) {
      expected[row * keys + origin[row]] = was[row * keys + target[row]]
      expected[row * keys + target[row]] = was[row * keys + origin[row]]
    }
    t.true(largestGap(after, expected) < 1e-12)
  }
  const everything = interveneArrays({
    ...swap,
    basis: { data: new Float64Array(0), shape: [d, 0] },
    complement: true,
  })
  t.true(largestGap(everything.scores, scores) < 1e-12)
})

test('strength 0 and an empty basis change no bit, whatever the edit', (t) => {
  const none = { data: new Float32Array(0), shape: [d, 0] }
  for (const change of [{ strength: 0 }, { basis: none }]) {
    for (const side of /** @type {const} */ (['key', 'query'])) {
      /** @type {Partial<InterveneArraysOptions>[]} */
      const edits = [
        { edit: 'swap', ...(side === 'query' ? { donor } : {}) },
        { edit: 'patch', donor },
        { edit: 'ablate', mean },
        { edit: 'scale', factor: 3 },
      ]
      for (const edit of edits) {
        const { before, ...after } = interveneArrays({ ...swap, ...edit, side, ...change })
        t.deepEqual(after, before)
      }
    }
  }
})

test('a swap in the span and one in its complement move the scores as the whole swap does', (t) => {
  // The changes of the scores are linear in the projector, and the two projectors add up to the identity.
  const change = (options) => {
    const { scores, before } = interveneArrays({ ...swap, ...options })
    return minus(Array.from(scores), before.scores)
  }
  const both = plus(change({}), change({ complement: true }))
  t.true(largestGap(both, change({ basis: identity })) < 1e-12)
  t.true(largestGap(change({}), both) > 1e-2)
})

test('a swap in the span, then in its complement, is the whole swap', (t) => {
  const k2 = { data: Float64Array.from(k.data), shape: k.shape }
  for (let row = 0; row < n; row++) {
    const at = [origin, target].map((positions) => row * keys + positions[row])
    const [a, b] = at.map((i) => rowOf(k, i))
    k2.data.set(plus(outside(a), inside(b)), at[0] * d)
    k2.data.set(plus(outside(b), inside(a)), at[1] * d)
  }
  const { scores } = interveneArrays({ ...swap, k: k2, complement: true })
  t.true(largestGap(scores, interveneArrays({ ...swap, basis: identity }).scores) < 1e-12)
})

test('several bases act as their union: duplicates and overlaps are edited once', (t) => {
  const [a, b, c] = orthonormal(d, 3, 6).map((x) => Array.from(x))
  const run = (bases) => interveneArrays({ ...swap, basis: bases }).scores
  const single = run(fromColumns([a, b]))
  t.true(largestGap(run([fromColumns([a, b]), fromColumns([a, b])]), single) < 1e-12)
  t.true(largestGap(run([fromColumns([a]), fromColumns([plus(a, b)]), fromColumns([b])]), single) < 1e-12)
  t.true(largestGap(run([fromColumns([a, b]), fromColumns([plus(a, c, 1e-9)])]), single) < 1e-8)
  t.true(
    largestGap(run([fromColumns([a, b]), fromColumns([plus(a, c)])]), run(fromColumns([a, b, c]))) < 1e-12,
  )
  t.true(largestGap(run(fromColumns([a, b, c])), single) > 1e-2)
})

test('a swap of queries takes the coordinates of the donor, as a patch', (t) => {
  const options = { q, k, scale, basis, side: /** @type {const} */ ('query'), donor }
  t.deepEqual(interveneArrays({ ...options, edit: 'swap' }), interveneArrays({ ...options, edit: 'patch' }))
})

test('the pattern is over unmasked keys, scores are of all', (t) => {
  const mask = Uint8Array.from({ length: n * keys }, (_, i) => (i % 5 === 2 ? 0 : 1))
  agrees(t, { ...swap, mask }, (state, row) => {
    const [a, b] = [state.keys[origin[row]], state.keys[target[row]]]
    state.keys[origin[row]] = plus(outside(a), inside(b))
    state.keys[target[row]] = plus(outside(b), inside(a))
  })
  mask.fill(0, 0, keys)
  const { pattern } = interveneArrays({ ...swap, mask })
  t.deepEqual(pattern.slice(0, keys), new Float64Array(keys))
  t.true(pattern.every((x, i) => mask[i] === 1 || x === 0))
})

test('large scores do not overflow the softmax', (t) => {
  const { pattern } = interveneArrays({ ...swap, scale: 1e5 })
  t.true(pattern.every(Number.isFinite))
  for (let row = 0; row < n; row++) {
    t.true(Math.abs(pattern.slice(row * keys, (row + 1) * keys).reduce((a, b) => a + b) - 1) < 1e-12)
  }
})

test('f32 input is computed with in f64, and inputs are left as they were', (t) => {
  const wide = (x) => ({ data: Float64Array.from(x.data), shape: x.shape })
  const inputs = { q: narrowed(q), k: narrowed(k), basis: narrowed(basis) }
  const copy = structuredClone(inputs)
  const f64 = { q: wide(inputs.q), k: wide(inputs.k), basis: wide(inputs.basis) }
  const scaled = { edit: /** @type {const} */ ('scale'), factor: 1 / 3 }
  for (const edit of [{}, scaled]) {
    t.deepEqual(
      interveneArrays({ ...swap, ...inputs, ...edit }),
      interveneArrays({ ...swap, ...f64, ...edit }),
    )
  }
  t.deepEqual(inputs, copy)
})

test('no rows', (t) => {
  const empty = (shape) => ({ data: new Float64Array(0), shape })
  const none = { q: empty([0, d]), k: empty([0, keys, d]), origin: [], target: [] }
  t.is(interveneArrays({ ...swap, ...none }).scores.length, 0)
})

test('wrong input is refused with what was expected', (t) => {
  const refused = (change, code, message) =>
    t.throws(() => interveneArrays({ ...swap, ...change }), { name: 'QkError', code, message })
  // @ts-expect-error without options
  t.throws(() => interveneArrays(), { code: 'ERR_TYPE' })
  refused({ positions: [] }, 'ERR_ARGUMENT', /no "positions"/)
  refused({ edit: undefined }, 'ERR_ARGUMENT', /edit is 'undefined'.*swap, patch, ablate, scale/)
  refused({ side: 'keys' }, 'ERR_ARGUMENT', /side is 'keys'/)
  refused({ complement: 'yes' }, 'ERR_TYPE', /complement/)
  refused({ strength: Number.NaN }, 'ERR_NON_FINITE', /strength is NaN/)
  refused({ basis: undefined }, 'ERR_TYPE', /basis must be/)
  refused({ basis: [] }, 'ERR_EMPTY_SET', /basis is empty/)
  refused({ basis: [basis, gaussian([d - 1, 2], 1)] }, 'ERR_SHAPE', /basis\[1\].*d = 7/)
  refused({ basis: gaussian([d - 1, 2], 1) }, 'ERR_SHAPE', /basis\.shape is \[6, 2\]/)
  refused({ origin: undefined }, 'ERR_ARGUMENT', /edit 'swap' of keys needs origin/)
  refused({ target: undefined }, 'ERR_ARGUMENT', /edit 'swap' of keys needs target/)
  refused({ origin: Int32Array.of(0, 1) }, 'ERR_SHAPE', /origin has 2 elements.*4/)
  refused({ origin: Int32Array.of(0, 1, 6, 0) }, 'ERR_RANGE', /origin\[2\] is 6.*0 to 5/)
  refused({ target: [0, -1, 2, 3] }, 'ERR_RANGE', /target\[1\] is -1/)
  refused({ target: Float32Array.of(1, 2, 3, 4) }, 'ERR_TYPE', /target must be an Int32Array/)
  refused({ target: origin }, 'ERR_ARGUMENT', /origin and target of row 0 are both key 0/)
  refused({ side: 'query' }, 'ERR_ARGUMENT', /edit 'swap' of queries needs donor/)
  refused({ edit: 'patch' }, 'ERR_ARGUMENT', /edit 'patch' of keys needs donor/)
  refused({ edit: 'patch', donor: gaussian([n + 1, d], 1) }, 'ERR_SHAPE', /donor\.shape/)
  refused({ edit: 'scale' }, 'ERR_ARGUMENT', /needs factor/)
  refused({ edit: 'scale', factor: Number.POSITIVE_INFINITY }, 'ERR_NON_FINITE', /factor/)
  refused({ edit: 'ablate', mean: gaussian([d + 1], 1) }, 'ERR_SHAPE', /mean\.shape/)
  refused({ donor }, 'ERR_ARGUMENT', /does not use donor/)
  refused({ mean }, 'ERR_ARGUMENT', /does not use mean/)
  refused({ edit: 'ablate', factor: 2 }, 'ERR_ARGUMENT', /does not use factor/)
  refused({ mask: new Uint8Array(3) }, 'ERR_SHAPE', /mask has 3/)
  const broken = Float32Array.from(q.data)
  broken[d + 1] = Number.NEGATIVE_INFINITY
  refused({ q: { data: broken, shape: q.shape } }, 'ERR_NON_FINITE', /q at \[1, 1\] is -Infinity/)
})

test('a move is measured by attention on both keys, the change of p, flips and what was moved', (t) => {
  const move = measureMove({
    before: Float64Array.of(0.6, 0.1, 0.3, 0.5, 0.25, 0.25, 0.2, 0.5, 0.3, 0, 1, 0),
    after: Float64Array.of(0.2, 0.4, 0.4, 0.6, 0.2, 0.2, 0.1, 0.9, 0, 0, 0.5, 0.5),
    origin: Int32Array.of(0, 0, 0, 0),
    target: Int32Array.of(1, 2, 1, 2),
  })
  t.deepEqual(move.originBefore, Float64Array.of(0.6, 0.5, 0.2, 0))
  t.deepEqual(move.originAfter, Float64Array.of(0.2, 0.6, 0.1, 0))
  t.deepEqual(move.targetBefore, Float64Array.of(0.1, 0.25, 0.5, 0))
  t.deepEqual(move.targetAfter, Float64Array.of(0.4, 0.2, 0.9, 0.5))
  const deltaP = [0.4 / 0.6 - 0.1 / 0.7, 0.2 / 0.8 - 0.25 / 0.75, 0.9 - 0.5 / 0.7]
  t.true(largestGap(move.deltaP.slice(0, 3), deltaP) < 1e-15)
  t.true(Number.isNaN(move.deltaP[3]))
  // The first row is a tie between keys 1 and 2: the first of them counts. In the third, target was ahead before.
  t.deepEqual(move.flipped, Uint8Array.of(1, 0, 0, 0))
  t.true(largestGap(move.moved.slice(0, 3), [0.3 / 0.6, -0.05 / 0.5, 0.1 / 0.2]) < 1e-15)
  t.true(Number.isNaN(move.moved[3]))
})

test('attention that both keys gain, or both lose, was not moved between them', (t) => {
  const { moved } = measureMove({
    before: Float64Array.of(0.4, 0.3, 0.3, 0.4, 0.3, 0.3),
    after: Float64Array.of(0.3, 0.2, 0.5, 0.5, 0.4, 0.1),
    origin: [0, 0],
    target: [1, 1],
  })
  t.deepEqual(moved, Float64Array.of(0, 0))
})

test('attention that origin never had cannot be moved', (t) => {
  const { moved } = measureMove({
    before: Float64Array.of(0, 1),
    after: Float64Array.of(0.5, 0.5),
    origin: [0],
    target: [1],
  })
  t.true(Number.isNaN(moved[0]))
})

test('a whole swap flips, and mirrors p', (t) => {
  const pick = (scores, row, better) => {
    const line = Array.from(scores.slice(row * keys, (row + 1) * keys))
    const order = line.map((_, j) => j).sort((a, b) => line[b] - line[a])
    return better ? order[0] : order[3]
  }
  const { scores } = interveneArrays(swap).before
  const from = Int32Array.from({ length: n }, (_, row) => pick(scores, row, true))
  const to = Int32Array.from({ length: n }, (_, row) => pick(scores, row, false))
  const whole = interveneArrays({ ...swap, basis: identity, origin: from, target: to })
  const move = measureMove({ before: whole.before.pattern, after: whole.pattern, origin: from, target: to })
  t.deepEqual(move.flipped, Uint8Array.of(1, 1, 1, 1))
  const p = move.targetBefore.map((x, row) => x / (x + move.originBefore[row]))
  t.true(
    largestGap(
      move.deltaP,
      p.map((x) => 1 - 2 * x),
    ) < 1e-12,
  )
  t.true(
    largestGap(
      move.moved,
      move.originBefore.map((x, row) => 1 - move.targetBefore[row] / x),
    ) < 1e-12,
  )
})

test('patterns that do not fit are refused', (t) => {
  const good = { before: Float64Array.of(0.5, 0.5), after: Float64Array.of(1, 0), origin: [0], target: [1] }
  const refused = (change, code, message) =>
    t.throws(() => measureMove({ ...good, ...change }), { name: 'QkError', code, message })
  t.notThrows(() => measureMove(good))
  refused({ before: [0.5, 0.5] }, 'ERR_TYPE', /before/)
  refused({ after: Float64Array.of(1) }, 'ERR_SHAPE', /after has 1 elements/)
  refused({ origin: [0, 1, 0], target: [1, 0, 1] }, 'ERR_SHAPE', /no multiple of the 3 rows/)
  refused({ after: Float64Array.of(-2, 3) }, 'ERR_RANGE', /after\[0\] is -2/)
  refused({ after: Float64Array.of(Number.NaN, 0) }, 'ERR_RANGE', /after\[0\] is NaN/)
  refused({ target: [2] }, 'ERR_RANGE', /target\[0\] is 2/)
  refused({ target: [0] }, 'ERR_ARGUMENT', /both key 0/)
  refused({ target: [0, 1] }, 'ERR_SHAPE', /target/)
  refused({ origin: undefined }, 'ERR_TYPE', /origin/)
  refused({ keys: 2 }, 'ERR_ARGUMENT', /no "keys"/)
})
