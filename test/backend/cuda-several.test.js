/** Two devices as one backend, by the emulator: the bits of one device, and batches that are added wholly or not at all. */

import test from 'ava'
import { loadAddon } from '../../dist/backend/addon/load.js'
import { NativeBackend } from '../../dist/backend/native.js'
import { selectBackend } from '../../dist/backend/select.js'
import { divided, dividedHeads } from '../../dist/backend/several/head-split.js'
import { SeveralCovariance } from '../../dist/backend/several/several-covariance.js'
import { QKCovariance, svd, testRank, uploadTensor } from '../../dist/index.js'
import { sequence, tensor, terms } from '../helpers/arithmetic-batches.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'
import { plantedTerms } from '../helpers/rank-data.js'

const reason = noCompiler()
const onHost = reason ? (title) => test.skip(`${title}: ${reason}`, () => {}) : test.serial
if (!reason) {
  process.env.QKSPACE_CUDA_LIBRARY = cudaOnHost()
}
const BOTH = /** @type {const} */ ('cuda:0,1')
const ONE = /** @type {const} */ ('cuda')
const UUIDS = ['GPU-00000000-0000-0000-0000-000000000001', 'GPU-00000000-0000-0000-0000-000000000002']

const D = 16
const make = (backend, more = {}) =>
  new QKCovariance({ heads: 6, kvHeads: 3, headDim: D, contrasts: ['a', 'b'], backend, ...more })
const batch = (more = {}) => ({
  q: tensor([2, 40, 6, D], { seed: 1 }),
  k: tensor([2, 30, 3, D], { seed: 2 }),
  terms: terms(100, 80, 60, { contrasts: 2, most: 3, weights: true, keyWeights: true }),
  labels: [sequence(25, { contrast: 1, seed: 4 })],
  ...more,
})

test('heads are divided in order, as evenly as groups allow; the first devices get more', (t) => {
  const ranges = (list) => list.map(({ first, count }) => [first, count])
  t.deepEqual(ranges(divided(5, 2)), [
    [0, 3],
    [3, 2],
  ])
  t.deepEqual(ranges(divided(1, 3)), [
    [0, 1],
    [1, 0],
    [1, 0],
  ])
  t.deepEqual(ranges(dividedHeads(32, 8, 3)), [
    [0, 12],
    [12, 12],
    [24, 8],
  ])
})

onHost('covariances have the bits of one device, in every layout and type', async (t) => {
  for (const dtype of /** @type {const} */ (['f32', 'f16', 'bf16'])) {
    for (const layout of /** @type {const} */ (['BTHd', 'BHTd', 'BHdT'])) {
      const given = () =>
        batch({
          q: tensor([2, 40, 6, D], { seed: 1, layout, dtype }),
          k: tensor([2, 30, 3, D], { seed: 2, layout, dtype }),
        })
      const [one, both] = [make(ONE), make(BOTH)]
      await one.add(given())
      await both.add(given())
      await both.merge(await one.moments())
      await one.merge(await one.moments())
      t.deepEqual(await both.moments(), await one.moments(), `${dtype} ${layout}`)
      t.deepEqual(await both.moments([5, 0, 3]), await one.moments([5, 0, 3]))
      t.deepEqual(await both.read({ center: true, heads: [4] }), await one.read({ center: true, heads: [4] }))
      one.dispose()
      both.dispose()
    }
  }
})

onHost('one-to-one pairs of one slice have the bits of one device', async (t) => {
  const offsets = Int32Array.from({ length: 101 }, (_, i) => i)
  const pairs = {
    contrast: 'a',
    query: Int32Array.from({ length: 100 }, (_, i) => (7 * i) % 80),
    posOffsets: offsets,
    pos: Int32Array.from({ length: 100 }, (_, i) => i % 60),
    negOffsets: offsets,
    neg: Int32Array.from({ length: 100 }, (_, i) => (i + 11) % 60),
  }
  for (const dtype of /** @type {const} */ (['f32', 'bf16'])) {
    const given = {
      q: tensor([2, 40, 6, D], { seed: 1, dtype }),
      k: tensor([2, 30, 3, D], { seed: 2, dtype }),
      terms: pairs,
    }
    const [one, both] = [make(ONE), make(BOTH)]
    await one.add(given)
    await both.add(given)
    t.deepEqual(await both.moments(), await one.moments())
  }
})

