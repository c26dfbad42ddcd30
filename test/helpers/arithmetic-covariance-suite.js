/** Covariance properties that every backend and instruction set must have. */

import { uploadTensor } from '../../dist/covariance/device-tensor.js'
import { QKCovariance } from '../../dist/covariance/qk-covariance.js'
import { LAYOUTS, sequence, tensor, terms } from './arithmetic-batches.js'
import { pairSums, pairsOf, rowSums } from './arithmetic-reference.js'

/** @import { CovarianceSpec, Estimator, KeyScope } from '../../dist/backend/backend.js' */
/** @import { BackendChoice } from '../../dist/backend/select.js' */
/** @import { BatchInput } from '../../dist/covariance/qk-covariance.js' */
/** @import { Dtype } from '../../dist/math/tensor.js' */
/** @import { Layout } from './arithmetic-batches.js' */

/** @typedef {Pick<CovarianceSpec, 'heads' | 'kvHeads' | 'headDim' | 'contrasts' | 'estimator'>} Spec */

const EPS = 2 ** -23
const SIDES = /** @type {const} */ (['positive', 'negative'])
const ESTIMATORS = /** @type {Estimator[]} */ (['per-query', 'per-pair', 'sum'])
const SCOPES = /** @type {KeyScope[]} */ (['before', 'others', 'all'])
const DTYPES = /** @type {Dtype[]} */ (['f32', 'f16', 'bf16'])
const LAYOUT_NAMES = /** @type {Layout[]} */ (Object.keys(LAYOUTS))

/**
 * @param {import('ava').TestFn} test
 * @param {BackendChoice} backend
 */
