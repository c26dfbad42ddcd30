import test from 'ava'
import {
  orthonormalBasis,
  project,
  projectOut,
  randomBasis,
  unionBasis,
  withoutSpan,
} from '../dist/math/basis.js'
import { orthonormal, uniform } from './helpers/arithmetic-random.js'
import {
  fromColumns,
  gaussian,
  inner,
  largestGap,
  narrowed,
  plus,
  projection,
  toColumns,
} from './helpers/plain-arrays.js'

/** The projector on the span of independent columns, d x d, by the normal equations. */
function projector(columns, d) {
  return Array.from({ length: d }, (_, i) =>
    projection(
      columns,
      Array.from({ length: d }, (_, j) => (i === j ? 1 : 0)),
    ),
  ).flat()
}

/** How far columns are from orthonormal. */
function orthogonalityError(basis) {
  const columns = toColumns(basis)
  const gram = columns.flatMap((a) => columns.map((b) => inner(a, b)))
  return largestGap(
    gram,
    gram.map((_, i) => (i % (columns.length + 1) === 0 ? 1 : 0)),
  )
}

const spanGap = (basis, columns) => {
  const d = basis.shape[0]
  return largestGap(projector(toColumns(basis), d), projector(columns, d))
}

test('independent columns that are neither orthogonal nor of one length keep their span', (t) => {
  const columns = toColumns(gaussian([9, 4], 1)).map((c, j) => c.map((x) => x * 10 ** (j - 2)))
  const basis = orthonormalBasis(fromColumns(columns))
  t.deepEqual(basis.shape, [9, 4])
  t.true(orthogonalityError(basis) < 1e-13)
  t.true(spanGap(basis, columns) < 1e-9)
})

test('dependent columns are reduced to the rank of their span', (t) => {
  const [a, b] = toColumns(gaussian([7, 2], 2))
  const mixed = [a, b, plus(a, b), a, plus(a, b, -3), a.map(() => 0)]
  const basis = orthonormalBasis(fromColumns(mixed))
  t.is(basis.shape[1], 2)
  t.true(orthogonalityError(basis) < 1e-13)
  t.true(spanGap(basis, [a, b]) < 1e-12)
})

test('more columns than dimensions span the whole space', (t) => {
  const basis = orthonormalBasis(gaussian([12, 90], 3))
  t.deepEqual(basis.shape, [12, 12])
  t.true(orthogonalityError(basis) < 1e-13)
})

test('a direction is kept above 1e-6 of the largest singular value and dropped below', (t) => {
  const [a, b] = orthonormal(8, 2, 4)
  for (const length of [1, 1e-200, 1e200]) {
    for (const [ratio, rank] of [
      [2e-6, 2],
      [0.5e-6, 1],
      [1e-12, 1],
    ]) {
      const columns = [a.map((x) => x * length), b.map((x) => x * length * ratio)]
      const basis = orthonormalBasis(fromColumns(columns))
      t.is(basis.shape[1], rank, `${ratio} of ${length}`)
      t.true(orthogonalityError(basis) < 1e-13)
    }
  }
})

test('nearly parallel columns at 1e-9 are one direction, at 1e-3 two', (t) => {
  const [a, b] = orthonormal(8, 2, 5)
  t.is(orthonormalBasis(fromColumns([a, plus(a, b, 1e-9)])).shape[1], 1)
  const two = orthonormalBasis(fromColumns([a, plus(a, b, 1e-3)]))
  t.is(two.shape[1], 2)
  t.true(spanGap(two, [a, b]) < 1e-11)
})

test('no column, or zeros, span nothing', (t) => {
  t.deepEqual(orthonormalBasis({ data: new Float32Array(0), shape: [5, 0] }).shape, [5, 0])
  const zero = orthonormalBasis({ data: new Float32Array(10), shape: [5, 2] })
  t.deepEqual(zero.shape, [5, 0])
  t.deepEqual(project(zero, Float64Array.of(1, 2, 3, 4, 5)), new Float64Array(5))
})

test('columns in f32 are accepted, and a view with an offset', (t) => {
  const { data } = narrowed(gaussian([6, 2], 6))
  const shifted = new Float32Array(20)
  shifted.set(data, 5)
  const a = orthonormalBasis({ data, shape: [6, 2] })
  const b = orthonormalBasis({ data: shifted.subarray(5, 17), shape: [6, 2] })
  t.deepEqual(a, b)
  t.true(orthogonalityError(a) < 1e-13)
})

test('the union spans all and counts what is shared once', (t) => {
  const [a, b, c, d] = orthonormal(10, 4, 7)
  const union = unionBasis([fromColumns([a, b]), fromColumns([plus(a, c), b]), fromColumns([a, b])])
  t.is(union.shape[1], 3)
  t.true(orthogonalityError(union) < 1e-13)
  t.true(spanGap(union, [a, b, c]) < 1e-12)
  t.is(unionBasis([fromColumns([a]), fromColumns([plus(a, d, 1e-9)])]).shape[1], 1)
})

