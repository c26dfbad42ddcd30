/** The test of rank on arrays: against its definition, on every backend, with what it must refuse. */

import test from 'ava'
import { svd, testRank } from '../../dist/index.js'
import { unitKey } from '../../dist/math/unit-hash.js'
import { flipRows } from '../../dist/spectrum/rank/exchange/flip-rows.js'
import { flipBits } from '../../dist/spectrum/rank/exchange/signs.js'
import { adjustedByRate, atMost } from '../../dist/spectrum/rank/false-discovery.js'
import { normal } from '../helpers/arithmetic-random.js'
import { largest, projected } from '../helpers/flips-reference.js'
import { plantedTerms, reordered } from '../helpers/rank-data.js'

const close = (t, a, b, limit) => t.true(Math.abs(a - b) <= limit * Math.abs(b), `${a}, expected ${b}`)

test('planted components are counted, and nothing is found where there is nothing', async (t) => {
  const data = plantedTerms({ units: 200, heads: 6, d: 8, planted: 2, rank: 3, strength: 2, seed: 1 })
  const { p, ranks, tests, warnings, contrasts } = await testRank(data)
  t.deepEqual([...ranks], [3, 3, 0, 0, 0, 0])
  t.deepEqual(contrasts, ['contrast'])
  t.deepEqual(warnings, [])
  t.deepEqual(
    tests[0].map(({ discovered }) => discovered),
    [true, true, false, false, false, false],
  )
  t.deepEqual([...p.subarray(0, 2)], [1e-4, 1e-4], 'nothing of 9,999 draws comes near')
  for (const test of tests[0].slice(0, 2)) {
    t.is(test.draws, 9_999)
    t.is(test.units, 200)
    t.is(test.componentP.length, 4)
    t.true(test.componentP.every((x, i) => i === 0 || x >= test.componentP[i - 1]))
    t.true(test.replication.replicated && Math.abs(test.replication.ratio - 1) < 0.5)
    t.true(test.p.effect <= 0.05 && test.p.interaction <= 0.05)
    t.deepEqual(test.blocks.flat(), [0, 1, 2])
  }
  t.true(tests[0].slice(2).every(({ draws, rank }) => draws < 9_999 && rank === 0))
})

/** What was observed, then the draws, by the definition: signs of units, dense matrices, in float64. */
function drawnMatrices({ q, k, terms }, head, seed, draws) {
  const [, , heads, d] = q.shape
  const n = terms.query.length
  const units = Array.from({ length: n }, (_, t) => Math.floor(terms.query[t] / q.shape[1]))
  const ids = [...new Set(units)]
  const keys = ids.map((id) => unitKey(`${id}`))
  const words = Math.ceil((draws + 1) / 32)
  const bits = flipBits(seed, keys, 0, draws + 1)
  return Array.from({ length: draws + 1 }, (_, b) => {
    const matrix = new Float64Array(d * d)
    for (let t = 0; t < n; t++) {
      const unit = ids.indexOf(units[t])
      const sign = (bits[unit * words + (b >>> 5)] >>> (b & 31)) & 1 ? -1 : 1
      for (let i = 0; i < d; i++) {
        const x = (sign * q.data[(terms.query[t] * heads + head) * d + i]) / n
        for (let j = 0; j < d; j++) {
          const key = (rows) => k.data[(rows[t] * heads + head) * d + j]
          matrix[i * d + j] += x * (key(terms.pos) - key(terms.neg))
        }
      }
    }
    return matrix
  })
}

/** Their largest singular values. */
function reference(data, head, seed, draws) {
  return drawnMatrices(data, head, seed, draws).map((matrix) => largest(matrix, data.q.shape[3]))
}

for (const backend of /** @type {const} */ (['js', 'cpu'])) {
  test(`p is that of the definition: ${backend}`, async (t) => {
    const data = plantedTerms({ units: 12, each: 3, heads: 3, d: 5, planted: 1, strength: 0.8, seed: 4 })
    const { tests } = await testRank({ ...data, draws: 99, mostDraws: 99, seed: 11, backend })
    tests[0].forEach((test, head) => {
      const [observed, ...nulls] = reference(data, head, 11, 99)
      close(t, test.statistic, observed, 1e-5)
      const above = nulls.filter((value) => value >= observed * (1 - 1e-6)).length
      t.is(test.p.effect, (1 + above) / 100)
      const mean = nulls.reduce((a, b) => a + b) / 99
      close(t, test.null.mean, mean, 1e-5)
      close(t, test.null.p95, nulls.toSorted((a, b) => a - b)[94], 1e-5)
    })
  })
}

