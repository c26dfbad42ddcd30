/** What covariances do with memory that is not theirs and with input that is wrong. */

import { QKCovariance } from '../../dist/covariance/qk-covariance.js'
import { sequence, tensor, terms } from './arithmetic-batches.js'

const D = 6

export function inputSuite(test, backend) {
  const make = (more = {}) =>
    new QKCovariance({ heads: 4, kvHeads: 2, headDim: D, contrasts: ['a', 'b'], backend, ...more })
  const batch = (more = {}) => ({
    q: tensor([2, 20, 4, D], { seed: 1 }),
    k: tensor([2, 15, 2, D], { seed: 2 }),
    terms: terms(300, 40, 30, { contrasts: 2 }),
    ...more,
  })

  test('contract 6: copied before the call returns, unless shared or transferred', async (t) => {
    const expected = make()
    await expected.add(batch())
    const moments = await expected.moments()

    const copied = make()
    const mine = batch()
    const promise = copied.add(mine)
    mine.q.data.fill(Number.NaN)
    mine.k.data.fill(7)
    for (const array of Object.values(mine.terms)) {
      array.fill(-1)
    }
    await promise
    t.deepEqual(await copied.moments(), moments)

    const shared = make()
    const over = batch()
    for (const x of [over.q, over.k]) {
      const data = new Float32Array(new SharedArrayBuffer(4 * x.data.length + 8), 8, x.data.length)
      data.set(x.data)
      x.data = data
    }
    await shared.add(over)
    t.deepEqual(await shared.moments(), moments)

    const moved = make()
    const given = batch({ transfer: true })
    const adding = moved.add(given)
    t.is(given.q.data.length, 0)
    t.is(given.k.data.length, 0)
    await adding
    t.deepEqual(await moved.moments(), moments)
  })

  test('contract 6: a refused batch leaves transferred buffers with the caller', async (t) => {
    const cov = make()
    const refused = async (more, code) => {
      const given = batch({ transfer: true, ...more })
      await t.throwsAsync(cov.add(given), { code })
      for (const { data } of [given.q, given.k]) {
        t.true(data.length > 0)
      }
    }
    const list = terms(300, 40, 30, { contrasts: 2 })
    await refused({ k: { ...tensor([2, 15, 2, D]), shape: [2, 16, 2, D] } }, 'ERR_SHAPE')
    await refused({ terms: { ...list, pos: list.pos.map(() => 30) } }, 'ERR_RANGE')
    await refused({ terms: { ...list, query: list.query.map(() => -1) } }, 'ERR_RANGE')
    await refused({ terms: { ...list, contrast: list.contrast.map(() => 2) } }, 'ERR_RANGE')
    await refused({ terms: { ...list, posOffsets: list.posOffsets.map((x) => x + 1) } }, 'ERR_RANGE')
    await refused({ terms: { ...list, negOffsets: list.negOffsets.map(() => 0) } }, 'ERR_EMPTY_SET')
    await refused({ terms: { ...list, weights: new Float32Array(300).fill(-1) } }, 'ERR_ARGUMENT')
    await refused(
      { terms: undefined, labels: { ...sequence(10), queryRows: [...Array(10).fill(40)] } },
      'ERR_RANGE',
    )
    await refused({ signal: AbortSignal.abort() }, 'ERR_ABORTED')

    const many = Array.from({ length: 20 }, () => batch({ transfer: true }))
    const settled = await Promise.allSettled(many.map((given) => cov.add(given)))
    settled.forEach(({ status }, i) => {
      t.is(status, i < 16 ? 'fulfilled' : 'rejected')
      t.is(many[i].q.data.length, i < 16 ? 0 : 960)
    })
    const disposed = make()
    disposed.dispose()
    const late = batch({ transfer: true })
    await t.throwsAsync(disposed.add(late), { code: 'ERR_ARGUMENT' })
    t.is(late.q.data.length, 960)
  })

  test('contract 6: buffers that move and buffers that cannot, with transfer', async (t) => {
    const expected = make()
    await expected.add(batch())
    const moments = await expected.moments()
    const over = (buffer, offset, from) => {
      const data = new Float32Array(buffer, offset, from.data.length)
      data.set(from.data)
      return { ...from, data }
    }
    const bytes = 4 * 2 * 15 * 2 * D
    // Small Buffers of Node share one, which does not move.
    const pooled = Buffer.allocUnsafe(bytes)
    const buffers = {
      resizable: [new ArrayBuffer(bytes, { maxByteLength: 2 * bytes }), 0],
      growable: [new SharedArrayBuffer(bytes, { maxByteLength: 2 * bytes }), 0],
      shared: [new SharedArrayBuffer(bytes + 8), 8],
      WebAssembly: [new WebAssembly.Memory({ initial: 1 }).buffer, 16],
      pooled: [pooled.buffer, pooled.byteOffset],
    }
    for (const [name, [buffer, offset]] of Object.entries(buffers)) {
      const cov = make()
      const given = batch({ transfer: true })
      await cov.add({ ...given, k: over(buffer, offset, given.k) })
      t.deepEqual(await cov.moments(), moments, name)
    }
  })

  test('contract 6: short, detached, resized, mistyped, misshapen input', async (t) => {
    const cov = make()
    const refused = async (more, code, message = /./) => {
      await t.throwsAsync(cov.add(batch(more)), { code, message })
    }
    const q = tensor([2, 20, 4, D])
    await refused({ q: { ...q, data: q.data.subarray(1) } }, 'ERR_SHAPE', /q has 959 elements.*need 960/)
    await refused({ q: { ...q, data: new Float64Array(960) } }, 'ERR_TYPE', /q\.data must be a Float32Array/)
    await refused({ q: { ...q, dtype: 'f16' } }, 'ERR_TYPE', /Uint16Array/)
    await refused({ q: { ...q, dtype: 'f64' } }, 'ERR_ARGUMENT', /dtype/)
    await refused({ q: { ...q, shape: [2, 20, 3, D] } }, 'ERR_SHAPE', /3 heads, expected 4/)
    await refused({ q: { ...q, shape: [2, 20, 4, D - 1] } }, 'ERR_SHAPE', /head dimension 5, expected 6/)
    await refused({ q: { ...q, shape: [40, 4, D] } }, 'ERR_SHAPE', /\[batch, pos, heads, d\]/)
    await refused({ q: { ...q, strides: [480, 24, 6, -1] } }, 'ERR_SHAPE', /strides\[3\]/)
    await refused({ q: { ...q, strides: [480, 24, 6, 2] } }, 'ERR_SHAPE', /elements/)
    await refused({ q: { ...q, strides: [2 ** 52, 24, 6, 1] } }, 'ERR_SHAPE', /elements/)
    await refused({ q: { ...q, shape: [2 ** 20, 2 ** 20, 4, D] } }, 'ERR_SHAPE')
    await refused(
      { q: { ...q, shape: [2 ** 16, 2 ** 16, 4, D], strides: [0, 0, 6, 1] } },
      'ERR_SHAPE',
      /rows/,
    )
    await refused({ terms: undefined }, 'ERR_ARGUMENT', /terms or labels/)

    const gone = tensor([2, 20, 4, D])
    structuredClone(gone.data.buffer, { transfer: [gone.data.buffer] })
    await refused({ q: gone }, 'ERR_SHAPE', /detached/)
    t.throws(() => new Float32Array(new ArrayBuffer(16), 2), { instanceOf: RangeError })

    const resizable = new ArrayBuffer(4 * 960, { maxByteLength: 8 * 960 })
    const view = new Float32Array(resizable, 0, 960)
    view.set(q.data)
    const ok = make()
    const adding = ok.add(batch({ q: { ...q, data: view } }))
    resizable.resize(16)
    await adding
    await refused({ q: { ...q, data: view } }, 'ERR_SHAPE')
    t.deepEqual([...(await cov.moments()).terms], [0, 0])
  })

  test('terms: indices, offsets, sets and weights are checked by name and place', async (t) => {
    const cov = make()
    const refused = async (change, code, message) => {
      const list = terms(300, 40, 30, { contrasts: 2, weights: true, keyWeights: true })
      await t.throwsAsync(cov.add(batch({ terms: { ...list, ...change(list) } })), { code, message })
    }
    const set = (array, i, x) => {
      const copy = array.slice()
      copy[i] = x
      return copy
    }
    await refused((l) => ({ query: set(l.query, 7, 40) }), 'ERR_RANGE', /query\[7\] is 40/)
    await refused((l) => ({ query: set(l.query, 7, -1) }), 'ERR_RANGE', /query\[7\] is -1/)
    await refused((l) => ({ queryNeg: set(l.query, 9, 99) }), 'ERR_RANGE', /queryNeg\[9\]/)
    await refused((l) => ({ pos: set(l.pos, 3, 30) }), 'ERR_RANGE', /pos\[3\] is 30/)
    await refused((l) => ({ neg: set(l.neg, 4, 2 ** 30) }), 'ERR_RANGE', /neg\[4\]/)
    await refused((l) => ({ contrast: set(l.contrast, 2, 2) }), 'ERR_RANGE', /contrast\[2\] is 2/)
    await refused(() => ({ contrast: 'z' }), 'ERR_UNKNOWN_CONTRAST', /'z'/)
    await refused((l) => ({ posOffsets: set(l.posOffsets, 0, 1) }), 'ERR_RANGE', /posOffsets\[0\]/)
    await refused((l) => ({ posOffsets: set(l.posOffsets, 5, 1e6) }), 'ERR_RANGE', /posOffsets/)
    await refused((l) => ({ posOffsets: set(l.posOffsets, 5, l.posOffsets[4]) }), 'ERR_EMPTY_SET', /term 4/)
    await refused(
      (l) => ({ negOffsets: set(l.negOffsets, 300, 1e6) }),
      'ERR_RANGE',
      /negOffsets ends at 1000000/,
    )
    await refused((l) => ({ negOffsets: l.negOffsets.subarray(1) }), 'ERR_SHAPE', /negOffsets has 300/)
    await refused(
      (l) => ({ weights: set(l.weights, 6, Number.NaN) }),
      'ERR_ARGUMENT',
      /weights\[6\] is (nan|NaN)/,
    )
    await refused((l) => ({ weights: set(l.weights, 6, -1) }), 'ERR_ARGUMENT', /weights\[6\]/)
    await refused((l) => ({ posWeights: l.posWeights.map(() => 0) }), 'ERR_ARGUMENT', /weights of term 0/)
    await refused(() => ({ query: 'x' }), 'ERR_TYPE', /query/)
    await refused((l) => ({ query: set([...l.query], 1, 0.5) }), 'ERR_RANGE', /query\[1\] is 0\.5/)
    const l = sequence(10, { keyScope: 'before' })
    await t.throwsAsync(cov.add(batch({ labels: { ...l, queryPositions: l.queryPositions.toReversed() } })), {
      code: 'ERR_RANGE',
      message: /labels\[0\]\.queryPositions does not ascend at index 1/,
    })
    t.deepEqual([...(await cov.moments()).terms], [0, 0])
  })

  for (const { size, n } of [
    { size: 'a small batch', n: 3 },
    { size: 'a large batch', n: 2000 },
  ]) {
    test(`NaN names tensor, head and row, and adds nothing: ${size}`, async (t) => {
      const cov = make()
      await cov.add(batch())
      const before = await cov.moments()
      const list = terms(n, 40, 30, { contrasts: 2, seed: 5 })
      const at = (x, row, head) =>
        (Math.floor(row / x.shape[1]) * x.shape[1] + (row % x.shape[1])) * x.strides[1] + head * D
      for (const [name, row, head, value] of [
        ['q', list.query[1], 2, Number.NaN],
        ['k', list.neg[1], 1, Number.POSITIVE_INFINITY],
      ]) {
        const bad = batch({ terms: list })
        bad[name].data[at(bad[name], row, head) + 3] = value
        await t.throwsAsync(cov.add(bad), {
          code: 'ERR_NON_FINITE',
          message: `${name} is not finite at head ${head}, row ${row}`,
        })
        t.deepEqual(await cov.moments(), before)
        // Unused rows may hold anything; allowNonFinite takes everything.
        const free = make({ allowNonFinite: true })
        await free.add(bad)
        t.true((await free.moments()).positive.qk.length > 0)
      }
      const unused = batch({ terms: list })
      const row = Array.from({ length: 40 }, (_, r) => r).find((r) => !list.query.includes(r))
      if (row !== undefined) {
        unused.q.data.fill(Number.NaN, row * 4 * D, (row + 1) * 4 * D)
        await t.notThrowsAsync(cov.add(unused))
      }
    })
  }

  test('labels: NaN in a key that is read is found', async (t) => {
    const cov = make()
    const labels = {
      ...sequence(15, { keyScope: 'others' }),
      keyLabels: new Int32Array(15).map((_, i) => i % 2),
    }
    labels.queryLabels = labels.keyLabels
    const bad = batch({ terms: undefined, labels })
    bad.k.data[8 * 2 * D + D] = Number.NaN
    await t.throwsAsync(cov.add(bad), { code: 'ERR_NON_FINITE', message: 'k is not finite at head 1, row 8' })
    t.deepEqual([...(await cov.moments()).terms], [0, 0])
  })

  test('an abort adds nothing, before and during', async (t) => {
    const cov = make()
    await t.throwsAsync(cov.add(batch({ signal: AbortSignal.abort('enough') })), { code: 'ERR_ABORTED' })
    const controller = new AbortController()
    const many = batch({
      terms: terms(60_000, 40, 30, { contrasts: 2, most: 40 }),
      signal: controller.signal,
    })
    const adding = cov.add(many)
    controller.abort()
    await t.throwsAsync(adding, { code: 'ERR_ABORTED' })
    t.deepEqual([...(await cov.moments()).terms], [0, 0])
    t.true((await cov.moments()).positive.qk.every((x) => x === 0))
  })

  test('contract 4: what the sums take is checked before anything is allocated', (t) => {
    const big = {
      heads: 1024,
      headDim: 4096,
      contrasts: Array.from({ length: 1000 }, (_, i) => `c${i}`),
      backend,
    }
    t.throws(() => new QKCovariance({ ...big, kvHeads: 1024 }), { code: 'ERR_MEMORY_LIMIT' })
    t.throws(() => make({ memoryLimit: 100 }), {
      code: 'ERR_MEMORY_LIMIT',
      message: /4 heads and 2 contrasts/,
    })
    // The masters, and a batch beside them: with four heads the cpu backend may sum eight parts of it at once.
    const masters = 16 * 4 * 2 * (D * D + 2 * D)
    t.is(make().bytes, backend === 'cpu' ? 9 * masters : 2 * masters)
  })

  test('contract 5: batches in flight are bounded, and run in order', async (t) => {
    const cov = make()
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => cov.add(batch())))
    const failed = results.filter((r) => r.status === 'rejected')
    t.is(failed.length, 4)
    for (const f of failed) {
      t.is(f.reason.code, 'ERR_ARGUMENT')
    }
    t.is((await cov.moments()).terms[0] + (await cov.moments()).terms[1], 16 * 300)
  })

  test('options are checked', (t) => {
    for (const [more, code] of [
      [{ heads: 0 }, 'ERR_ARGUMENT'],
      [{ kvHeads: 3 }, 'ERR_ARGUMENT'],
      [{ headDim: 1.5 }, 'ERR_ARGUMENT'],
      [{ contrasts: [] }, 'ERR_ARGUMENT'],
      [{ contrasts: ['a', 'a'] }, 'ERR_ARGUMENT'],
      [{ estimator: 'mean' }, 'ERR_ARGUMENT'],
      [{ threads: -1 }, 'ERR_ARGUMENT'],
      [{ backend: 'gpu' }, 'ERR_BACKEND'],
      [{ backend: 'cuda:' }, 'ERR_BACKEND'],
    ]) {
      t.throws(() => make(more), { code })
    }
  })
}