test('the union weighs sets alike: one of short columns is not lost beside one of long ones', (t) => {
  const [a, b] = orthonormal(5, 2, 8)
  const union = unionBasis([fromColumns([a.map((x) => x * 1e9)]), fromColumns([b])])
  t.is(union.shape[1], 2)
})

test('projecting and projecting out, against the normal equations', (t) => {
  const columns = toColumns(gaussian([6, 3], 9))
  const rows = gaussian([4, 6], 10)
  const basis = orthonormalBasis(fromColumns(columns))
  const expected = Array.from({ length: 4 }, (_, i) =>
    projection(columns, Array.from(rows.data.slice(i * 6, i * 6 + 6))),
  ).flat()
  t.true(largestGap(project(basis, rows.data), expected) < 1e-12)
  t.true(largestGap(projectOut(basis, rows.data), plus(Array.from(rows.data), expected, -1)) < 1e-12)
})

test('what is left of a basis is orthogonal to the earlier span; round-off is dropped', (t) => {
  const [a, b, c, d] = orthonormal(11, 4, 11)
  const earlier = orthonormalBasis(fromColumns([a, b]))
  const left = (columns) => withoutSpan(orthonormalBasis(fromColumns(columns)), earlier)
  t.is(left([a, b]).shape[1], 0)
  t.is(left([plus(a, b)]).shape[1], 0)
  t.is(left([plus(a, c, 1e-9), b]).shape[1], 0)
  const partly = left([plus(a, c, 0.5), b, d])
  t.is(partly.shape[1], 2)
  t.true(spanGap(partly, [c, d]) < 1e-12)
  const thin = left([plus(a, c, 1e-5)])
  t.is(thin.shape[1], 1)
  t.true(largestGap(project(earlier, Float64Array.from(thin.data)), new Float64Array(11)) < 1e-14)
  t.true(spanGap(thin, [c]) < 1e-9)
  t.true(spanGap(left([c, d]), [c, d]) < 1e-12)
})

test('random bases are orthonormal, repeat with their seed and differ with another', (t) => {
  const basis = randomBasis(16, 5, 3)
  t.deepEqual(basis.shape, [16, 5])
  t.true(orthogonalityError(basis) < 1e-13)
  t.deepEqual(randomBasis(16, 5, 3), basis)
  t.notDeepEqual(randomBasis(16, 5, 4), basis)
  t.true(orthogonalityError(randomBasis(6, 6, 0)) < 1e-13)
})

test('random bases are uniform: the projector is r / d times the identity on average', (t) => {
  const [d, rank, count] = [4, 2, 4000]
  const seeds = uniform(12)
  const mean = new Float64Array(d * d)
  for (let i = 0; i < count; i++) {
    const columns = toColumns(randomBasis(d, rank, Math.floor(seeds() * 2 ** 31)))
    for (const c of columns) {
      for (let a = 0; a < d; a++) {
        for (let b = 0; b < d; b++) {
          mean[a * d + b] += (c[a] * c[b]) / count
        }
      }
    }
  }
  const expected = mean.map((_, i) => (i % (d + 1) === 0 ? rank / d : 0))
  // The standard error of an entry is about 0.3 / sqrt(4000) = 0.005.
  t.true(largestGap(mean, expected) < 0.025)
})

test('wrong columns are refused', (t) => {
  const good = gaussian([4, 2], 13)
  const refused = (columns, code, message) => t.throws(() => orthonormalBasis(columns), { code, message })
  refused(undefined, 'ERR_TYPE', /basis must be \{ data, shape: \[d, r\] \}/)
  refused(good.data, 'ERR_TYPE', /basis must be/)
  refused({ data: [1, 2], shape: [2, 1] }, 'ERR_TYPE', /basis\.data must be a Float32Array or a Float64Array/)
  refused({ ...good, shape: [4, 3] }, 'ERR_SHAPE', /8 elements.*needs 12/)
  refused({ ...good, shape: [8] }, 'ERR_SHAPE', /shape must be \[d, r\]/)
  refused({ ...good, strides: [1, 4] }, 'ERR_ARGUMENT', /no "strides"/)
  refused(
    { data: Float64Array.of(1, Number.NaN), shape: [2, 1] },
    'ERR_NON_FINITE',
    /basis at \[1, 0\] is NaN/,
  )
  t.throws(() => unionBasis([]), { code: 'ERR_EMPTY_SET' })
  t.throws(() => unionBasis([good, gaussian([5, 1], 1)]), { code: 'ERR_SHAPE', message: /bases\[1\].*d = 4/ })
  t.throws(() => randomBasis(3, 4), { code: 'ERR_ARGUMENT', message: /rank is 4, expected at most d = 3/ })
  t.throws(() => randomBasis(3, 1, -1), { code: 'ERR_ARGUMENT', message: /seed/ })
})
