/** Permuted singular values that every backend must give. */

import { QKCovariance } from '../../dist/covariance/qk-covariance.js'
import { termBatch } from '../../dist/covariance/terms-input.js'
import { nullSingularValues } from '../../dist/spectrum/rank/null-values.js'
import { Permutations } from '../../dist/spectrum/rank/permutations.js'
import { svd } from '../../dist/spectrum/svd.js'
import { tensor, terms } from './arithmetic-batches.js'
import { entry } from './arithmetic-reference.js'

/** Largest singular value of a square matrix, by squaring A^T A until one direction is left. */
function largest(a, d) {
  let power = new Float64Array(d * d)
  for (let i = 0; i < d; i++)
    for (let j = 0; j < d; j++) for (let c = 0; c < d; c++) power[i * d + j] += a[c * d + i] * a[c * d + j]
  const gram = power.slice()
  for (let step = 0; step < 30; step++) {
    const norm = Math.hypot(...power)
    const next = new Float64Array(d * d)
    for (let i = 0; i < d; i++)
      for (let j = 0; j < d; j++)
        for (let c = 0; c < d; c++) next[i * d + j] += (power[i * d + c] / norm) * (power[c * d + j] / norm)
    power = next
  }
  // Now a multiple of v v^T: v^T G v / v^T v = trace(P G) / trace(P).
  let above = 0
  let below = 0
  for (let i = 0; i < d; i++) {
    below += power[i * d + i]
    for (let j = 0; j < d; j++) above += power[i * d + j] * gram[j * d + i]
  }
  return Math.sqrt(above / below)
}

/** sum over [weight, query row, key row] of weight q k^T, of a head. */
function combined(q, k, head, keyHead, d, products) {
  const out = new Float64Array(d * d)
  for (const [weight, query, key] of products)
    for (let i = 0; i < d; i++)
      for (let j = 0; j < d; j++)
        out[i * d + j] += weight * entry(q, query, head, i) * entry(k, key, keyHead, j)
  return out
}

const D = 12

