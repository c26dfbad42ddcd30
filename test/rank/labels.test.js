/** Label sequences: whole sequences exchange their labels, since signs would be wrong where labels stick. */

import test from 'ava'
import { QKCovariance, testRank } from '../../dist/index.js'
import { unitKey } from '../../dist/math/unit-hash.js'
import { labelForm } from '../../dist/spectrum/rank/exchange/label-form.js'
import {
  donorsOf,
  exchangeGroups,
  labelUnits,
  meanDonors,
} from '../../dist/spectrum/rank/exchange/label-sequences.js'
import { LabelData } from '../../dist/spectrum/rank/exchange/label-source.js'
import { normal, uniform } from '../helpers/arithmetic-random.js'

/** @import { KeyScope } from '../../dist/backend/backend.js' */

const SCOPES = /** @type {KeyScope[]} */ (['before', 'others', 'all'])

/**
 * Sequences of a length, self attention over rows of their own.
 * @param {number} first
 * @param {number} length
 * @param {Int32Array} labels
 * @param {KeyScope} [keyScope]
 */
function sequence(first, length, labels, keyScope = 'before') {
  const rows = Int32Array.from({ length }, (_, i) => first + i)
  const positions = Int32Array.from({ length }, (_, i) => i)
  return {
    contrast: 0,
    keyScope,
    queryRows: rows,
    queryPositions: positions,
    queryLabels: labels,
    keyRows: rows,
    keyPositions: positions,
    keyLabels: labels,
  }
}

/**
 * Sequences one behind another, with labels at random or as `draw` gives them.
 * @param {{ lengths: number[], classes?: number, keyScope?: KeyScope, seed: number,
 *   draw?: (random: () => number, i: number, length: number, labels: Int32Array) => number }} options
 */
function randomSequences({ lengths, classes = 3, keyScope = 'before', seed, draw }) {
  const next = uniform(seed)
  let first = 0
  return lengths.map((length) => {
    const labels = new Int32Array(length)
    for (let i = 0; i < length; i++) {
      labels[i] = draw ? draw(next, i, length, labels) : Math.floor(classes * next())
    }
    first += length
    return sequence(first - length, length, labels, keyScope)
  })
}

const rowsOf = (lengths) => lengths.reduce((a, b) => a + b)

test('a form is u^T D v of the covariances, in every scope and estimator, with null labels too', async (t) => {
  const d = 4
  const next = normal(1)
  const [u, v] = [0, 1].map(() => Float64Array.from({ length: d }, next))
  const q = Float32Array.from({ length: 12 * d }, next)
  const k = Float32Array.from({ length: 12 * d }, next)
  const along = (rows, basis) =>
    Float64Array.from({ length: 12 }, (_, r) => basis.reduce((sum, x, i) => sum + x * rows[r * d + i], 0))
  for (const keyScope of SCOPES) {
    const [labels] = randomSequences({
      lengths: [12],
      seed: 2,
      keyScope,
      draw: (random) => Math.floor(4 * random()) - 1,
    })
    for (const estimator of /** @type {const} */ (['per-query', 'per-pair', 'sum'])) {
      const covariance = new QKCovariance({
        heads: 1,
        headDim: d,
        contrasts: ['c'],
        estimator,
        backend: 'js',
      })
      const shape = [1, 12, 1, d]
      await covariance.add({
        q: { data: q, shape },
        k: { data: k, shape },
        labels: { ...labels, contrast: 'c' },
      })
      const { positive, negative } = await covariance.moments()
      let expected = 0
      for (let i = 0; i < d * d; i++) {
        const entry = positive.qk[i] / positive.weight[0] - negative.qk[i] / negative.weight[0]
        expected += u[Math.floor(i / d)] * entry * v[i % d]
      }
      const found = labelForm(labels, along(q, u), along(k, v), estimator, [
        positive.weight[0],
        negative.weight[0],
      ])
      t.true(Math.abs(found - expected) < 1e-9, `${keyScope} ${estimator}: ${found}, ${expected}`)
    }
  }
})