/** One-to-one terms with each side's mean taken off: queries, positive and negative keys. */
function centred({ q, k, terms }) {
  const [, , heads, d] = q.shape
  const without = ({ data, shape }, sides) => {
    const out = Float64Array.from(data)
    for (const rows of sides) {
      for (let i = 0; i < heads * d; i++) {
        const mean = rows.reduce((sum, row) => sum + data[row * heads * d + i], 0) / rows.length
        for (const row of rows) {
          out[row * heads * d + i] -= mean
        }
      }
    }
    return { data: out, shape }
  }
  return { q: without(q, [terms.query]), k: without(k, [terms.pos, terms.neg]), terms }
}

for (const [backend, hypothesis] of /** @type {const} */ ([
  ['js', 'effect'],
  ['cpu', 'effect'],
  ['cpu', 'interaction'],
])) {
  test(`every component has the null that it was compared with: ${backend}, ${hypothesis}`, async (t) => {
    const [units, d, draws, seed] = [60, 5, 99, 3]
    const data = plantedTerms({ units, heads: 2, d, planted: 1, rank: 2, strength: 2, mean: 0.4, seed: 4 })
    const { tests } = await testRank({ ...data, hypothesis, draws, mostDraws: draws, seed, backend })
    const [{ componentNull, componentP, null: ofFirst }, noise] = tests[0]
    t.is(componentP.length, 3)
    t.is(componentNull.length, 3)
    t.deepEqual(componentNull[0], ofFirst)
    t.deepEqual(noise.componentNull, [noise.null])
    const rows = hypothesis === 'interaction' ? centred(data) : data
    const [observed, ...nulls] = drawnMatrices(rows, 0, seed, draws)
    // Units of unequal shares have a factor a little above sqrt(U / (U - 1)), the same of every component.
    const first = nulls.reduce((sum, matrix) => sum + largest(matrix, d) / draws, 0)
    const factor = hypothesis === 'interaction' ? componentNull[0].mean / first : 1
    t.true(factor === 1 || (factor > Math.sqrt(units / (units - 1)) && factor < 1.02), `${factor}`)
    const { u, v } = await svd(observed, { n: 1, rows: d, cols: d, rank: d })
    const column = (side, c) => Array.from({ length: d }, (_, i) => side[i * d + c])
    componentNull.forEach(({ mean, sd, p95 }, k) => {
      const before = [...Array(k).keys()]
      const [us, vs] = [u, v].map((side) => before.map((c) => column(side, c)))
      const values = nulls.map((matrix) => factor * largest(projected(matrix, d, us, vs), d))
      const expected = values.reduce((a, b) => a + b) / draws
      close(t, mean, expected, 1e-5)
      close(t, sd, Math.sqrt(values.reduce((sum, x) => sum + (x - expected) ** 2, 0) / (draws - 1)), 1e-4)
      close(t, p95, values.toSorted((a, b) => a - b)[94], 1e-5)
    })
    t.true(componentNull[1].mean < componentNull[0].mean, 'a deflated null is smaller')
  })
}

test('a component that took more draws has the figures of the first ones, as `null`', async (t) => {
  const data = plantedTerms({ units: 60, heads: 2, d: 5, planted: 2, rank: 2, strength: 2, seed: 4 })
  const few = await testRank({ ...data, draws: 99, mostDraws: 99 })
  const many = await testRank({ ...data, draws: 99, mostDraws: 999 })
  t.is(many.tests[0][0].draws, 999)
  t.is(many.tests[0][0].componentNull.length, 3)
  t.deepEqual(many.tests[0][0].componentNull, few.tests[0][0].componentNull)
})

test('the order of terms, the backend and repetition change nothing', async (t) => {
  const data = plantedTerms({ units: 40, each: 2, heads: 4, d: 8, planted: 2, strength: 0.9, seed: 5 })
  const units = data.terms.query.map((row) => row >> 1)
  const run = async (of, more) => (await testRank({ ...of, draws: 199, mostDraws: 999, ...more })).tests[0]
  const first = await run(data, { units })
  t.deepEqual(await run(data, { units }), first, 'the same bits')
  const order = [...units.keys()].sort((a, b) => ((a * 37) % 80) - ((b * 37) % 80))
  const shuffled = await run(reordered(data, order), { units: order.map((i) => units[i]) })
  const js = await run(data, { units, backend: 'js' })
  for (const other of [shuffled, js]) {
    other.forEach((test, h) => {
      t.deepEqual([test.p, test.rank, test.componentP], [first[h].p, first[h].rank, first[h].componentP])
      close(t, test.statistic, first[h].statistic, 1e-5)
    })
  }
  t.notDeepEqual((await run(data, { units, seed: 1 }))[2].null, first[2].null)
})