export function nullSuite(test, backend) {
  const q = tensor([1, 30, 2, D], { seed: 81 })
  const k = tensor([1, 40, 1, D], { seed: 82 })
  const near = (a, b) => Math.abs(a - b) <= 1e-3 * Math.abs(b)

  test('nulls: sign flips are those of units, every one about as often', async (t) => {
    const list = {
      query: [0, 1, 2],
      pos: [3, 4, 5],
      posOffsets: [0, 1, 2, 3],
      neg: [6, 7, 8],
      negOffsets: [0, 1, 2, 3],
    }
    const draws = 400
    const { observed, permuted } = await nullSingularValues({ q, k, terms: list, draws, seed: 3, backend })
    for (const head of [0, 1]) {
      // A sign of all is no other value: four are left.
      const possible = [0, 1, 2, 3].map((bits) => {
        const products = [0, 1, 2].flatMap((i) => {
          const sign = bits & (1 << i) ? -1 : 1
          return [
            [sign / 3, list.query[i], list.pos[i]],
            [-sign / 3, list.query[i], list.neg[i]],
          ]
        })
        return largest(combined(q, k, head, 0, D, products), D)
      })
      t.true(near(observed[head], possible[0]))
      const counts = possible.map(() => 0)
      for (const value of permuted.subarray(head * draws, (head + 1) * draws)) {
        const which = possible.findIndex((p) => near(value, p))
        t.true(which >= 0, `${value} is none of ${possible}`)
        counts[which] += 1
      }
      // Binomial(400, 1/4): six standard deviations.
      for (const count of counts) t.true(Math.abs(count - 100) < 52, `${counts}`)
    }
    const together = await nullSingularValues({
      ...{ q, k, terms: list, units: [7, 7, 7], draws: 20, backend },
    })
    for (const value of together.permuted.subarray(0, 20)) t.true(near(value, together.observed[0]))
  })

  test('nulls: sets permute which keys are positive, terms of a unit alike', async (t) => {
    const list = {
      query: [0, 1],
      pos: [2, 9],
      posOffsets: [0, 1, 2],
      neg: [3, 4, 10, 11],
      negOffsets: [0, 2, 4],
    }
    const of = (choices) =>
      largest(
        combined(
          ...[q, k, 1, 0, D],
          choices.flatMap((chosen, i) =>
            [list.pos[i], list.neg[2 * i], list.neg[2 * i + 1]].map((key, slot) => [
              (slot === chosen ? 1 : -0.5) / 2,
              list.query[i],
              key,
            ]),
          ),
        ),
        D,
      )
    const alike = [0, 1, 2].map((c) => of([c, c]))
    const all = [0, 1, 2].flatMap((a) => [0, 1, 2].map((b) => of([a, b])))
    const draws = 120
    for (const [units, possible] of [
      [[5, 5], alike],
      [[5, 6], all],
    ]) {
      const { observed, permuted } = await nullSingularValues({ q, k, terms: list, units, draws, backend })
      t.true(near(observed[1], possible[0]))
      const met = new Set()
      for (const value of permuted.subarray(draws)) met.add(possible.findIndex((p) => near(value, p)))
      t.deepEqual([...met].sort(), [...possible.keys()])
    }
  })

  test('nulls: weights, counterfactual queries and estimators, the same on every backend', async (t) => {
    for (const estimator of ['per-query', 'per-pair', 'sum']) {
      const { contrast, ...list } = terms(25, 30, 40, { seed: 9, counterfactual: true, weights: true })
      t.is(contrast.length, 25)
      const units = Int32Array.from({ length: 25 }, (_, i) => i >> 1)
      const options = { q, k, terms: { ...list, group: units }, draws: 12, seed: 2 ** 40 + 1, estimator }
      const here = await nullSingularValues({ ...options, backend })
      const js = await nullSingularValues({ ...options, backend: 'js' })
      here.permuted.forEach((value, i) => {
        t.true(near(value, js.permuted[i]))
      })
      // And by another way: coefficients against permuted terms.
      const batch = termBatch({ ...list, contrast: 'c' }, ['c'])
      const permutations = new Permutations(batch, units, options.seed)
      const coefficients = await permutations.coefficients(0, 13, estimator)
      const { query, key } = permutations.rows()
      for (let draw = 0; draw < 13; draw += 4) {
        const products = Array.from(query, (row, r) => [coefficients[draw * query.length + r], row, key[r]])
        const expected = largest(combined(q, k, 0, 0, D, products), D)
        t.true(near(draw === 0 ? here.observed[0] : here.permuted[draw - 1], expected))
      }
    }
  })

  test('nulls: accepted components are taken out of what was observed and of every draw', async (t) => {
    const list = terms(60, 30, 40, { seed: 10, most: 1 })
    const cov = new QKCovariance({ heads: 2, kvHeads: 1, headDim: D, contrasts: ['c'], backend })
    await cov.add({ q, k, terms: { ...list, contrast: 'c' } })
    const { cPos, cNeg } = await cov.read()
    const delta = cPos.map((value, i) => value - cNeg[i])
    const { u, s, v } = await svd(delta, { n: 2, rows: D, cols: D })
    const first = (basis, rank) => {
      const out = new Float64Array(2 * D * rank)
      for (let i = 0; i < 2 * D; i++) for (let c = 0; c < rank; c++) out[i * rank + c] = basis[i * D + c]
      return out
    }
    const { contrast, ...plain } = list
    t.is(contrast.length, 60)
    const values = []
    for (const rank of [0, 1, 3]) {
      const accepted = { u: first(u, rank), v: first(v, rank), rank }
      const found = await nullSingularValues({ q, k, terms: plain, draws: 8, accepted, backend })
      for (const head of [0, 1]) t.true(near(found.observed[head], s[head * D + rank]))
      values.push(found.permuted)
    }
    for (let i = 0; i < 16; i++) t.true(values[2][i] < values[0][i])
  })

  test('nulls: larger heads and noise, within 1e-3 of the full decomposition', async (t) => {
    const d = 72
    const big = {
      q: tensor([1, 150, 2, d], { seed: 91 }),
      k: tensor([1, 150, 2, d], { seed: 92, dtype: 'bf16' }),
    }
    const { contrast, ...list } = terms(90, 150, 150, { seed: 11, most: 1 })
    t.is(contrast.length, 90)
    const options = { ...big, terms: list, draws: 3, seed: 4 }
    const { permuted } = await nullSingularValues({ ...options, backend })
    const exact = await nullSingularValues({ ...options, backend: 'js' })
    permuted.forEach((value, i) => {
      t.true(near(value, exact.permuted[i]))
    })
  })

  test('nulls: wrong input, NaN, abort, progress', async (t) => {
    const { contrast, ...list } = terms(10, 30, 40, { seed: 12 })
    t.is(contrast.length, 10)
    const good = { q, k, terms: list, draws: 3, backend }
    const bad = { ...q, data: q.data.map(() => Number.NaN) }
    for (const [more, code] of [
      [{ draws: 0 }, 'ERR_ARGUMENT'],
      [{ units: [1] }, 'ERR_SHAPE'],
      [{ drawz: 1 }, 'ERR_ARGUMENT'],
      [{ terms: { ...list, posWeights: new Float32Array(list.pos.length) } }, 'ERR_ARGUMENT'],
      [{ units: [...list.query.keys()].with(3, 0.5) }, 'ERR_RANGE'],
      [{ terms: undefined }, 'ERR_TYPE'],
      [{ terms: { ...list, query: list.query.map(() => 30) } }, 'ERR_RANGE'],
      [{ accepted: { u: new Float64Array(3), v: new Float64Array(3), rank: 1 } }, 'ERR_SHAPE'],
      [{ q: bad }, 'ERR_NON_FINITE'],
      [{ signal: AbortSignal.abort() }, 'ERR_ABORTED'],
    ])
      await t.throwsAsync(nullSingularValues({ ...good, ...more }), { code })
    // The offsets of a term of one key, as covariances refuse them.
    const one = { query: [0], pos: [5], posOffsets: [0, 1], neg: [1], negOffsets: [0, 1] }
    for (const posOffsets of [
      [0, 1_000_000_000],
      [0, -5],
      [0, 3],
      [1, 2],
      [0, 0],
    ]) {
      const wrong = { ...one, posOffsets }
      const cov = new QKCovariance({ heads: 2, kvHeads: 1, headDim: D, contrasts: ['c'], backend })
      const { code, message } = await t.throwsAsync(cov.add({ q, k, terms: { ...wrong, contrast: 'c' } }))
      await t.throwsAsync(nullSingularValues({ ...good, terms: wrong }), { code, message })
    }
    const seen = []
    await nullSingularValues({ ...good, onProgress: (progress) => seen.push(progress) })
    t.deepEqual(seen.at(-1), { draws: 3, total: 3 })
  })

  // Serial: arrays of other tests would be counted too.
  test.serial('nulls: tens of thousands of draws are not looked for one by one', async (t) => {
    const rows = tensor([1, 20, 1, 4], { seed: 5 })
    const list = { query: [0, 1], pos: [0, 2], posOffsets: [0, 1, 2], neg: [1, 3], negOffsets: [0, 1, 2] }
    const draws = 50_000
    const searches = await searchesOf(draws, () =>
      nullSingularValues({ q: rows, k: rows, terms: list, draws, backend }),
    )
    // One search a term would take ten seconds, during which the event loop stands still.
    t.is(searches, 0)
    const names = Array.from({ length: draws }, (_, draw) => `${draw}`)
    const offsets = Int32Array.from({ length: draws + 1 }, (_, draw) => draw)
    const one = { query: new Int32Array(draws), pos: new Int32Array(draws), neg: new Int32Array(draws) }
    const named = { ...one, contrast: names, posOffsets: offsets, negOffsets: offsets }
    t.is(await searchesOf(draws, () => termBatch(named, names)), 0)
  })

  test('nulls: what is given may change after the call; weights of zero give zeros', async (t) => {
    const { contrast, ...list } = terms(10, 30, 40, { seed: 12 })
    t.is(contrast.length, 10)
    const units = new Int32Array(10)
    const options = { q, k, terms: list, units, draws: 5, backend }
    const expected = await nullSingularValues({ ...options, q: { ...q, data: q.data.slice() } })
    const terms2 = Object.fromEntries(Object.entries(list).map(([name, array]) => [name, array.slice()]))
    const running = nullSingularValues({ ...options, terms: terms2, units: units.slice() })
    for (const array of Object.values(terms2)) array.fill(1e9)
    t.deepEqual(await running, expected)
    const nothing = await nullSingularValues({
      ...options,
      terms: { ...list, weights: new Float32Array(10) },
    })
    t.deepEqual([...nothing.observed, ...nothing.permuted], new Array(12).fill(0))
  })
}

/** How often lists of at least `length` entries are searched from their beginning while something runs. */
async function searchesOf(length, run) {
  const names = ['indexOf', 'includes', 'find', 'findIndex']
  const own = names.map((name) => Array.prototype[name])
  let searches = 0
  names.forEach((name, i) => {
    Array.prototype[name] = function search(...given) {
      if (this.length >= length) searches++
      return own[i].apply(this, given)
    }
  })
  try {
    await run()
  } finally {
    names.forEach((name, i) => {
      Array.prototype[name] = own[i]
    })
  }
  return searches
}