test('draws exchange labels within shapes: permutations that follow from ids, even over units', (t) => {
  const lengths = [...new Array(12).fill(5), ...new Array(12).fill(7)]
  const sequences = randomSequences({ lengths, seed: 3 })
  const units = labelUnits(
    sequences,
    lengths.map((_, i) => `s${i}`),
  )
  const groups = exchangeGroups(units)
  t.deepEqual(groups.map((group) => group.length).sort(), [12, 12])
  t.deepEqual([...donorsOf(units, groups, 1, 0)], [...units.keys()])
  const counts = new Map()
  for (let draw = 1; draw <= 600; draw++) {
    const donors = donorsOf(units, groups, 1, draw)
    t.is(new Set(donors).size, 24)
    t.true(donors.every((donor, i) => units[donor].shape === units[i].shape))
    counts.set(donors[0], (counts.get(donors[0]) ?? 0) + 1)
  }
  t.is(counts.size, 12)
  t.true([...counts.values()].every((count) => count > 20 && count < 90))
  // Another order of the same sequences: the same partners.
  const order = [...sequences.keys()].reverse()
  const again = labelUnits(
    order.map((i) => sequences[i]),
    order.map((i) => `s${i}`),
  )
  t.deepEqual(
    again.map(({ key }) => key),
    units.map(({ key }) => key),
  )
  t.deepEqual(donorsOf(again, exchangeGroups(again), 1, 9), donorsOf(units, groups, 1, 9))
})

test('sequences without a partner are cut into blocks that have one, and stay in one half', (t) => {
  const lengths = Array.from({ length: 30 }, (_, i) => 20 + i)
  const units = labelUnits(
    randomSequences({ lengths, seed: 4 }),
    lengths.map((_, i) => `s${i}`),
  )
  // Blocks exchange labels with blocks from the same place: the first 20 or so positions, or those after them.
  const groups = exchangeGroups(units)
  t.is(groups.length, 2)
  for (const group of groups) {
    t.is(new Set(group.map((i) => units[i].sequences[0].queryPositions[0])).size, 1)
  }
  const length = units[0].sequences[0].queryRows.length
  t.true(
    units.length * length >= 0.7 * rowsOf(lengths) && length >= 20,
    `${units.length} blocks of ${length}`,
  )
  const wholes = new Set(units.map(({ whole }) => `${whole}`))
  t.true(
    wholes.size <= 30 &&
      [...wholes].every((whole) => lengths.some((_, i) => `${unitKey(`s${i}`)}` === whole)),
  )
  for (const { queryRows, keyRows, queryPositions } of units.flatMap(({ sequences }) => sequences)) {
    t.deepEqual(queryRows, keyRows)
    t.true(queryPositions.every((position, i) => i === 0 || position === queryPositions[i - 1] + 1))
  }
})