test('several contrasts are one family; each has its own terms, units keep their signs', async (t) => {
  const one = plantedTerms({ units: 60, heads: 3, d: 6, planted: 1, strength: 2, seed: 6 })
  const contrast = Array.from(one.terms.query, (_, i) => (i % 2 ? 'odd' : 'even'))
  const both = await testRank({ ...one, terms: { ...one.terms, contrast }, draws: 199 })
  t.deepEqual(both.contrasts, ['even', 'odd'])
  t.deepEqual([...both.ranks], [1, 0, 0, 1, 0, 0])
  const even = reordered(
    one,
    [...one.terms.query.keys()].filter((i) => i % 2 === 0),
  )
  const n = even.terms.query.length
  even.terms.posOffsets = even.terms.negOffsets = Int32Array.from({ length: n + 1 }, (_, i) => i)
  const alone = await testRank({ ...even, draws: 199 })
  t.deepEqual(
    alone.tests[0].map(({ p }) => p),
    both.tests[0].map(({ p }) => p),
  )
  // Six p-values in place of three: what is discovered alone needs twice the evidence here.
  t.true(both.tests[0].every(({ q }, h) => q >= alone.tests[0][h].q))
})

/** What a term shares with the others of its prompt is no evidence for each of them. */
test('an offset that the terms of a prompt share is not discovered; with the term as the unit it would be', async (t) => {
  const heads = 40
  const [units, each, d] = [40, 5, 8]
  const data = plantedTerms({ units, each, heads, d, seed: 8 })
  const next = normal(9)
  for (let u = 0; u < units; u++) {
    for (let h = 0; h < heads; h++) {
      const [left, right] = [0, 1].map(() => Float64Array.from({ length: d }, () => 1.5 * next()))
      for (let e = 0; e < each; e++) {
        const term = u * each + e
        for (let i = 0; i < d; i++) {
          data.q.data[(term * heads + h) * d + i] += left[i]
          data.k.data[(2 * term * heads + h) * d + i] += right[i]
        }
      }
    }
  }
  const found = (tests) => tests[0].filter(({ p }) => p.effect <= 0.05).length
  const right = await testRank({ ...data, mostDraws: 199 })
  t.true(found(right.tests) <= 7, `${found(right.tests)} of 40`)
  const wrong = await testRank({ ...data, units: data.terms.query, mostDraws: 199 })
  t.true(found(wrong.tests) >= 30, `${found(wrong.tests)} of 40: the test would see it`)
})

test('a constant key offset with a mean query is an effect and no interaction', async (t) => {
  const data = plantedTerms({ units: 300, heads: 30, d: 8, mean: 0.6, seed: 12 })
  const [, , heads, d] = data.q.shape
  for (let term = 0; term < 300; term++) {
    for (let h = 0; h < heads; h++) {
      data.k.data[(2 * term * heads + h) * d] += 0.6
    }
  }
  const { tests } = await testRank({ ...data, mostDraws: 199 })
  t.true(tests[0].every(({ p }) => p.effect <= 0.01))
  t.true(tests[0].filter(({ p }) => p.interaction <= 0.05).length <= 6)
  const centred = await testRank({ ...data, hypothesis: 'interaction', mostDraws: 199 })
  t.deepEqual(
    centred.tests[0].map(({ p }) => p),
    tests[0].map(({ p }) => p),
  )
  t.true(centred.tests[0].every(({ hypothesis }) => hypothesis === 'interaction'))
})

