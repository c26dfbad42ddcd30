import test from 'ava'
import { attributeArrays as withDefaults } from '../dist/index.js'
import { orthonormal } from './helpers/arithmetic-random.js'
import {
  fromColumns,
  gaussian,
  inner,
  largestGap,
  minus,
  narrowed,
  permutations,
  plus,
  projection,
  rowOf,
  toColumns,
} from './helpers/plain-arrays.js'

const [n, keys, d] = [3, 5, 8]
const q = gaussian([n, d], 1)
const k = gaussian([n, keys, d], 2)
const scale = 0.3

/** Three features of rank 2, 1 and 3, neither orthonormal nor orthogonal to each other. */
const features = [2, 1, 3].map((r, f) => ({
  name: ['order', 'lexical', 'other'][f],
  u: gaussian([d, r], 10 + f),
  v: gaussian([d, r], 20 + f),
}))

/** Parts and rest of one vector by the definition, the features in `order`. */
function residualized(columns, x, order = columns.map((_, f) => f)) {
  const parts = []
  let left = x
  for (const f of order) {
    parts[f] = projection(columns[f], left)
    left = minus(left, parts[f])
  }
  return { parts, rest: left }
}

/** The difference of the projections on all spans up to f and on all before it. */
function orthogonalized(columns, x) {
  const upTo = columns.map((_, f) => projection(columns.slice(0, f + 1).flat(), x))
  const parts = upTo.map((p, f) => (f === 0 ? p : minus(p, upTo[f - 1])))
  return { parts, rest: minus(x, upTo[upTo.length - 1]) }
}

/** The mean of the residualized parts over all orders. */
function shapley(columns, x) {
  const orders = permutations(columns.length)
  const parts = columns.map(() => x.map(() => 0))
  let rest = x.map(() => 0)
  for (const order of orders) {
    const one = residualized(columns, x, order)
    one.parts.forEach((part, f) => {
      parts[f] = plus(parts[f], part, 1 / orders.length)
    })
    rest = plus(rest, one.rest, 1 / orders.length)
  }
  return { parts, rest }
}

const REFERENCES = { residualize: residualized, orthogonalize: orthogonalized, shapley }

/** Scores by row and key from what `vectors(query, key)` gives for each: any number of pairs to be multiplied. */
function scoresOf(pair, input = { q, k }, s = scale) {
  const out = []
  for (let row = 0; row < n; row++) {
    for (let j = 0; j < keys; j++) {
      const [x, y] = pair(rowOf(input.q, row), rowOf(input.k, row * keys + j))
      out.push(s * inner(x, y))
    }
  }
  return out
}

/** The paper's split, of rows as they are, unless a test names another. */
const attributeArrays = /** @type {typeof withDefaults} */ (
  (options) => withDefaults({ method: 'residualize', centered: false, ...options })
)

/** How far parts and rest are from adding up to the total, relative to the row's largest score. */
function additivityError({ total, rest }, parts) {
  let error = 0
  for (let row = 0; row * keys < total.length; row++) {
    const of = (rows) => Array.from(rows.subarray(row * keys, (row + 1) * keys))
    const largest = Math.max(...of(total).map(Math.abs))
    const sum = parts.map(of).reduce((a, b) => plus(a, b), of(rest))
    error = Math.max(error, largestGap(sum, of(total)) / largest)
  }
  return error
}