test('null matrices are sums with exchanged labels less the mean over donors', async (t) => {
  const lengths = new Array(11).fill(9)
  const [heads, d] = [2, 3]
  const next = normal(5)
  const data = () => Float32Array.from({ length: rowsOf(lengths) * heads * d }, next)
  const estimator = /** @type {const} */ ('per-query')
  const rows = { heads, kvHeads: heads, headDim: d, q: data(), k: data(), estimator }
  const units = labelUnits(
    randomSequences({ lengths, seed: 6 }),
    lengths.map((_, i) => `s${i}`),
  )
  const source = await new LabelData('cpu', rows, async () => rows, units, 3).source('effect')
  const groups = exchangeGroups(units)
  /** u^T D v of a pair of units by the definition: loops over queries and keys. */
  const form = (unit, donor, head, u, v) => {
    const [{ queryRows }] = units[unit].sequences
    const labels = units[donor].sequences[0].queryLabels
    let total = 0
    let counted = 0
    queryRows.forEach((row, i) => {
      const sides = [[], []]
      for (let j = 0; j < i; j++) {
        sides[labels[j] === labels[i] ? 0 : 1].push(queryRows[j])
      }
      if (sides.some((side) => side.length === 0)) {
        return
      }
      counted += 1
      const dot = (from, at, basis) =>
        basis.reduce((sum, x, c) => sum + x * from[(at * heads + head) * d + c], 0)
      const mean = (side) => side.reduce((sum, at) => sum + dot(rows.k, at, v), 0) / side.length
      total += dot(rows.q, row, u) * (mean(sides[0]) - mean(sides[1]))
    })
    return { total, counted }
  }
  const terms = units.reduce((sum, _, i) => sum + form(i, i, 0, [0, 0, 0], [0, 0, 0]).counted, 0)
  const unit = (i) => Float64Array.from({ length: d }, (_, c) => (c === i ? 1 : 0))
  const expected = (head, donors) => {
    const out = new Float64Array(d * d)
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        units.forEach((_, at) => {
          const of = (donor) => form(at, donor, head, unit(i), unit(j)).total
          const mean = meanDonors(groups[0], at).reduce((sum, donor) => sum + of(donor), 0) / 11
          out[i * d + j] += (of(donors[at]) - mean) / terms
        })
      }
    }
    return out
  }
  const near = (a, b) => a.every((x, i) => Math.abs(x - b[i]) < 1e-5)
  const observed = await source.observed([0, 1])
  t.true(near(observed.subarray(0, 9), expected(0, [...units.keys()])))
  t.true(near(observed.subarray(9), expected(1, [...units.keys()])))
  // Contributions of units sum to the same form.
  const [u, v] = [
    [0.6, 0.8, 0],
    [0, 0.6, -0.8],
  ].map((x) => Float64Array.from(x))
  const sum = (await source.contributions(1, u, v, 1)).reduce((a, b) => a + b)
  let whole = 0
  for (let i = 0; i < 9; i++) {
    whole += u[Math.floor(i / 3)] * observed[9 + i] * v[i % 3]
  }
  t.true(Math.abs(sum - whole) < 1e-6, `${sum}, ${whole}`)
  const directed = await source.directed(1, u, v, 40)
  t.true(Math.abs(directed[0] - whole) < 1e-6)
  // The second value of a draw is that of its matrix.
  const values = await source.values({ heads: [1], from: 0, to: 4, components: 1 })
  for (let b = 0; b < 4; b++) {
    const matrix = expected(1, donorsOf(units, groups, 3, b))
    const gram = (x) =>
      matrix.reduce((all, value, i) => {
        all[Math.floor(i / 3)] += value * x[i % 3]
        return all
      }, new Float64Array(3))
    let x = Float64Array.of(1, 0.7, 0.4)
    let norm = 0
    for (let step = 0; step < 400; step++) {
      const y = gram(x)
      const z = new Float64Array(3)
      for (let i = 0; i < 9; i++) {
        z[i % 3] += matrix[i] * y[Math.floor(i / 3)]
      }
      norm = Math.hypot(...z)
      x = z.map((value) => value / norm)
    }
    t.true(Math.abs(values[b] / Math.sqrt(norm) - 1) < 1e-4)
  }
  source.release()
})

const drawn = {
  sticky: (next, i, _, labels) => (i > 0 && next() < 0.85 ? labels[i - 1] : Math.floor(4 * next())),
  drifting: (next, i, length) => (next() < i / length ? 0 : 1 + Math.floor(3 * next())),
}

/** Activations that resemble those before them, as a model's do. */
function activations(lengths, heads, d, seed) {
  const next = normal(seed)
  const data = new Float32Array(rowsOf(lengths) * heads * d)
  let row = 0
  for (const length of lengths) {
    for (let i = 0; i < length; i++, row++) {
      for (let x = 0; x < heads * d; x++) {
        const before = i === 0 ? 0 : data[(row - 1) * heads * d + x] - 0.5
        data[row * heads * d + x] = 0.5 + 0.7 * before + (i === 0 ? 1 : 0.714) * next()
      }
    }
  }
  return { data, shape: [1, row, heads, d] }
}

for (const kind of Object.keys(drawn)) {
  test(`${kind} labels that mean nothing are not discovered; with signs they would be`, async (t) => {
    const lengths = new Array(30).fill(40)
    const [heads, d] = [24, 6]
    const labels = randomSequences({ lengths, seed: 7, draw: drawn[kind] }).map(
      ({ contrast, ...rest }) => rest,
    )
    // Queries and keys of one stream, which drifts: near positions are alike, and more often of one label.
    const [q, k, stream] = [8, 9, 15].map((seed) => activations(lengths, heads, d, seed))
    for (const side of [q, k]) {
      for (let i = 0; i < side.data.length; i++) {
        const position = Math.floor(i / (heads * d)) % 40
        side.data[i] += 2 * (stream.data[i] - 0.5) + (i % d === 0 ? position / 10 : 0)
      }
    }
    const input = { q, k, labels, draws: 99, mostDraws: 99 }
    const found = ({ tests }, hypothesis) => tests[0].filter(({ p }) => p[hypothesis] <= 0.05).length
    const right = await testRank(input)
    t.true(found(right, 'effect') <= 5 && found(right, 'interaction') <= 5)
    const wrong = await testRank({ ...input, exchangeable: true })
    t.true(found(wrong, 'effect') >= 10, `${found(wrong, 'effect')} of 24`)
  })
}