/** Counterfactual rows: two sides, each with its own query, in one unit. */
test('rows of both sides: centred as the hypothesis and the estimator say', async (t) => {
  const next = normal(20)
  const [terms, d] = [7, 3]
  const value = (length) => Float32Array.from({ length }, () => 0.5 + next())
  const rows = {
    heads: 1,
    kvHeads: 1,
    headDim: d,
    rows: 2 * terms,
    q: value(2 * terms * d),
    k: value(2 * terms * d),
    term: Int32Array.from({ length: 2 * terms }, (_, i) => i >> 1),
    side: Int8Array.from({ length: 2 * terms }, (_, i) => (i % 2 ? -1 : 1)),
    keys: Float64Array.from({ length: 2 * terms }, (_, i) => (i % 2 ? 4 : 1)),
    weight: Float64Array.from({ length: 2 * terms }, (_, i) => 1 + ((i >> 1) % 3)),
    unit: Int32Array.from({ length: 2 * terms }, (_, i) => i >> 1),
    unitKeys: Array.from({ length: terms }, (_, u) => unitKey(`${u}`)),
  }
  const matrix = ({ q, k, coefficients, rows: n }) => {
    const out = new Float64Array(d * d)
    for (let r = 0; r < n; r++) {
      for (let i = 0; i < d * d; i++) {
        out[i] += coefficients[r] * q[r * d + Math.floor(i / d)] * k[r * d + (i % d)]
      }
    }
    return out
  }
  const sum = (of) => Array.from({ length: 2 * terms }, (_, r) => of(r)).reduce((a, b) => a + b)
  /** sum over a side of weight * query entry * key entry, each less its centre. */
  const side = (s, { qc, kc, total }) =>
    Float64Array.from({ length: d * d }, (_, at) => {
      const [i, j] = [Math.floor(at / d), at % d]
      return sum((r) => {
        if (rows.side[r] !== s) {
          return 0
        }
        const keys = rows.keys[r]
        return (rows.weight[r] * (rows.q[r * d + i] - qc[i]) * (rows.k[r * d + j] - keys * kc[j])) / total
      })
    })
  const less = (a, b) => a.map((x, i) => x - b[i])
  const zero = new Float64Array(d)
  const pairs = (s) => sum((r) => (s && rows.side[r] !== s ? 0 : rows.weight[r] * rows.keys[r]))
  const weight = (s) => sum((r) => (rows.side[r] === s ? rows.weight[r] : 0))
  const mean = (name, s, total) =>
    Float64Array.from({ length: d }, (_, i) =>
      sum((r) => {
        if (s && rows.side[r] !== s) {
          return 0
        }
        return (rows.weight[r] * (name === 'q' ? rows.keys[r] : 1) * rows[name][r * d + i]) / total
      }),
    )
  const check = async (estimator, hypothesis, counterfactual, centre) => {
    const total = (s) => (estimator === 'per-pair' ? pairs(s) : weight(s))
    const expected = less(
      side(1, { ...centre(1), total: total(1) }),
      side(-1, { ...centre(-1), total: total(-1) }),
    )
    const made = await flipRows({ ...rows, estimator, counterfactual }, hypothesis)
    const worst = Math.max(...matrix(made).map((x, i) => Math.abs(x - expected[i])))
    t.true(worst < 1e-5, `${estimator} ${hypothesis} ${counterfactual}: ${worst}`)
    return made
  }
  const pooled = (name) => mean(name, 0, pairs(0))
  for (const estimator of ['per-pair', 'sum']) {
    for (const counterfactual of [false, true]) {
      await check(estimator, 'effect', counterfactual, () => ({ qc: zero, kc: pooled('k') }))
    }
  }
  await check('per-pair', 'interaction', true, () => ({ qc: pooled('q'), kc: pooled('k') }))
  const sided = await check('per-pair', 'interaction', false, (s) => ({
    qc: mean('q', s, pairs(s)),
    kc: mean('k', s, pairs(s)),
  }))
  // Seven units of which none outweighs the others: little more than the square root.
  const [factor] = sided.nullFactors
  t.true(factor >= Math.sqrt(7 / 6) && factor <= 7 / 6)
  rows.keys.fill(1)
  const paired = await check('per-query', 'interaction', true, () => ({ qc: pooled('q'), kc: pooled('k') }))
  t.is(paired.nullFactors[0], 1)
  await check('per-query', 'effect', true, () => ({ qc: zero, kc: zero }))
})