const METHODS = /** @type {(keyof typeof REFERENCES)[]} */ (Object.keys(REFERENCES))
for (const method of METHODS) {
  const reference = REFERENCES[method]
  test(`${method}: parts of the query, against the definition`, (t) => {
    const result = attributeArrays({ q, k, scale, features, method })
    const columns = features.map(({ u }) => toColumns(u))
    t.true(
      largestGap(
        result.total,
        scoresOf((x, y) => [x, y]),
      ) < 1e-12,
    )
    features.forEach(({ name }, f) => {
      t.true(
        largestGap(
          result.parts[name],
          scoresOf((x, y) => [reference(columns, x).parts[f], y]),
        ) < 1e-11,
      )
    })
    t.true(
      largestGap(
        result.rest,
        scoresOf((x, y) => [reference(columns, x).rest, y]),
      ) < 1e-11,
    )
    t.deepEqual(Object.keys(result.parts), ['order', 'lexical', 'other'])
  })

  test(`${method}: parts of the keys, against the definition`, (t) => {
    const result = attributeArrays({ q, k, scale, features, method, sides: 'key' })
    const columns = features.map(({ v }) => toColumns(v))
    features.forEach(({ name }, f) => {
      t.true(
        largestGap(
          result.parts[name],
          scoresOf((x, y) => [x, reference(columns, y).parts[f]]),
        ) < 1e-11,
      )
    })
    t.true(
      largestGap(
        result.rest,
        scoresOf((x, y) => [x, reference(columns, y).rest]),
      ) < 1e-11,
    )
  })

  test(`${method}: the table of query feature by key feature, against the definition`, (t) => {
    const { table, total, rest, explained } = attributeArrays({
      q,
      k,
      scale,
      features,
      method,
      sides: 'both',
    })
    const [us, vs] = [features.map(({ u }) => toColumns(u)), features.map(({ v }) => toColumns(v))]
    const all = ({ parts, rest: left }) => [...parts, left]
    t.deepEqual(table.names, ['order', 'lexical', 'other', 'rest'])
    t.is(table.parts.length, 16 * n * keys)
    const named = new Array(n * keys).fill(0)
    for (let f = 0; f < 4; f++) {
      for (let g = 0; g < 4; g++) {
        const cell = table.parts.subarray((f * 4 + g) * n * keys, (f * 4 + g + 1) * n * keys)
        const expected = scoresOf((x, y) => [all(reference(us, x))[f], all(reference(vs, y))[g]])
        t.true(largestGap(cell, expected) < 1e-11, `${f} by ${g}`)
        if (f === 3 && g === 3) {
          t.deepEqual(rest, Float64Array.from(cell))
        }
        if (f < 3 && g < 3) {
          for (let i = 0; i < named.length; i++) {
            named[i] += expected[i]
          }
        }
      }
    }
    for (let row = 0; row < n; row++) {
      const of = (rows) => Array.from(rows).slice(row * keys, (row + 1) * keys)
      const left = minus(of(total), of(named))
      t.true(Math.abs(explained[row] - (1 - inner(left, left) / inner(of(total), of(total)))) < 1e-11)
    }
  })

  test(`${method}: parts and rest add up, overlapping features included`, (t) => {
    const [a, b, c] = orthonormal(d, 3, 30)
    const near = plus(a, b, 1e-9)
    const overlapping = [
      [[a], [a]],
      [[a, b], [near], [b, c]],
      [[a], [plus(a, b, 0.1)], [plus(a, c, 0.1)], [a, b, c]],
      [[a], [b], [c]],
      [orthonormal(d, d, 31), [a]],
    ]
    for (const sets of overlapping) {
      const list = sets.map((columns, f) => ({
        name: `f${f}`,
        u: fromColumns(columns),
        v: fromColumns(columns),
      }))
      for (const centered of [false, true]) {
        for (const sides of /** @type {const} */ (['query', 'key'])) {
          const result = attributeArrays({ q, k, scale, features: list, method, sides, centered })
          t.true(additivityError(result, Object.values(result.parts)) < 1e-12)
        }
        const { total, table } = attributeArrays({
          q,
          k,
          scale,
          features: list,
          method,
          sides: 'both',
          centered,
        })
        const size = n * keys
        const cells = Array.from({ length: table.parts.length / size }, (_, i) =>
          table.parts.subarray(i * size, (i + 1) * size),
        )
        t.true(additivityError({ total, rest: new Float64Array(size) }, cells) < 1e-12)
      }
    }
  })

  test(`${method}: each row of the table sums to the query's part, each column to the keys'`, (t) => {
    const options = { q, k, scale, features, method }
    const { table } = attributeArrays({ ...options, sides: 'both' })
    const byQuery = attributeArrays({ ...options, sides: 'query' })
    const byKey = attributeArrays({ ...options, sides: 'key' })
    const size = n * keys
    const cell = (f, g) => Array.from(table.parts.subarray((f * 4 + g) * size, (f * 4 + g + 1) * size))
    table.names.forEach((name, f) => {
      const [alongKeys, alongQueries] = [0, 1].map((way) =>
        [0, 1, 2, 3].map((g) => (way === 0 ? cell(f, g) : cell(g, f))).reduce((sum, x) => plus(sum, x)),
      )
      t.true(largestGap(alongKeys, byQuery.parts[name] ?? byQuery.rest) < 1e-12)
      t.true(largestGap(alongQueries, byKey.parts[name] ?? byKey.rest) < 1e-12)
    })
  })

  test(`${method}: features orthogonal to each other get their plain projections`, (t) => {
    const columns = orthonormal(d, 4, 32).map((c) => Array.from(c))
    const sets = [columns.slice(0, 1), columns.slice(1, 4)]
    const list = sets.map((set, f) => ({ name: `f${f}`, u: fromColumns(set) }))
    const { parts } = attributeArrays({ q, k, scale, features: list, method })
    sets.forEach((set, f) => {
      t.true(
        largestGap(
          parts[`f${f}`],
          scoresOf((x, y) => [projection(set, x), y]),
        ) < 1e-12,
      )
    })
  })
}