onHost('fewer key heads than devices leave a device without work', async (t) => {
  const given = batch({ q: tensor([2, 40, 6, D], { seed: 1 }), k: tensor([2, 30, 1, D], { seed: 2 }) })
  const [one, both] = [make(ONE, { kvHeads: 1 }), make(BOTH, { kvHeads: 1 })]
  await one.add(given)
  await both.add(given)
  t.deepEqual(await both.moments(), await one.moments())
})

onHost('uploaded tensors lie on both devices; queries that were divided otherwise are refused', async (t) => {
  const { q, k, ...lists } = batch()
  const one = make(ONE)
  const both = make(BOTH)
  await one.add({ q, k, ...lists })
  const [onQ, onK] = [
    await uploadTensor(q, { backend: BOTH, keyHeads: 3 }),
    await uploadTensor(k, { backend: BOTH }),
  ]
  await both.add({ q: onQ, k: onK, ...lists })
  t.deepEqual(await both.moments(), await one.moments())
  // One side on the devices, the other on the host.
  await one.add({ q, k, ...lists })
  await both.add({ q, k: onK, ...lists })
  t.deepEqual(await both.moments(), await one.moments())

  const byHead = await uploadTensor(q, { backend: BOTH })
  await t.throwsAsync(both.add({ q: byHead, k: onK, ...lists }), {
    code: 'ERR_ARGUMENT',
    message: 'the 6 heads of q lie on the devices as 3 + 3, they are needed as 4 + 2',
  })
  await t.throwsAsync(uploadTensor(q, { backend: BOTH, keyHeads: 4 }), {
    code: 'ERR_ARGUMENT',
    message: 'keyHeads (4) does not divide the 6 heads',
  })
  await t.throwsAsync(make(ONE).add({ q: onQ, k, ...lists }), {
    code: 'ERR_ARGUMENT',
    message: 'q was uploaded to cuda:0,1, the sums are on cuda',
  })
  for (const x of [onQ, onK, byHead]) {
    x.release()
  }
  await t.throwsAsync(both.add({ q: onQ, k: onK, ...lists }), { code: 'ERR_ARGUMENT', message: /released/ })
  t.deepEqual(await both.moments(), await one.moments())
})