test('counterfactual queries: what changes together with its key is found', async (t) => {
  const next = normal(30)
  const [n, heads, d] = [150, 4, 6]
  const q = Float32Array.from({ length: 2 * n * heads * d }, next)
  const k = Float32Array.from({ length: 2 * n * heads * d }, next)
  for (let term = 0; term < n; term++) {
    for (const half of [0, 1]) {
      const z = half ? -1.5 : 1.5
      const at = (2 * term + half) * heads * d
      q[at] += z
      k[at] += half ? -z : z
    }
  }
  const rows = (half) => Int32Array.from({ length: n }, (_, i) => 2 * i + half)
  const offsets = Int32Array.from({ length: n + 1 }, (_, i) => i)
  const shape = [n, 2, heads, d]
  const terms = {
    query: rows(0),
    queryNeg: rows(1),
    pos: rows(0),
    neg: rows(1),
    posOffsets: offsets,
    negOffsets: offsets,
  }
  const { ranks, warnings } = await testRank({
    q: { data: q, shape },
    k: { data: k, shape },
    terms,
    draws: 199,
  })
  t.deepEqual([...ranks], [1, 0, 0, 0])
  const few = { ...terms, query: terms.query.subarray(0, 30), queryNeg: terms.queryNeg.subarray(0, 30) }
  for (const set of ['pos', 'neg']) {
    few[set] = few[set].subarray(0, 30)
    few[`${set}Offsets`] = offsets.subarray(0, 31)
  }
  t.deepEqual(warnings, [])
  const small = await testRank({ q: { data: q, shape }, k: { data: k, shape }, terms: few, draws: 199 })
  t.deepEqual(small.warnings, [], 'no assumption of symmetry is made')
})

test('few units: warned of, and refused where no outcome could be significant', async (t) => {
  const of = (units) => plantedTerms({ units, heads: 2, d: 4, seed: units })
  t.regex((await testRank(of(19))).warnings[0], /only 19 units/)
  t.regex((await testRank(of(99))).warnings[0], /99 units; p assumes symmetric unit contributions/)
  t.deepEqual((await testRank(of(100))).warnings, [])
  await t.throwsAsync(testRank(of(5)), {
    code: 'ERR_FEW_UNITS',
    message: /5 units that can be exchanged cannot reach p <= 0.05/,
  })
  t.is((await testRank(of(6))).tests[0].length, 2)
  await t.throwsAsync(testRank({ ...of(6), alpha: 0.01 }), { code: 'ERR_FEW_UNITS' })
})

test('with six units every draw is one of 32: ties count, and no p is below 1/32', async (t) => {
  const data = plantedTerms({ units: 6, heads: 20, d: 4, planted: 20, strength: 3, seed: 40 })
  const { tests } = await testRank({ ...data, draws: 999, mostDraws: 999 })
  t.true(tests[0].every(({ p }) => p.effect > 0.02))
  t.true(tests[0].some(({ p }) => p.effect < 0.06))
})

test('what cancels to rounding is no evidence', async (t) => {
  const data = plantedTerms({ units: 50, heads: 2, d: 6, seed: 41 })
  data.terms.neg = data.terms.pos
  const { p, ranks } = await testRank(data)
  t.deepEqual(
    [[...p], [...ranks]],
    [
      [1, 1],
      [0, 0],
    ],
  )
})

test('exchangeable keys: permuted within sets, refused where they are shared', async (t) => {
  const next = normal(50)
  const [n, size, heads, d] = [60, 4, 3, 5]
  const q = Float32Array.from({ length: n * heads * d }, next)
  const k = Float32Array.from({ length: n * size * heads * d }, next)
  for (let term = 0; term < n; term++) {
    const z = 1.5 * next()
    q[term * heads * d] += z
    k[term * size * heads * d] += z
  }
  const terms = {
    query: Int32Array.from({ length: n }, (_, i) => i),
    pos: Int32Array.from({ length: n }, (_, i) => i * size),
    posOffsets: Int32Array.from({ length: n + 1 }, (_, i) => i),
    neg: Int32Array.from({ length: n * (size - 1) }, (_, i) => Math.floor(i / 3) * size + 1 + (i % 3)),
    negOffsets: Int32Array.from({ length: n + 1 }, (_, i) => 3 * i),
  }
  const input = {
    q: { data: q, shape: [n, 1, heads, d] },
    k: { data: k, shape: [n, size, heads, d] },
    terms,
    draws: 199,
    mostDraws: 999,
  }
  for (const estimator of /** @type {const} */ (['per-query', 'per-pair', 'sum'])) {
    const { ranks, warnings } = await testRank({ ...input, estimator, exchangeable: true })
    t.deepEqual([...ranks], [1, 0, 0], estimator)
    t.deepEqual(warnings, [])
  }
  const counterfactual = { ...terms, queryNeg: terms.query.map((row) => (row + 1) % n) }
  await t.throwsAsync(testRank({ ...input, terms: counterfactual, exchangeable: true }), {
    code: 'ERR_ARGUMENT',
    message: /counterfactual/,
  })
  const shared = { ...terms, neg: terms.neg.slice() }
  shared.neg[3] = shared.neg[0]
  await t.throwsAsync(testRank({ ...input, terms: shared, exchangeable: true }), {
    code: 'ERR_ARGUMENT',
    message: /shared keys are not exchangeable/,
  })
  t.deepEqual([...(await testRank({ ...input, terms: shared })).ranks], [1, 0, 0])
})