test('orthogonalize: an earlier span takes all of a duplicate, and of one within 1e-9', (t) => {
  const [a, b, c] = orthonormal(d, 3, 33)
  const list = [[a, b], [plus(a, b), minus(a, b)], [plus(a, c, 1e-9)], [plus(b, c, 0.5)]].map(
    (columns, f) => ({ name: `f${f}`, u: fromColumns(columns) }),
  )
  const { parts } = attributeArrays({ q, k, features: list, method: 'orthogonalize' })
  t.deepEqual(parts.f1, new Float64Array(n * keys))
  t.deepEqual(parts.f2, new Float64Array(n * keys))
  const onlyC = scoresOf((x, y) => [projection([Array.from(c)], x), y], { q, k }, 1)
  t.true(largestGap(parts.f3, onlyC) < 1e-12)
})

test('residualize: the order given decides who takes what is shared', (t) => {
  const [a, b] = orthonormal(d, 2, 34).map((c) => Array.from(c))
  const first = { name: 'first', u: fromColumns([a]) }
  const second = { name: 'second', u: fromColumns([plus(a, b)]) }
  const whole = scoresOf((x, y) => [projection([a], x), y], { q, k }, 1)
  const one = attributeArrays({ q, k, features: [first, second] })
  const other = attributeArrays({ q, k, features: [second, first] })
  t.true(largestGap(one.parts.first, whole) < 1e-12)
  t.true(largestGap(other.parts.first, whole) > 0.1)
})

test('shapley: duplicates share alike, and no order of the features changes a part', (t) => {
  const [a, b] = orthonormal(d, 2, 35)
  const twins = [
    { name: 'one', u: fromColumns([a, b]) },
    { name: 'two', u: fromColumns([plus(a, b), b]) },
  ]
  const { parts } = attributeArrays({ q, k, features: twins, method: 'shapley' })
  const half = scoresOf((x, y) => [projection([Array.from(a), Array.from(b)], x), y], { q, k }, 0.5)
  t.true(largestGap(parts.one, half) < 1e-12)
  t.true(largestGap(parts.two, half) < 1e-12)

  const run = (order) =>
    attributeArrays({ q, k, features: order.map((f) => features[f]), method: 'shapley' }).parts
  for (const order of permutations(3)) {
    for (const { name } of features) {
      t.true(largestGap(run(order)[name], run([0, 1, 2])[name]) < 1e-12)
    }
  }
})

test('shapley: exact with six features, against all 720 orders', (t) => {
  const six = Array.from({ length: 6 }, (_, f) => ({ name: `f${f}`, u: gaussian([d, 1 + (f % 2)], 40 + f) }))
  const columns = six.map(({ u }) => toColumns(u))
  const result = attributeArrays({ q, k, scale, features: six, method: 'shapley', seed: 9, samples: 2 })
  const exact = Array.from({ length: n }, (_, row) => shapley(columns, rowOf(q, row)))
  six.forEach(({ name }, f) => {
    const expected = []
    for (let row = 0; row < n; row++) {
      for (let j = 0; j < keys; j++) {
        expected.push(scale * inner(exact[row].parts[f], rowOf(k, row * keys + j)))
      }
    }
    t.true(largestGap(result.parts[name], expected) < 1e-11)
  })
})

test('shapley: eight features are sampled, add up, repeat with the seed and near the exact mean', (t) => {
  const eight = Array.from({ length: 8 }, (_, f) => ({ name: `f${f}`, u: gaussian([d, 1], 50 + f) }))
  const run = (options) => attributeArrays({ q, k, scale, features: eight, method: 'shapley', ...options })
  const result = run({ seed: 5 })
  t.true(additivityError(result, Object.values(result.parts)) < 1e-12)
  t.deepEqual(run({ seed: 5 }), result)
  t.deepEqual(run({ seed: 5, samples: 64 }), result)
  t.notDeepEqual(run({ seed: 6 }).parts, result.parts)

  // Eight features of which the last two are empty have the exact parts of six.
  const none = { data: new Float64Array(0), shape: [d, 0] }
  const six = eight.slice(0, 6)
  const padded = [...six, { name: 'f6', u: none }, { name: 'f7', u: none }]
  const exact = attributeArrays({ q, k, scale, features: six, method: 'shapley' })
  const error = (samples) => {
    const { parts } = attributeArrays({ q, k, scale, features: padded, method: 'shapley', samples })
    return Math.max(...six.map(({ name }) => largestGap(parts[name], exact.parts[name])))
  }
  const largest = Math.max(...exact.total.map(Math.abs))
  t.true(error(4000) < 0.02 * largest)
  t.true(error(4000) < error(2))
})