export function covarianceSuite(test, backend) {
  const make = (/** @type {Spec} */ spec, more = {}) =>
    new QKCovariance({
      heads: spec.heads,
      kvHeads: spec.kvHeads,
      headDim: spec.headDim,
      estimator: spec.estimator,
      backend,
      contrasts: Array.from({ length: spec.contrasts }, (_, c) => `c${c}`),
      ...more,
    })

  /** Largest error of the covariances in units of 2^-23 * sum |q||k|; everything counted is compared too. */
  async function check(t, spec, batch, bound) {
    const cov = make(spec)
    await cov.add(batch)
    const moments = await cov.moments()
    const { cPos, cNeg } = await cov.read()
    const { pairs, weight, terms: count, skipped } = pairsOf(batch, spec.estimator, spec.contrasts)
    const sums = pairSums(batch, spec, pairs)
    t.deepEqual(moments.terms, count)
    t.deepEqual(moments.skipped, skipped)
    const block = spec.heads * spec.headDim ** 2
    let worst = 0
    for (const side of SIDES) {
      const c = side === 'positive' ? cPos : cNeg
      for (let i = 0; i < spec.contrasts; i++) {
        t.true(Math.abs(moments[side].weight[i] - weight[side][i]) <= 1e-6 * weight[side][i])
      }
      for (let i = 0; i < c.length; i++) {
        const w = moments[side].weight[Math.floor(i / block)]
        const size = sums[side].size[i]
        const error = Math.abs(c[i] * w - sums[side].qk[i])
        if (Number.isNaN(error)) {
          t.fail('NaN')
        }
        if (size === 0) {
          t.is(c[i], 0)
        } else {
          worst = Math.max(worst, error / (EPS * size))
        }
      }
    }
    t.true(worst <= bound, `${worst} units of 2^-23, allowed ${bound}`)
    cov.dispose()
    return moments
  }

  for (const estimator of ESTIMATORS) {
    test(`covariance: ${estimator}, contrasts, counterfactual queries, weights, grouped keys, labels`, async (t) => {
      /** @type {Spec} */
      const spec = { heads: 4, kvHeads: 2, headDim: 12, contrasts: 3, estimator }
      const q = tensor([2, 30, 4, 12], { seed: 1 })
      const k = tensor([3, 25, 2, 12], { seed: 2 })
      const options = { contrasts: 3, counterfactual: true, weights: true, keyWeights: true }
      const labels = SCOPES.map((keyScope, i) =>
        sequence(25, { keyScope, first: 5 * i, contrast: i % 2, seed: i + 3, shift: i === 0 ? 1 : 0 }),
      )
      await check(t, spec, { q, k, terms: terms(150, 60, 75, options), labels }, 4)
    })
  }

  /** @type {{ layout: Layout, dtype: Dtype, d: number }[]} */
  const kinds = [
    ...LAYOUT_NAMES.flatMap((layout) => DTYPES.map((dtype) => ({ layout, dtype, d: 9 }))),
    ...[1, 2, 16, 31, 64, 80, 130].map((d) => /** @type {const} */ ({ layout: 'BTHd', dtype: 'f32', d })),
    ...[16, 40, 64].map((d) => /** @type {const} */ ({ layout: 'BHTd', dtype: 'f16', d })),
  ]
  for (const { layout, dtype, d } of kinds) {
    test(`covariance: keys ${layout}, ${dtype}, d ${d}, views with an offset`, async (t) => {
      /** @type {Spec} */
      const spec = { heads: 2, kvHeads: 1, headDim: d, contrasts: 1, estimator: 'per-query' }
      const q = tensor([2, 9, 2, d], { layout: layout === 'BHdT' ? 'BHTd' : layout, dtype, offset: 3 })
      const k = tensor([2, 9, 1, d], { layout, dtype, seed: 5, offset: 1 })
      await check(t, spec, { q, k, terms: terms(20, 18, 18, { most: 3 }) }, 4)
    })
  }

  for (const { dtype, d } of DTYPES.flatMap((x) => [8, 24, 64, 136].map((size) => ({ dtype: x, d: size })))) {
    test(`covariance: pairs, ${dtype}, d ${d}`, async (t) => {
      /** @type {Spec} */
      const spec = { heads: 2, kvHeads: 1, headDim: d, contrasts: 2, estimator: 'per-query' }
      const q = tensor([1, 90, 2, d], { dtype, seed: 61 })
      const k = tensor([1, 70, 1, d], { dtype, seed: 62 })
      // More than one slice of a contrast, the last one odd.
      await check(t, spec, { q, k, terms: terms(301, 90, 70, { contrasts: 2, most: 1 }) }, 4)
    })
  }

  test('covariance: labels of more than one tile, d 72', async (t) => {
    /** @type {Spec} */
    const spec = { heads: 2, kvHeads: 2, headDim: 72, contrasts: 1, estimator: 'per-query' }
    const q = tensor([1, 75, 2, 72], { seed: 63 })
    const k = tensor([1, 75, 2, 72], { seed: 64, mean: 1 })
    await check(t, spec, { q, k, labels: [sequence(75, { labels: 9, seed: 8 })] }, 20)
  })

  test('resident tensors: the same bits, read by many batches until they are released', async (t) => {
    /** @type {Spec} */
    const spec = { heads: 4, kvHeads: 2, headDim: 16, contrasts: 1, estimator: 'per-query' }
    for (const dtype of /** @type {const} */ (['f32', 'bf16'])) {
      const q = tensor([2, 30, 4, 16], { dtype, layout: 'BHTd', seed: 71, offset: 3 })
      const k = tensor([2, 20, 2, 16], { dtype, seed: 72 })
      const batches = [1, 2].map((seed) => terms(90, 60, 40, { most: seed, seed }))
      const plain = make(spec)
      for (const list of batches) {
        await plain.add({ q, k, terms: list })
      }
      const [onQ, onK] = await Promise.all([q, k].map((x) => uploadTensor(x, { backend })))
      t.deepEqual([onQ.dtype, onQ.shape], [dtype, q.shape])
      q.data.fill(0)
      k.data.fill(0)
      const resident = make(spec)
      for (const list of batches) {
        await resident.add({ q: onQ, k: onK, terms: list })
      }
      t.deepEqual(await resident.moments(), await plain.moments())
      await t.throwsAsync(resident.add({ q: onK, k: onQ, terms: batches[0] }), { code: 'ERR_SHAPE' })
      onQ.release()
      onQ.release()
      await t.throwsAsync(resident.add({ q: onQ, k: onK, terms: batches[0] }), { code: 'ERR_ARGUMENT' })
      const elsewhere = make(spec, { backend: backend === 'js' ? 'cpu' : 'js' })
      await t.throwsAsync(elsewhere.add({ q: onK, k: onK, terms: batches[0] }), {
        code: 'ERR_ARGUMENT',
        message: /uploaded to/,
      })
      onK.release()
    }
    await t.throwsAsync(uploadTensor({ data: new Float32Array(3), shape: [1, 1, 1, 4] }, { backend }), {
      code: 'ERR_SHAPE',
    })
  })

  test('covariance: labels against the naive T x T rule', async (t) => {
    for (const keyScope of SCOPES) {
      for (const estimator of ESTIMATORS) {
        /** @type {Spec} */
        const spec = { heads: 1, kvHeads: 1, headDim: 5, contrasts: 2, estimator }
        const q = tensor([1, 60, 1, 5], { seed: 8 })
        const k = tensor([1, 60, 1, 5], { seed: 9, mean: 3 })
        const labels = [
          sequence(60, { keyScope, seed: 4, contrast: 1 }),
          sequence(12, { keyScope, labels: 40, seed: 6 }),
        ]
        await check(t, spec, { q, k, labels }, 20)
      }
    }
  })

  test('contract 1: error bounds hold for many rows, zero-mean and all-positive', async (t) => {
    /** @type {Spec} */
    const spec = { heads: 1, kvHeads: 1, headDim: 6, contrasts: 1, estimator: 'per-query' }
    for (const { abs, bound } of [
      { abs: false, bound: 4 },
      { abs: true, bound: 128 / 2 + 2 },
    ]) {
      const q = tensor([1, 500, 1, 6], { abs, seed: 11 })
      const k = tensor([1, 500, 1, 6], { abs, seed: 12 })
      await check(t, spec, { q, k, terms: terms(20_000, 500, 500, { most: 1 }) }, bound)
      // and for many keys in a set
      await check(t, spec, { q, k, terms: terms(130, 500, 500, { most: 600 }) }, bound)
    }
  })

  test('contract 1: keys whose sum leaves the range of f32, but not their mean', async (t) => {
    /** @type {Spec} */
    const spec = { heads: 1, kvHeads: 1, headDim: 20, contrasts: 1, estimator: 'per-query' }
    const q = tensor([1, 10, 1, 20], { seed: 13 })
    const k = tensor([1, 40, 1, 20], { seed: 14, abs: true })
    const factor = 2 ** 125
    for (let i = 0; i < k.data.length; i++) {
      k.values[i] = k.data[i] *= factor
    }
    await check(t, spec, { q, k, terms: terms(60, 10, 40, { most: 40 }) }, 34)
  })

  test('contract 1: a chunk of one large and many tiny products', async (t) => {
    /** @type {Spec} */
    const spec = { heads: 1, kvHeads: 1, headDim: 4, contrasts: 1, estimator: 'sum' }
    const q = tensor([1, 128, 1, 4], { abs: true })
    q.data.fill(2 ** -23.6)
    q.data.fill(1, 0, 4)
    q.values.set(q.data)
    const k = tensor([1, 1, 1, 4], {})
    k.data.fill(1)
    k.values.set(k.data)
    const offsets = Int32Array.from({ length: 129 }, (_, i) => i)
    const zeros = new Int32Array(128)
    const query = Int32Array.from({ length: 128 }, (_, i) => i)
    const list = { contrast: zeros, query, posOffsets: offsets, pos: zeros, negOffsets: offsets, neg: zeros }
    await check(t, spec, { q, k, terms: list }, 66)
  })

  test('magnitudes of 1e-30 and 1e30 keep their digits', async (t) => {
    /** @type {Spec} */
    const spec = { heads: 1, kvHeads: 1, headDim: 8, contrasts: 1, estimator: 'per-query' }
    for (const [qScale, kScale] of [
      [1e-30, 1e-30],
      [1e30, 1e30],
      [1e-30, 1e30],
      [3e37, 1e-38],
    ]) {
      const q = tensor([1, 40, 1, 8], { seed: 21 })
      const k = tensor([1, 40, 1, 8], { seed: 22 })
      for (const { x, scale } of [
        { x: q, scale: qScale },
        { x: k, scale: kScale },
      ]) {
        x.data.forEach((value, i) => {
          x.data[i] = value * scale
        })
        x.values.set(x.data)
      }
      await check(t, spec, { q, k, terms: terms(300, 40, 40) }, 4)
    }
  })

  test('moments: weighted sums of q and k, and centring', async (t) => {
    for (const estimator of /** @type {const} */ (['per-query', 'per-pair'])) {
      /** @type {Spec} */
      const spec = { heads: 2, kvHeads: 1, headDim: 7, contrasts: 1, estimator }
      const q = tensor([1, 30, 2, 7], { seed: 31, mean: 2 })
      const k = tensor([1, 30, 1, 7], { seed: 32, mean: -1 })
      const batch = {
        q,
        k,
        terms: terms(200, 30, 30, { counterfactual: true, weights: true, keyWeights: true }),
      }
      const { pairs, weight } = pairsOf(batch, estimator, 1)
      const cov = make(spec)
      await cov.add(batch)
      const moments = await cov.moments()
      const centred = await cov.read({ center: true })
      const sums = pairSums(batch, spec, pairs)

      for (const side of SIDES) {
        const w = weight[side][0]
        const own = rowSums(batch, spec, pairs, side)
        for (const what of /** @type {const} */ (['q', 'k'])) {
          own[what].forEach((x, at) => {
            t.true(Math.abs(moments[side][what][at] - x) <= 1e-5 * w, `${side} ${what}`)
          })
        }
        const c = side === 'positive' ? centred.cPos : centred.cNeg
        c.forEach((x, at) => {
          const row = Math.floor(at / 7)
          const product = (own.q[row] / w) * (own.k[Math.floor(row / 7) * 7 + (at % 7)] / w)
          t.true(Math.abs(x - (sums[side].qk[at] / w - product)) <= 1e-5)
        })
      }
    }
    const sum = make({ heads: 1, kvHeads: 1, headDim: 2, contrasts: 1, estimator: 'sum' })
    await t.throwsAsync(sum.read({ center: true }), { code: 'ERR_ARGUMENT' })
  })

  test('contract 2: same bits for any number of threads, run after run', async (t) => {
    /** @type {Spec} */
    const spec = { heads: 6, kvHeads: 3, headDim: 24, contrasts: 2, estimator: 'per-query' }
    const q = tensor([2, 80, 6, 24], { seed: 41 })
    const k = tensor([2, 80, 3, 24], { seed: 42 })
    const batches = [400, 3].map((n, seed) => ({
      q,
      k,
      terms: terms(n, 160, 160, { contrasts: 2, seed }),
      labels: [sequence(80, { contrast: 1, seed })],
    }))
    let first
    for (const threads of [1, 2, 3, 1]) {
      const cov = make(spec, { threads })
      await Promise.all(batches.map((batch) => cov.add(batch)))
      const moments = await cov.moments()
      first ??= moments
      t.deepEqual(moments, first)
    }
  })

  test('contract 2: same bits for any number of threads where few heads have many terms', async (t) => {
    /** @type {Spec} */
    const spec = { heads: 1, kvHeads: 1, headDim: 5, contrasts: 3, estimator: 'per-query' }
    const q = tensor([1, 900, 1, 5], { seed: 43 })
    const k = tensor([1, 900, 1, 5], { seed: 44 })
    const labels = [0, 1, 2, 3, 4].map((i) => sequence(600, { first: 50 * i, contrast: i % 2, seed: i }))
    const batches = [9000, 2500].map((n, seed) => ({
      q,
      k,
      labels,
      terms: terms(n, 900, 900, { contrasts: 3, seed, weights: true }),
    }))
    await check(t, spec, batches[0], 20)
    let first
    for (const threads of [1, 2, 5]) {
      const cov = make(spec, { threads })
      await Promise.all(batches.map((batch) => cov.add(batch)))
      const moments = await cov.moments()
      first ??= moments
      t.deepEqual(moments, first)
    }
  })

  test('contract 2: batching agrees to 1e-6, merging of shards to 1e-12', async (t) => {
    /** @type {Spec} */
    const spec = { heads: 2, kvHeads: 2, headDim: 10, contrasts: 2, estimator: 'per-pair' }
    const q = tensor([1, 50, 2, 10], { seed: 51 })
    const k = tensor([1, 50, 2, 10], { seed: 52 })
    const parts = [1, 2, 3].map((seed) => ({
      q,
      k,
      terms: terms(170, 50, 50, { contrasts: 2, seed, weights: true }),
    }))
    const one = make(spec)
    for (const part of parts) {
      await one.add(part)
    }
    const merged = make(spec)
    for (const part of parts) {
      const shard = make(spec)
      await shard.add(part)
      await merged.merge(shard)
    }
    const other = make(spec, { backend: backend === 'js' ? 'auto' : 'js' })
    for (const part of parts) {
      await other.add(part)
    }
    const near = (a, b, tolerance) => {
      const scale = Math.max(...b.positive.qk.map(Math.abs))
      for (const side of ['positive', 'negative']) {
        for (const what of ['weight', 'q', 'k', 'qk']) {
          for (let i = 0; i < a[side][what].length; i++) {
            if (!(Math.abs(a[side][what][i] - b[side][what][i]) <= tolerance * scale)) {
              return false
            }
          }
        }
      }
      return true
    }
    t.true(near(await merged.moments(), await one.moments(), 1e-12))
    t.deepEqual((await merged.moments()).terms, (await one.moments()).terms)
    t.true(near(await other.moments(), await one.moments(), 1e-5))
    const doubled = make(spec)
    await doubled.merge(one)
    await doubled.merge(await other.moments())
    t.deepEqual(
      (await doubled.moments()).terms,
      (await one.moments()).terms.map((x) => 2 * x),
    )
    await t.throwsAsync(merged.merge(make({ ...spec, headDim: 11 })), { code: 'ERR_ARGUMENT' })
    await t.throwsAsync(merged.merge(make({ ...spec, estimator: 'sum' })), { code: 'ERR_ARGUMENT' })
  })

  test('reading: heads, f32, a contrast without terms is zero', async (t) => {
    /** @type {Spec} */
    const spec = { heads: 3, kvHeads: 1, headDim: 4, contrasts: 2, estimator: 'per-query' }
    const q = tensor([1, 20, 3, 4])
    const k = tensor([1, 20, 1, 4], { seed: 2 })
    const cov = make(spec)
    await cov.add({ q, k, terms: { ...terms(30, 20, 20), contrast: 'c1' } })
    const all = await cov.read()
    const some = await cov.read({ heads: [2, 0], dtype: 'f32' })
    t.true(some.cPos instanceof Float32Array)
    t.deepEqual([...some.terms], [0, 30])
    t.true(all.cPos.subarray(0, 48).every((x) => x === 0) && all.cPos.subarray(48).every((x) => x !== 0))
    t.deepEqual(some.cNeg.subarray(32, 48), Float32Array.from(all.cNeg.subarray(48 + 32, 48 + 48)))
    t.deepEqual(some.cNeg.subarray(48, 64), Float32Array.from(all.cNeg.subarray(48, 48 + 16)))
    await t.throwsAsync(cov.read({ heads: [3] }), { code: 'ERR_RANGE' })
    cov.dispose()
    await t.throwsAsync(cov.read(), { code: 'ERR_ARGUMENT' })
  })
}