test('grouped keys, 16-bit rows, weights of terms and of keys', async (t) => {
  const next = normal(60)
  const [n, heads, kvHeads, d] = [80, 4, 2, 6]
  const bits = (length, add) => {
    const values = Float32Array.from({ length }, (_, i) => next() + add(i))
    return Uint16Array.from(new Uint32Array(values.buffer), (word) => word >>> 16)
  }
  const latent = Float64Array.from({ length: n }, () => 2 * next())
  const q = bits(n * heads * d, (i) => (i % (heads * d) === 2 * d ? latent[Math.floor(i / heads / d)] : 0))
  const k = bits(2 * n * kvHeads * d, (i) =>
    i % (2 * kvHeads * d) === d ? latent[Math.floor(i / 2 / kvHeads / d)] : 0,
  )
  const plain = plantedTerms({ units: n, heads: 1, d, seed: 1 }).terms
  const { ranks } = await testRank({
    q: { data: q, dtype: 'bf16', shape: [n, 1, heads, d] },
    k: { data: k, dtype: 'bf16', shape: [n, 2, kvHeads, d] },
    terms: {
      ...plain,
      weights: Float32Array.from({ length: n }, (_, i) => 1 + (i % 2)),
      posWeights: new Float32Array(n).fill(2),
    },
  })
  // Query heads 2 and 3 read key head 1; head 2 has the latent.
  t.deepEqual([...ranks], [0, 0, 1, 0])
})

/** One prompt that outweighs all others is no evidence of an interaction, whatever its size. */
test('a unit of 30 times the size of the others is no interaction', async (t) => {
  for (const units of [50, 200]) {
    const data = plantedTerms({ units, heads: 60, d: 8, seed: 100 + units })
    for (let i = 0; i < 60 * 8; i++) {
      data.q.data[i] *= 30
      data.k.data[i] *= 30
      data.k.data[60 * 8 + i] *= 30
    }
    const { tests } = await testRank({ ...data, mostDraws: 199 })
    for (const hypothesis of ['effect', 'interaction']) {
      const found = tests[0].filter(({ p }) => p[hypothesis] <= 0.05).length
      t.true(found <= 9, `${units} units, ${hypothesis}: ${found} of 60`)
    }
  }
})

test('a q-value that is the level but for rounding is a discovery', (t) => {
  // 1515 heads, three of them without an exceedance in 10,099 draws: q = 0.05 and a rounding.
  const p = [...new Array(3).fill(1 / 10_100), ...new Array(1512).fill(0.5)]
  const [q] = adjustedByRate(p)
  t.true(q > 0.05 && atMost(q, 0.05) && !atMost(0.0501, 0.05))
})

test('a head that the draws do not decide says how many it needs', async (t) => {
  const data = plantedTerms({ units: 60, heads: 30, d: 6, planted: 1, strength: 3, seed: 70 })
  const { tests } = await testRank({ ...data, draws: 99, mostDraws: 99 })
  // 1 / 100 > 0.05 / 30: no p of 99 draws is small enough among 30 heads; the maximum of all is.
  t.true(tests[0][0].discovered && tests[0][0].pMaximum <= 0.05)
  const two = plantedTerms({ units: 60, heads: 30, d: 6, planted: 1, strength: 0.95, seed: 71 })
  const undecided = (await testRank({ ...two, draws: 39, mostDraws: 39 })).tests[0].filter(
    (x) => x.unresolvedNeeds,
  )
  t.true(undecided.every(({ discovered, unresolvedNeeds }) => !discovered && unresolvedNeeds > 39))
  const enough = await testRank({ ...data, draws: 99 })
  t.true(enough.tests[0][0].draws >= 599 && enough.tests[0][0].q <= 0.05)
})