test('labels that queries and keys carry are found, replicated, and by every backend alike', async (t) => {
  const lengths = new Array(40).fill(24)
  const [heads, d, classes] = [3, 6, 3]
  const sequences = randomSequences({ lengths, classes, seed: 10, keyScope: 'others' })
  const [q, k] = [activations(lengths, heads, d, 31), activations(lengths, heads, d, 32)]
  for (const { queryRows, queryLabels } of sequences) {
    queryRows.forEach((row, i) => {
      for (const side of [q, k]) {
        side.data[row * heads * d + queryLabels[i]] += 1.5
      }
    })
  }
  const labels = sequences.map(({ contrast, ...rest }) => rest)
  const run = (backend) => testRank({ q, k, labels, draws: 99, mostDraws: 999, backend })
  const cpu = await run('cpu')
  t.true(cpu.ranks[0] >= 2 && cpu.ranks[0] <= classes)
  t.deepEqual([...cpu.ranks.subarray(1)], [0, 0])
  t.true(cpu.tests[0][0].replication.replicated)
  const js = await run('js')
  t.deepEqual(
    js.tests[0].map(({ p }) => p),
    cpu.tests[0].map(({ p }) => p),
  )
})

test('one sequence, or none of a shape with another, cannot be tested', async (t) => {
  const [one] = randomSequences({ lengths: [12], seed: 13 })
  const { contrast, ...labels } = one
  const rows = activations([12], 1, 3, 14)
  await t.throwsAsync(testRank({ q: rows, k: rows, labels: [labels] }), { code: 'ERR_FEW_UNITS' })
})

test('sequences of a group exchange their labels together', async (t) => {
  // Twenty groups of one to three near-copies: the same labels, nearly the same activations.
  const next = uniform(41)
  const [length, heads, d] = [16, 30, 4]
  const sizes = Array.from({ length: 24 }, (_, g) => 1 + (g % 3))
  const groups = sizes.flatMap((size, g) => new Array(size).fill(g))
  const lengths = groups.map(() => length)
  const [q, k] = [activations(lengths, heads, d, 42), activations(lengths, heads, d, 43)]
  const noise = normal(44)
  const labels = []
  groups.forEach((g, s) => {
    const first = groups.indexOf(g)
    for (const side of [q, k]) {
      for (let i = 0; first < s && i < length * heads * d; i++) {
        side.data[s * length * heads * d + i] = side.data[first * length * heads * d + i] + 0.1 * noise()
      }
    }
    const own =
      first < s ? labels[first].queryLabels : Int32Array.from({ length }, () => Math.floor(3 * next()))
    const { contrast, ...rest } = sequence(s * length, length, own)
    labels.push(rest)
  })
  const run = (units) => testRank({ q, k, labels, units, draws: 99, mostDraws: 99 })
  const found = ({ tests }) => tests[0].filter(({ p }) => p.effect <= 0.05).length
  const right = await run(groups)
  t.is(right.tests[0][0].units, 24)
  t.true(found(right) <= 6, `${found(right)} of 30`)
  await t.throwsAsync(run(new Array(groups.length).fill('one')), { code: 'ERR_FEW_UNITS' })
})

test('arrangements are counted: five sequences have 120, six of three shapes have 8', async (t) => {
  const of = (lengths) => {
    const labels = randomSequences({ lengths, seed: 51 }).map(({ contrast, ...rest }) => rest)
    return testRank({
      q: activations(lengths, 1, 3, 52),
      k: activations(lengths, 1, 3, 53),
      labels,
      mostDraws: 199,
    })
  }
  t.is((await of(new Array(5).fill(8))).tests[0][0].units, 5)
  // Lengths without a partner that cannot be cut alike.
  await t.throwsAsync(of([8, 8]), { code: 'ERR_FEW_UNITS' })
})

test('labels of nothing but null are too few units, by name', async (t) => {
  const lengths = new Array(30).fill(6)
  const labels = randomSequences({ lengths, seed: 61, draw: () => -1 }).map(({ contrast, ...rest }) => ({
    ...rest,
    queryRows: new Int32Array(0),
    queryPositions: new Int32Array(0),
    queryLabels: new Int32Array(0),
    keyRows: new Int32Array(0),
    keyPositions: new Int32Array(0),
    keyLabels: new Int32Array(0),
  }))
  const rows = activations(lengths, 1, 3, 62)
  await t.throwsAsync(testRank({ q: rows, k: rows, labels }), {
    code: 'ERR_FEW_UNITS',
    message: /contrast: 0 units/,
  })
})