test('shapley: sampled orders come with their reverse, so two features that overlap share exactly', (t) => {
  const [a] = orthonormal(d, 1, 36)
  const none = { data: new Float64Array(0), shape: [d, 0] }
  const list = Array.from({ length: 7 }, (_, f) => ({ name: `f${f}`, u: f < 2 ? fromColumns([a]) : none }))
  const half = scoresOf((x, y) => [projection([Array.from(a)], x), y], { q, k }, 0.5)
  for (let seed = 0; seed < 8; seed++) {
    const { parts } = attributeArrays({ q, k, features: list, method: 'shapley', samples: 2, seed })
    t.true(largestGap(parts.f0, half) < 1e-12)
    t.true(largestGap(parts.f1, half) < 1e-12)
  }
})

test('the explained fraction is over unmasked keys, raw and centred', (t) => {
  const mask = Uint8Array.from({ length: n * keys }, (_, i) => (i % 4 === 1 ? 0 : 1))
  const plain = attributeArrays({ q, k, scale, features })
  for (const centered of [false, true]) {
    const result = attributeArrays({ q, k, scale, features, mask, centered })
    for (let row = 0; row < n; row++) {
      const visible = Array.from({ length: keys }, (_, j) => row * keys + j).filter((i) => mask[i] === 1)
      const mean = (rows) => (centered ? visible.reduce((sum, i) => sum + rows[i], 0) / visible.length : 0)
      const energy = (rows) => visible.reduce((sum, i) => sum + (rows[i] - mean(rows)) ** 2, 0)
      t.true(Math.abs(result.explained[row] - (1 - energy(plain.rest) / energy(plain.total))) < 1e-12)
      // Masked keys are given too, less the mean over the visible ones.
      for (let i = row * keys; i < (row + 1) * keys; i++) {
        for (const [got, from] of [
          [result.total, plain.total],
          [result.rest, plain.rest],
          [result.parts.order, plain.parts.order],
        ]) {
          t.true(Math.abs(got[i] - (from[i] - mean(from))) < 1e-12)
        }
      }
    }
  }
})

test('what is explained: all by the whole space, nothing by no feature', (t) => {
  const whole = { name: 'all', u: fromColumns(orthonormal(d, d, 37)) }
  t.true(largestGap(attributeArrays({ q, k, features: [whole] }).explained, [1, 1, 1]) < 1e-12)
  const nothing = attributeArrays({ q, k, features: [] })
  t.deepEqual(nothing.explained, new Float64Array(n))
  t.deepEqual(nothing.rest, nothing.total)
})

test('a row without energy has no explained fraction: NaN', (t) => {
  const still = { data: Float64Array.from(q.data), shape: q.shape }
  still.data.fill(0, 0, d)
  const mask = new Uint8Array(n * keys).fill(1)
  mask.fill(0, keys, 2 * keys)
  const { explained, total } = attributeArrays({ q: still, k, features, mask })
  t.deepEqual(Array.from(explained, Number.isNaN), [true, true, false])
  t.true(total.every(Number.isFinite))

  const one = gaussian([n, 1, d], 3)
  const same = { data: new Float64Array(n * keys * d), shape: [n, keys, d] }
  for (let i = 0; i < n * keys; i++) {
    same.data.set(one.data.subarray(Math.floor(i / keys) * d).subarray(0, d), i * d)
  }
  t.true(attributeArrays({ q, k: same, features }).explained.every(Number.isFinite))
  t.true(attributeArrays({ q, k: same, features, centered: true }).explained.every(Number.isNaN))
})

test('neither very large nor very small scores lose their explained fraction', (t) => {
  const { explained } = attributeArrays({ q, k, features })
  for (const size of [1e-170, 1e170]) {
    t.true(largestGap(attributeArrays({ q, k, features, scale: size }).explained, explained) < 1e-12)
  }
})

test('by default rows are centred, and the order of the features changes nothing', (t) => {
  const options = { q, k, scale, features }
  const result = withDefaults(options)
  t.deepEqual(result, withDefaults({ ...options, method: 'shapley', centered: true }))
  for (let row = 0; row < n; row++) {
    const sum = result.total.subarray(row * keys, (row + 1) * keys).reduce((a, b) => a + b, 0)
    t.true(Math.abs(sum) < 1e-12)
  }
  const { parts } = withDefaults({ ...options, features: [...features].reverse() })
  for (const { name } of features) {
    t.true(largestGap(parts[name], result.parts[name]) < 1e-12)
  }
})