test('near ties are one block, separate values are their own', async (t) => {
  const next = normal(80)
  const make = (strengths) => {
    const data = plantedTerms({ units: 2_000, heads: 1, d: 8, seed: 82 })
    for (let u = 0; u < 2_000; u++) {
      strengths.forEach((strength, c) => {
        const z = next()
        data.q.data[u * 8 + c] += strength * z
        data.k.data[2 * u * 8 + 7 - c] += strength * z
      })
    }
    return data
  }
  const apart = await testRank({ ...make([3, 1.5]), draws: 199, mostDraws: 199 })
  t.deepEqual(apart.tests[0][0].blocks, [[0], [1]])
  const tied = await testRank({ ...make([2, 2]), draws: 199, mostDraws: 199 })
  t.deepEqual(tied.tests[0][0].blocks, [[0, 1]])
})

test('an abort ends the test, progress is told', async (t) => {
  const data = plantedTerms({ units: 100, heads: 4, d: 8, planted: 4, seed: 90 })
  const told = []
  await testRank({ ...data, onProgress: (progress) => told.push(progress) })
  t.deepEqual(told, [
    { done: 1, total: 2 },
    { done: 2, total: 2 },
  ])
  const controller = new AbortController()
  const running = testRank({ ...data, backend: 'js', signal: controller.signal })
  setTimeout(() => controller.abort(), 50)
  await t.throwsAsync(running, { code: 'ERR_ABORTED' })
  await t.throwsAsync(testRank({ ...data, signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
})

const good = plantedTerms({ units: 30, heads: 2, d: 4, seed: 95 })
const broken = { ...good.q, data: good.q.data.slice() }
broken.data[4 * 9 + 3] = Number.NaN
/** @type {[string, any, string, RegExp][]} */
const wrong = [
  ['an option that is none', { level: 1 }, 'ERR_ARGUMENT', /has no "level"/],
  ['no terms', { terms: undefined }, 'ERR_ARGUMENT', /either terms or labels/],
  ['terms that are null', { terms: null }, 'ERR_TYPE', /terms must be an object/],
  ['labels of numbers', { terms: undefined, labels: [5] }, 'ERR_TYPE', /labels must be an array/],
  ['a level in words', { alpha: '0.01' }, 'ERR_ARGUMENT', /alpha/],
  ['terms and labels', { labels: [] }, 'ERR_ARGUMENT', /either terms or labels/],
  ['a level of 1', { alpha: 1 }, 'ERR_ARGUMENT', /alpha is 1/],
  ['a hypothesis that is none', { hypothesis: 'any' }, 'ERR_ARGUMENT', /hypothesis/],
  ['no draws', { draws: 0 }, 'ERR_ARGUMENT', /draws/],
  ['absurd draws', { draws: 1e15 }, 'ERR_ARGUMENT', /draws/],
  ['a limit below the draws', { mostDraws: 10 }, 'ERR_ARGUMENT', /mostDraws/],
  ['units of another length', { units: [1, 2] }, 'ERR_SHAPE', /units has 2/],
  ['units that are none', { units: 'all' }, 'ERR_TYPE', /units/],
  ['a unit that is half', { units: new Array(30).fill(0.5) }, 'ERR_TYPE', /units\[0\]/],
  ['rows that are not finite', { q: broken }, 'ERR_NON_FINITE', /q: row 4, head 1/],
  ['the interaction of sums', { estimator: 'sum', hypothesis: 'interaction' }, 'ERR_ARGUMENT', /sum/],
  ['a key outside', { terms: { ...good.terms, pos: good.terms.pos.map(() => 99) } }, 'ERR_RANGE', /pos/],
  ['a short tensor', { q: { ...good.q, shape: [31, 1, 2, 4] } }, 'ERR_SHAPE', /q/],
  ['exchangeable as a word', { exchangeable: 'yes' }, 'ERR_TYPE', /exchangeable/],
]
for (const [what, change, code, message] of wrong) {
  test(`refused: ${what}`, async (t) => {
    await t.throwsAsync(testRank({ ...good, ...change }), { code, message })
  })
}

test('the estimator sum has an effect and no interaction', async (t) => {
  const data = plantedTerms({ units: 80, heads: 2, d: 5, planted: 1, strength: 2, seed: 97 })
  const { tests } = await testRank({ ...data, estimator: 'sum' })
  t.is(tests[0][0].p.interaction, null)
  t.is(tests[0][0].rank, 1)
})