onHost('a batch that one device refuses is added by none, and the sums go on', async (t) => {
  const [one, both] = [make(ONE), make(BOTH)]
  await one.add(batch())
  await both.add(batch())
  const before = await both.moments()
  for (const head of [0, 5]) {
    const bad = batch()
    bad.q.data[(bad.terms.query[0] * 6 + head) * D + 2] = Number.NaN
    await t.throwsAsync(both.add(bad), {
      code: 'ERR_NON_FINITE',
      message: `q is not finite at head ${head}, row ${bad.terms.query[0]}`,
    })
    t.deepEqual(await both.moments(), before)
  }
  // Several at a time, some of them bad: the good ones are added, in order.
  const bad = batch()
  bad.k.data[(bad.terms.pos[0] * 3 + 2) * D] = Number.POSITIVE_INFINITY
  const settled = await Promise.allSettled([both.add(batch()), both.add(bad), both.add(batch())])
  t.deepEqual(
    settled.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  await one.add(batch())
  await one.add(batch())
  t.deepEqual(await both.moments(), await one.moments())
})

test('sums of which one device has a batch that another has not are refused from then on', async (t) => {
  // The processor's backend adds without asking the other part, as a device would that failed after it had agreed.
  const addon = loadAddon()
  const devices = [0, 1].map(() => new NativeBackend('cpu', addon, { threads: 1 }))
  const sums = new SeveralCovariance(addon, devices, {
    ...{ heads: 2, kvHeads: 2, headDim: 4, contrasts: 1, threads: 1 },
    ...{ estimator: 'per-query', allowNonFinite: false },
  })
  const rows = () => /** @type {any} */ (tensor([1, 3, 2, 4]))
  const [one, two] = [Int32Array.of(0), Int32Array.of(0, 1)]
  const list = {
    ...{ contrast: one, query: one, queryNeg: one },
    ...{ posOffsets: two, pos: Int32Array.of(1), negOffsets: two, neg: Int32Array.of(2) },
  }
  await sums.add({ q: rows(), k: rows(), terms: list })
  t.is((await sums.moments()).terms[0], 1)
  const bad = rows()
  bad.data[4] = Number.NaN
  await t.throwsAsync(sums.add({ q: bad, k: rows(), terms: list }), {
    code: 'ERR_NON_FINITE',
    message: 'q is not finite at head 1, row 0',
  })
  const broken = { code: 'ERR_BACKEND', message: /cannot be used any more: one device has a batch/ }
  await t.throwsAsync(sums.add({ q: rows(), k: rows(), terms: list }), broken)
  await t.throwsAsync(sums.moments(), broken)
  sums.dispose()
})

onHost('an abort in the middle adds nothing on either device', async (t) => {
  const both = make(BOTH)
  await both.add(batch())
  const before = await both.moments()
  for (const wait of [0, 1, 5, 20]) {
    const controller = new AbortController()
    const adding = both.add({
      ...batch({ terms: terms(3000, 80, 60, { contrasts: 2, most: 3 }) }),
      signal: controller.signal,
    })
    await new Promise((resolve) => setTimeout(resolve, wait))
    controller.abort()
    await t.throwsAsync(adding, { code: 'ERR_ABORTED' })
    t.deepEqual(await both.moments(), before)
  }
})

onHost('two covariances that add at once do not wait for each other', async (t) => {
  const [first, second, one] = [make(BOTH), make(BOTH), make(ONE)]
  await Promise.all([first.add(batch()), second.add(batch()), first.add(batch()), second.add(batch())])
  await one.add(batch())
  await one.add(batch())
  t.deepEqual(await first.moments(), await one.moments())
  t.deepEqual(await second.moments(), await one.moments())
})

onHost('decompositions have the bits of one device', async (t) => {
  const matrices = Float64Array.from({ length: 5 * 12 * 10 }, (_, i) => Math.sin(i * i))
  for (const more of [{}, { energy: 0.8 }, { rank: 3 }]) {
    for (const n of [0, 1, 5]) {
      const options = { n, rows: 12, cols: 10, seed: 3, ...more }
      const given = matrices.subarray(0, n * 120)
      t.deepEqual(
        await svd(given, { ...options, backend: BOTH }),
        await svd(given, { ...options, backend: ONE }),
        JSON.stringify(options),
      )
    }
  }
})

onHost('the test of rank has the values of one device', async (t) => {
  const data = plantedTerms({ units: 40, heads: 3, d: 8, planted: 2, strength: 2, seed: 5 })
  const found = await Promise.all(
    [BOTH, ONE].map((backend) => testRank({ ...data, backend, draws: 99, mostDraws: 199, seed: 1 })),
  )
  t.deepEqual(found[0], found[1])
})

onHost('devices are named by index or UUID, each once', (t) => {
  const described = selectBackend(`cuda:${UUIDS[1]},0`).describe()
  t.is(described.choice, `cuda:${UUIDS[1]},0`)
  t.deepEqual(
    described.devices?.map(({ uuid }) => uuid),
    [UUIDS[1], UUIDS[0]],
  )
  t.is(described.device?.uuid, UUIDS[1])
  t.is(selectBackend(BOTH), selectBackend(BOTH))
  for (const [choice, message] of /** @type {const} */ ([
    ['cuda:0,0', /names the device 0 twice/],
    [`cuda:0,${UUIDS[0]}`, /names GPU-0{8}-.*1 twice, as cuda:0 and cuda:GPU-/],
    ['cuda:0,9', /there is no CUDA device '9'; there are 0 = .*, 1 = /],
    ['cuda:,', /comma without a device/],
    ['cuda:0,', /comma without a device/],
    ['cuda:,1', /comma without a device/],
    ['cuda:0,1,0', /names the device 0 twice/],
  ])) {
    t.throws(() => selectBackend(choice), { code: 'ERR_BACKEND', message })
    t.throws(() => make(choice), { code: 'ERR_BACKEND' })
  }
})

onHost('times are the longest of the devices, bytes their sum', async (t) => {
  const used = /** @type {import('../../dist/backend/native.js').NativeBackend} */ (
    /** @type {unknown} */ (selectBackend(BOTH))
  )
  await used.timings()
  const rows = await uploadTensor(tensor([1, 10, 3, D]), { backend: BOTH })
  t.is((await used.timings()).copyBytes, 4 * 10 * 3 * D)
  const cov = make(BOTH)
  await cov.add(batch())
  t.true((await used.timings()).arithmeticMs > 0)
  rows.release()
})