test('f32 input is computed with in f64', (t) => {
  const [q32, k32] = [narrowed(q), narrowed(k)]
  const wide = (x) => ({ data: Float64Array.from(x.data), shape: x.shape })
  const a = attributeArrays({ q: q32, k: k32, features })
  t.deepEqual(a, attributeArrays({ q: wide(q32), k: wide(k32), features }))
})

test('inputs are left as they were', (t) => {
  const before = structuredClone({ q, k, features })
  attributeArrays({ q, k, features, sides: 'both', centered: true })
  t.deepEqual({ q, k, features }, before)
})

test('no rows, and no keys', (t) => {
  const empty = { data: new Float32Array(0) }
  const rows = attributeArrays({
    q: { ...empty, shape: [0, d] },
    k: { ...empty, shape: [0, keys, d] },
    features,
  })
  t.is(rows.total.length, 0)
  t.is(rows.explained.length, 0)
  const none = attributeArrays({ q, k: { ...empty, shape: [n, 0, d] }, features })
  t.deepEqual(none.explained, new Float64Array(n).fill(Number.NaN))
})

test('wrong input is refused with what was expected', (t) => {
  const refused = (change, code, message) =>
    t.throws(() => attributeArrays({ q, k, features, ...change }), { name: 'QkError', code, message })
  // @ts-expect-error without options
  t.throws(() => withDefaults(), { code: 'ERR_TYPE' })
  refused({ featurs: [] }, 'ERR_ARGUMENT', /no "featurs"/)
  refused({ q: undefined }, 'ERR_TYPE', /q must be \{ data, shape: \[n, d\] \}/)
  refused({ q: { ...q, shape: [n * d] } }, 'ERR_SHAPE', /q\.shape/)
  refused({ k: { ...k, shape: [n, d, keys] } }, 'ERR_SHAPE', /k\.shape is \[3, 8, 5\].*d = 8/)
  refused({ k: { data: k.data.subarray(1), shape: k.shape } }, 'ERR_SHAPE', /119 elements.*needs 120/)
  refused({ k: { data: new Uint16Array(n * keys * d), shape: k.shape } }, 'ERR_TYPE', /k\.data/)
  const broken = Float64Array.from(k.data)
  broken[1 * keys * d + 2 * d + 3] = Number.NaN
  refused({ k: { ...k, data: broken } }, 'ERR_NON_FINITE', /k at \[1, 2, 3\] is NaN/)
  refused({ scale: Number.POSITIVE_INFINITY }, 'ERR_NON_FINITE', /scale/)
  refused({ scale: '1' }, 'ERR_TYPE', /scale/)
  refused({ method: 'project' }, 'ERR_ARGUMENT', /method is 'project'.*residualize, orthogonalize, shapley/)
  refused({ sides: 'keys' }, 'ERR_ARGUMENT', /sides is 'keys'/)
  refused({ centered: 1 }, 'ERR_TYPE', /centered/)
  refused({ samples: 3 }, 'ERR_ARGUMENT', /samples is 3.*even/)
  refused({ samples: 0 }, 'ERR_ARGUMENT', /samples/)
  refused({ seed: 0.5 }, 'ERR_ARGUMENT', /seed/)
  refused({ mask: new Uint8Array(4) }, 'ERR_SHAPE', /mask has 4/)
  refused({ mask: new Array(n * keys).fill(1) }, 'ERR_TYPE', /mask must be a Uint8Array/)
  refused({ mask: new Uint8Array(n * keys).fill(255) }, 'ERR_RANGE', /mask\[0\] is 255/)
  const feature = features[0]
  refused({ features: feature }, 'ERR_TYPE', /features must be an array/)
  refused({ features: [{ ...feature, name: '' }] }, 'ERR_TYPE', /name/)
  refused({ features: [{ ...feature, name: 'rest' }] }, 'ERR_ARGUMENT', /'rest'/)
  refused({ features: [feature, feature] }, 'ERR_ARGUMENT', /'order' twice/)
  refused({ features: [{ ...feature, s: [] }] }, 'ERR_ARGUMENT', /no "s"/)
  refused({ features: [{ name: 'a', v: feature.v }] }, 'ERR_ARGUMENT', /features\[0\]\.u of 'a' is missing/)
  refused({ features: [{ name: 'a', u: feature.u }], sides: 'both' }, 'ERR_ARGUMENT', /features\[0\]\.v/)
  refused({ features: [{ name: 'a', u: gaussian([d + 1, 1], 1) }] }, 'ERR_SHAPE', /features\[0\]\.u.*d = 8/)
})
