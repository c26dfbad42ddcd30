/** The boundary of the native addon: whatever is passed to it is refused with an error, and never ends the process. */

import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { connect, createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { STATUS_CODES } from '../../dist/backend/addon-types.js'
import {
  addon,
  batch,
  detach,
  explicitTerms,
  job,
  keys,
  labels,
  moments,
  openOptions,
  queries,
  rows,
  spec,
  svdRequest,
} from '../helpers/addon-calls.js'
import { flipsBoundary } from '../helpers/boundary-flips.js'

const context = addon.open(openOptions())
const covariance = (more) => addon.covarianceCreate(context, spec(more))
const read = (handle, heads = [0, 1, 2, 3]) => addon.covarianceRead(job(), handle, Int32Array.from(heads))

/** The call throws or rejects: with a TypeError, or with an Error whose code `expected` matches. */
async function refused(t, call, expected, message = /./) {
  /** @type {Error & { code?: string }} */
  const error = await t.throwsAsync(async () => call())
  t.regex(error.message, message)
  if (expected === TypeError) {
    t.true(error instanceof TypeError, `${error}`)
  } else {
    t.regex(String(error.code), new RegExp(expected), `${error}`)
  }
}

/** Every function that takes a handle, with the handle in its place. */
const withHandle = {
  context: [
    (h) => addon.describe(h),
    (h) => addon.timings(job(), h),
    (h) => addon.covarianceCreate(h, spec()),
    (h) => addon.rowsUpload(job(), h, queries()),
    (h) => addon.svd(job(), h, svdRequest()),
    (h) => addon.largestOfFlips(job(), h, /** @type {any} */ ({})),
  ],
  covariance: [
    (h) => addon.covarianceAdd(job(), h, batch()),
    (h) => addon.covarianceAddParts(job(), [{ handle: h, firstHead: 0, firstKeyHead: 0 }], batch())[0],
    (h) => addon.covarianceMerge(job(), h, moments()),
    (h) => read(h),
    (h) => addon.covarianceDispose(h),
  ],
  decomposition: [(h) => addon.svdRead(job(), h, undefined)],
  rows: [
    (h) => addon.rowsRelease(h),
    (h) => addon.covarianceAdd(job(), covariance(), batch({ q: { rows: h } })),
  ],
}

const handles = async () => ({
  context,
  covariance: covariance(),
  decomposition: (await addon.svd(job(), context, svdRequest())).handle,
  rows: await addon.rowsUpload(job(), context, queries()),
})

test('handles: nothing but a handle of the right kind is taken for one', async (t) => {
  const real = await handles()
  const strangers = [
    null,
    1,
    -0.5,
    'handle',
    true,
    1n,
    Symbol('handle'),
    {},
    [],
    () => {},
    new Float64Array(8),
  ]
  for (const handle of Object.values(real)) {
    strangers.push(Object.create(handle), new Proxy(handle, {}), structuredClone(handle), { ...handle })
    strangers.push(Object.setPrototypeOf({}, handle), Object.assign(Object.create(null), { rows: handle }))
  }
  for (const [kind, calls] of Object.entries(withHandle)) {
    const others = Object.keys(real)
      .filter((other) => other !== kind)
      .map((other) => real[other])
    for (const call of calls) {
      for (const stranger of [...strangers, ...others]) {
        await refused(t, () => call(stranger), TypeError, /expected the handle of/)
      }
    }
  }
})

test('handles: objects and Externals of Node and of other addons are refused', async (t) => {
  const require = createRequire(import.meta.url)
  const { InferenceSession } = require('onnxruntime-node/dist/binding.js').binding
  const server = createServer().listen(0)
  await once(server, 'listening')
  const client = connect(/** @type {import('node:net').AddressInfo} */ (server.address()).port)
  await once(client, 'connect')
  // Of Node's own, without types.
  const [serverHandle, clientHandle] = [server, client].map((one) => /** @type {any} */ (one)._handle)
  const external = clientHandle._externalStream
  t.is(Object.prototype.toString.call(external), '[object Object]')
  t.true(require('node:util').types.isExternal(external))
  const strangers = [external, serverHandle._externalStream, clientHandle, new InferenceSession()]
  for (const call of Object.values(withHandle).flat()) {
    for (const stranger of strangers) {
      await refused(t, () => call(stranger), TypeError, /expected the handle of/)
    }
  }
  client.destroy()
  server.close()
})

test('handles: of what has been disposed of, released or read', async (t) => {
  const gone = await handles()
  addon.covarianceDispose(gone.covariance)
  addon.covarianceDispose(gone.covariance)
  addon.rowsRelease(gone.rows)
  addon.rowsRelease(gone.rows)
  await addon.svdRead(job(), gone.decomposition, undefined)
  for (const call of withHandle.covariance.slice(0, -1)) {
    await refused(t, () => call(gone.covariance), 'ERR_ARGUMENT', /disposed of/)
  }
  await refused(t, () => withHandle.rows[1](gone.rows), 'ERR_ARGUMENT', /disposed of/)
  await refused(t, () => addon.svdRead(job(), gone.decomposition, undefined), 'ERR_ARGUMENT', /disposed of/)
})

test('handles: rows of another context are refused', async (t) => {
  const elsewhere = addon.open(openOptions())
  const there = await addon.rowsUpload(job(), elsewhere, queries())
  await refused(t, () => withHandle.rows[1](there), 'ERR_ARGUMENT', /another backend/)
  await refused(t, () => addon.rowsUpload(job(), elsewhere, { rows: there }), 'ERR_ARGUMENT', /already/)
})

test('handles: what a queued job needs outlives them', async (t) => {
  const handle = covariance()
  const there = await addon.rowsUpload(job(), context, queries())
  const adding = addon.covarianceAdd(job(), handle, batch({ q: { rows: there } }))
  const reading = read(handle)
  addon.rowsRelease(there)
  addon.covarianceDispose(handle)
  await adding
  t.true((await reading).positive.qk.some((x) => x !== 0))
})

test('the number of arguments is fixed', async (t) => {
  const real = await handles()
  const side = () => ({ weight: new Float64Array(1), q: new Float64Array(1), k: new Float64Array(1) })
  const outputs = {
    terms: new Float64Array(1),
    skipped: new Float64Array(1),
    positive: side(),
    negative: side(),
  }
  const loose = /** @type {Record<string, any>} */ (addon)
  await refused(
    t,
    () => loose.covarianceRead(job(), real.covariance, Int32Array.of(0), outputs, 1, 1),
    TypeError,
    /expected 3 arguments, got 6/,
  )
  await refused(t, () => loose.svdRead(job(), real.decomposition, {}, 1, 1, 1, 1), TypeError)
  await refused(t, () => loose.covarianceMerge(job(), real.covariance, moments(), 1, 1, 1), TypeError)
  for (const call of Object.values(loose).filter((value) => typeof value === 'function')) {
    await refused(t, () => call(), TypeError, /arguments, got 0/)
    await refused(t, () => call(...new Array(9)), TypeError, /arguments, got 9/)
  }
})

test('read: the addon makes arrays of the shape that the covariance has', async (t) => {
  const handle = covariance()
  await addon.covarianceAdd(job(), handle, batch())
  const all = await read(handle)
  t.is(all.positive.qk.length, 2 * 4 * 8 * 8)
  const some = await read(handle, [3, 1, 3])
  t.is(some.negative.q.length, 2 * 3 * 8)
  t.deepEqual(some.negative.k.subarray(0, 8), all.negative.k.subarray(3 * 8, 4 * 8))
  t.is((await read(handle, [])).positive.qk.length, 0)
  for (const head of [4, -1, 2 ** 31 - 1, -(2 ** 31)]) {
    await refused(t, () => read(handle, [0, head]), 'ERR_RANGE', /heads\[1\]/)
  }
  for (const heads of /** @type {any[]} */ ([[0], new Uint32Array(1)])) {
    await refused(t, () => addon.covarianceRead(job(), handle, heads), TypeError)
  }
})

/** Covariances of the two halves of the heads, on contexts of their own. */
function halves() {
  const half = spec({ heads: 2, kvHeads: 1 })
  return [0, 1].map((i) => ({
    handle: addon.covarianceCreate(addon.open(openOptions()), half),
    firstHead: 2 * i,
    firstKeyHead: i,
  }))
}

test('parts: each covariance adds its heads of one batch, copied, shared or moved', async (t) => {
  const whole = covariance()
  await addon.covarianceAdd(job(), whole, batch())
  const want = [await read(whole, [0, 1]), await read(whole, [2, 3])]
  const check = async (given, isTaken) => {
    const parts = halves()
    const adding = Promise.all(addon.covarianceAddParts(job(), parts, given))
    t.is(given.q.data.length, isTaken ? 0 : 640)
    if (!(isTaken || given.q.data.buffer instanceof SharedArrayBuffer)) {
      given.q.data.fill(Number.NaN)
    }
    await adding
    for (const [i, { handle }] of parts.entries()) {
      t.deepEqual(await read(handle, [0, 1]), want[i])
    }
  }
  await check(batch(), false)
  await check(batch({ q: queries({ transfer: true }), k: keys({ transfer: true }) }), true)
  const { data } = queries()
  const shared = new Float32Array(new SharedArrayBuffer(data.byteLength))
  shared.set(data)
  await check(batch({ q: queries({ data: shared, transfer: true }) }), false)
})

test('parts: what cannot be divided so is refused, and the other part is not left waiting', async (t) => {
  const parts = halves()
  const add = (given, more = {}) => Promise.all(addon.covarianceAddParts(job(), given, batch(more)))
  await refused(t, () => add(/** @type {any} */ ({})), TypeError, /parts must be an array/)
  await refused(t, () => add([]), 'ERR_ARGUMENT', /no parts/)
  await refused(t, () => add([parts[0], parts[0]]), 'ERR_ARGUMENT', /one context/)
  await refused(
    t,
    () => add([{ ...parts[0], firstHead: 3 }, parts[1]]),
    'ERR_SHAPE',
    /q has 4 heads, part 0 ends at 5/,
  )
  await refused(t, () => add([{ ...parts[0], firstHead: -1 }, parts[1]]), 'ERR_SHAPE')
  await refused(t, () => add([{ ...parts[0], firstKeyHead: 2 }, parts[1]]), 'ERR_SHAPE', /k has 2 heads/)
  await refused(t, () => add(parts, { q: /** @type {any} */ ([]) }), 'ERR_SHAPE', /one tensor for each part/)
  await refused(t, () => add(parts, { q: [queries(), queries()] }), 'ERR_ARGUMENT', /must have been uploaded/)
  const uploaded = await addon.rowsUpload(job(), context, queries())
  await refused(t, () => add(parts, { q: { rows: uploaded } }), 'ERR_ARGUMENT')
  const given = queries({ transfer: true })
  await refused(t, () => add([{ ...parts[0], firstHead: 3 }, parts[1]], { q: given }), 'ERR_SHAPE')
  t.is(given.data.length, 640)
  // A part that fails is cancelled with the others, and all lanes go on.
  const number = job()
  const adding = addon.covarianceAddParts(number, parts, batch())
  addon.cancel(number)
  await Promise.allSettled(adding)
  await add(parts)
  t.true((await read(parts[1].handle, [0])).terms[0] > 0)
})

test('merge: every array has the shape of the covariance, and is copied', async (t) => {
  const handle = covariance()
  for (const wrong of [moments(1), moments(2, 3), moments(2, 4, 7), moments(3, 4, 8)]) {
    await refused(t, () => addon.covarianceMerge(job(), handle, wrong), 'ERR_SHAPE')
  }
  for (const key of ['terms', 'skipped', 'positive', 'negative']) {
    await refused(
      t,
      () => addon.covarianceMerge(job(), handle, { ...moments(), [key]: undefined }),
      TypeError,
    )
    await refused(
      t,
      () => addon.covarianceMerge(job(), handle, { ...moments(), [key]: new Float32Array(2) }),
      TypeError,
    )
  }
  const mine = moments()
  const merging = addon.covarianceMerge(job(), handle, mine)
  for (const array of [mine.terms, mine.positive.qk, mine.negative.k]) {
    detach(array)
  }
  await merging
  const sums = await read(handle)
  t.is(sums.terms[1], 5)
  t.true(sums.positive.qk.every((x) => x === 4))
  t.true(sums.negative.k.every((x) => x === 3))
})

test('covarianceCreate: numbers that cannot be, and that nobody has memory for', async (t) => {
  for (const key of ['heads', 'kvHeads', 'headDim', 'contrasts']) {
    for (const value of [0, -1, -(2 ** 31)]) {
      await refused(t, () => covariance({ [key]: value }), 'ERR_ARGUMENT')
    }
    for (const value of [1.5, Number.NaN, 2 ** 31, Infinity, '4', null, undefined, {}, 4n]) {
      await refused(t, () => covariance({ [key]: value }), TypeError)
    }
  }
  await refused(t, () => covariance({ estimator: 3 }), 'ERR_ARGUMENT')
  await refused(t, () => covariance({ contrasts: 2 ** 31 - 1 }), 'ERR_ARGUMENT', /contrasts/)
  const most = 2 ** 31 - 1
  await refused(
    t,
    () => covariance({ heads: most, kvHeads: 1, headDim: 4096, contrasts: 2 ** 20 }),
    'ERR_SHAPE',
  )
  await refused(t, () => covariance({ heads: most, kvHeads: most, headDim: 64 }), 'ERR_OUT_OF_MEMORY')
})

test('open: names and numbers', async (t) => {
  const opened = (more) => () => addon.open(openOptions(more))
  await refused(t, opened({ backend: 'gpu' }), 'ERR_BACKEND', /needs the library/)
  await refused(t, opened({ backend: 'cuda', library: '/nowhere/at-all.so' }), 'ERR_BACKEND', /at-all/)
  await refused(t, opened({ backend: 'cuda', library: process.execPath }), 'ERR_BACKEND')
  await refused(t, opened({ instructionSet: 'avx1024' }), 'ERR_BACKEND')
  await refused(t, opened({ instructionSet: 'avx2\0' }), TypeError)
  await refused(t, opened({ backend: undefined }), TypeError)
  for (const threads of [-1, 1025]) {
    await refused(t, opened({ threads }), 'ERR_ARGUMENT')
  }
  await refused(t, opened({ deviceMemory: -1 }), 'ERR_ARGUMENT')
})

test('tensors: shapes and strides that do not fit the data', async (t) => {
  const handle = covariance()
  const adding = (q) => () => addon.covarianceAdd(job(), handle, batch({ q }))
  const uploading = (q) => () => addon.rowsUpload(job(), context, q)
  for (const call of [adding, uploading]) {
    for (const strides of [
      [0, -32, 8, 1],
      [0, 2 ** 53 - 1, 8, 1],
      [0, 2 ** 50, 2 ** 50, 2 ** 50],
      [0, 32, 8, 2],
    ]) {
      await refused(t, call(queries({ strides })), 'ERR_SHAPE')
    }
    for (const shape of [
      [1, 21, 4, 8],
      [2 ** 31, 20, 4, 8],
      [2 ** 31 - 1, 2 ** 31 - 1, 4, 8],
      [1, -20, 4, 8],
    ]) {
      await refused(t, call(queries({ shape, strides: [640, 32, 8, 1] })), 'ERR_SHAPE')
    }
    for (const dtype of [3, -1, 77]) {
      await refused(t, call(queries({ dtype })), 'ERR_ARGUMENT', /dtype/)
    }
    await refused(t, call(queries({ dtype: 1 })), TypeError)
    await refused(t, call(queries({ shape: 'no' })), TypeError)
    await refused(t, call(queries({ shape: [1, 20] })), TypeError)
    await refused(t, call(queries({ strides: [0, 32.5, 8, 1] })), TypeError)
    await refused(t, call(queries({ data: new Array(640).fill(0) })), TypeError)
    const gone = queries()
    detach(gone.data)
    await refused(t, call(gone), 'ERR_SHAPE')
  }
  await refused(t, adding(rows([1, 20, 3, 8], 1)), 'ERR_SHAPE', /3 heads/)
  await refused(t, adding(rows([1, 20, 4, 9], 1)), 'ERR_SHAPE', /dimension 9/)
  t.deepEqual([...(await read(handle)).terms], [0, 0])
})

test('tensors: an uploaded tensor has its own shape, whatever is said beside it', async (t) => {
  const small = await addon.rowsUpload(job(), context, rows([1, 2, 4, 8], 1))
  const said = { ...queries(), data: undefined, rows: small }
  await refused(
    t,
    () => addon.covarianceAdd(job(), covariance(), batch({ q: said })),
    'ERR_RANGE',
    /row from 0 to 1/,
  )
  const narrow = await addon.rowsUpload(job(), context, rows([1, 20, 1, 1], 1))
  await refused(
    t,
    () => addon.covarianceAdd(job(), covariance(), batch({ q: { ...queries(), rows: narrow } })),
    'ERR_SHAPE',
  )
})

test('tensors: buffers that are handed over move, unless the call is refused or they cannot', async (t) => {
  const expected = covariance()
  await addon.covarianceAdd(job(), expected, batch())
  const sums = await read(expected)

  const given = batch({ q: queries({ transfer: true }), k: keys({ transfer: true }) })
  const moved = covariance()
  const adding = addon.covarianceAdd(job(), moved, given)
  t.is(given.q.data.length + given.k.data.length, 0)
  await adding
  t.deepEqual(await read(moved), sums)

  const buffer = new ArrayBuffer(4 * 960)
  const both = batch({ q: queries({ transfer: true }), k: keys({ transfer: true }) })
  const views = [new Float32Array(buffer, 0, 640), new Float32Array(buffer, 4 * 640)]
  views[0].set(both.q.data)
  views[1].set(both.k.data)
  both.q.data = views[0]
  both.k.data = views[1]
  const together = covariance()
  await addon.covarianceAdd(job(), together, both)
  t.is(buffer.byteLength, 0)
  t.deepEqual(await read(together), sums)

  const kept = batch({ q: queries({ transfer: true }), k: keys({ transfer: true, shape: [1, 21, 2, 8] }) })
  await refused(t, () => addon.covarianceAdd(job(), moved, kept), 'ERR_SHAPE')
  t.is(kept.q.data.length, 640)

  const pooled = Buffer.from(new Uint8Array(8))
  const fixed = new Float32Array(pooled.buffer, Math.ceil(pooled.byteOffset / 4) * 4, 1)
  const tensor = {
    rows: undefined,
    data: fixed,
    dtype: 0,
    shape: [1, 1, 1, 1],
    strides: [1, 1, 1, 1],
    transfer: true,
  }
  await t.notThrowsAsync(addon.rowsUpload(job(), context, tensor))
  t.is(fixed.length, 1)
})

test('tensors: memory that is taken away after the call is not read', async (t) => {
  const expected = covariance()
  await addon.covarianceAdd(job(), expected, batch())
  const given = batch()
  const large = new ArrayBuffer(4 * 640, { maxByteLength: 8 * 640 })
  const view = new Float32Array(large)
  view.set(given.q.data)
  given.q.data = view
  const handle = covariance()
  const adding = addon.covarianceAdd(job(), handle, given)
  large.resize(0)
  for (const array of [given.k.data, ...Object.values(given.terms), ...Object.values(given.labels[0])]) {
    if (ArrayBuffer.isView(array) && array.byteLength > 0) {
      detach(array)
    }
  }
  await adding
  t.deepEqual(await read(handle), await read(expected))
})

test('terms: a property that changes between two reads is read once', async (t) => {
  const list = explicitTerms()
  let reads = 0
  const changing = Object.defineProperty({ ...list }, 'pos', {
    get: () => (reads++ ? new Int32Array(1) : list.pos),
    enumerable: true,
  })
  await addon.covarianceAdd(job(), covariance(), batch({ terms: changing }))
  t.is(reads, 1)
  const detaching = Object.defineProperty({ ...explicitTerms() }, 'negWeights', {
    get() {
      detach(this.pos)
      return undefined
    },
  })
  await refused(
    t,
    () => addon.covarianceAdd(job(), covariance(), batch({ terms: detaching })),
    /^ERR_(SHAPE|RANGE)$/,
  )
  const handle = covariance()
  const disposing = batch()
  Object.defineProperty(disposing, 'labels', { get: () => addon.covarianceDispose(handle) })
  await t.notThrowsAsync(addon.covarianceAdd(job(), handle, disposing))
})

test('terms and labels: indices, offsets and lengths', async (t) => {
  const handle = covariance()
  const adding = (more) => () => addon.covarianceAdd(job(), handle, batch(more))
  const set = (array, i, x) => Object.assign(array.slice(), { [i]: x })
  const list = explicitTerms()
  for (const key of ['query', 'pos', 'neg', 'contrast']) {
    for (const value of [-1, 20, 2 ** 31 - 1, -(2 ** 31)]) {
      await refused(t, adding({ terms: explicitTerms({ [key]: set(list[key], 3, value) }) }), 'ERR_RANGE')
    }
  }
  for (const key of ['posOffsets', 'negOffsets']) {
    for (const [i, value] of [
      [0, -1],
      [5, 2 ** 31 - 1],
      [30, 2 ** 31 - 1],
      [30, 0],
    ]) {
      await refused(
        t,
        adding({ terms: explicitTerms({ [key]: set(list[key], i, value) }) }),
        /^ERR_(RANGE|EMPTY_SET)$/,
      )
    }
    await refused(t, adding({ terms: explicitTerms({ [key]: list[key].subarray(1) }) }), 'ERR_SHAPE')
  }
  for (const key of ['query', 'queryNeg', 'weights', 'posWeights']) {
    await refused(t, adding({ terms: explicitTerms({ [key]: list[key].subarray(1) }) }), 'ERR_SHAPE')
    await refused(t, adding({ terms: explicitTerms({ [key]: [...list[key]] }) }), TypeError)
  }
  for (const key of ['queryRows', 'keyRows', 'keyLabels', 'queryPositions']) {
    await refused(t, adding({ labels: [labels({ [key]: new Int32Array(3) })] }), 'ERR_SHAPE')
    await refused(t, adding({ labels: [labels({ [key]: null })] }), TypeError)
  }
  await refused(t, adding({ labels: [labels({ keyRows: new Int32Array(20).fill(20) })] }), 'ERR_RANGE')
  await refused(t, adding({ labels: [labels({ keyScope: 3 })] }), 'ERR_ARGUMENT')
  await refused(t, adding({ labels: [labels({ contrast: 2 })] }), 'ERR_RANGE')
  await refused(t, adding({ labels: new Array(3) }), TypeError)
  await refused(t, adding({ labels: {} }), TypeError)
  await refused(t, adding({ terms: 'x' }), TypeError)
  t.deepEqual([...(await read(handle)).terms], [0, 0])
})

test('svd: shapes, modes and lengths; the results are arrays of the addon', async (t) => {
  const asked = (more) => () => addon.svd(job(), context, svdRequest(more))
  for (const [more, code] of [
    [{ n: 3 }, 'ERR_SHAPE'],
    [{ n: -1 }, 'ERR_SHAPE'],
    [{ n: 2 ** 53 - 1 }, 'ERR_SHAPE'],
    [{ rows: 0 }, 'ERR_SHAPE'],
    [{ rows: 4097 }, 'ERR_SHAPE'],
    [{ n: 2 ** 50, rows: 4096, cols: 4096 }, 'ERR_SHAPE'],
    [{ cols: -10, rows: -12 }, 'ERR_SHAPE'],
    [{ dtype: 1, matrices: new Float64Array(240) }, 'ERR_ARGUMENT'],
    [{ mode: 3 }, 'ERR_ARGUMENT'],
    [{ mode: -1 }, 'ERR_ARGUMENT'],
    [{ mode: 1, energy: Number.NaN }, 'ERR_ARGUMENT'],
    [{ mode: 1, energy: 0.9, maxRank: -1 }, 'ERR_ARGUMENT'],
    [{ mode: 2, rank: -1 }, 'ERR_ARGUMENT'],
    [{ matrices: svdRequest().matrices.fill(Number.NaN) }, 'ERR_NON_FINITE'],
  ]) {
    await refused(t, asked(more), code)
  }
  for (const more of [
    { matrices: undefined },
    { matrices: new Float64Array(240) },
    { energy: '1' },
    { n: 1.5 },
  ]) {
    await refused(t, asked(more), TypeError)
  }
  for (const more of [{ outDtype: 1 }, { outDtype: -1 }]) {
    await refused(t, asked(more), 'ERR_ARGUMENT')
  }
  /** @param {{ u?: Float32Array | Float64Array, s?: Float32Array | Float64Array, v?: Float32Array | Float64Array }} found */
  const lengths = ({ u, s, v }) => [u.length, s.length, v.length]
  const { handle, maxRank, ...summary } = await asked({})()
  t.is(maxRank, 10)
  t.deepEqual(
    Object.values(summary).map((array) => array.length),
    [2, 2, 2, 2],
  )
  const read = await addon.svdRead(job(), handle, undefined)
  t.deepEqual(lengths(read), [2 * 12 * 10, 2 * 10, 2 * 10 * 10])
  const none = await asked({ n: 0, matrices: new Float32Array(0) })()
  t.deepEqual(lengths(await addon.svdRead(job(), none.handle, undefined)), [0, 0, 0])
  for (const mode of [0, 2]) {
    const whole = await asked({ mode, rank: 2 ** 31 - 1 })()
    t.is(whole.handle, undefined)
    t.deepEqual(lengths(whole), lengths(read))
    t.deepEqual(lengths(await asked({ mode, rank: 3, n: 0, matrices: new Float32Array(0) })()), [0, 0, 0])
  }
})

test('svd: arrays to be filled', async (t) => {
  const shared = (length) => new Float64Array(new SharedArrayBuffer(8 * length))
  const own = (length) => new Float64Array(length)
  const arrays = (make, more = {}) => ({ u: make(240), s: make(20), v: make(200), ...more })
  const wanted = await addon.svd(job(), context, svdRequest({ mode: 0 }))
  const byEnergy = async (out) =>
    addon.svdRead(job(), (await addon.svd(job(), context, svdRequest())).handle, out)
  const inFull = (out) => addon.svd(job(), context, svdRequest({ mode: 0, out }))
  for (const fill of [inFull, byEnergy]) {
    for (const make of [shared, own]) {
      const out = arrays(make, { u: make(300) })
      const found = await fill(out)
      for (const key of ['u', 's', 'v']) {
        t.is(found[key], out[key])
        t.deepEqual([...out[key].subarray(0, wanted[key].length)], [...wanted[key]])
      }
      t.true(out.u.subarray(240).every((x) => x === 0))
    }
    await refused(
      t,
      () => fill(arrays(own, { u: own(239) })),
      'ERR_SHAPE',
      /out\.u has 239 elements, needed are 240/,
    )
    await refused(t, () => fill(arrays(own, { s: new Float32Array(20) })), TypeError, /out\.s/)
    await refused(t, () => fill(arrays(own, { v: undefined, s: 1 })), TypeError)
    await refused(t, () => fill(/** @type {any} */ (3)), TypeError)
    const gone = arrays(own)
    detach(gone.v)
    await refused(t, () => fill(gone), 'ERR_SHAPE', /out\.v has 0 elements.*detached/)
  }
  const late = arrays(own)
  const running = inFull(late)
  detach(late.u)
  await refused(t, () => running, 'ERR_SHAPE', /buffer of out\.u was detached/)
  const single = { u: new Float32Array(240), s: new Float32Array(20), v: new Float32Array(200) }
  await addon.svd(job(), context, svdRequest({ mode: 0, outDtype: 0, out: single }))
  t.deepEqual([...single.u], [...Float32Array.from(wanted.u)])
})

test('flips: sizes are those of what was uploaded', (t) => flipsBoundary(t, context))

test('jobs: numbers, and cancelling what is not there', async (t) => {
  for (const id of /** @type {any[]} */ ([-1, 2 ** 32, 0.5, Number.NaN, '1', undefined, null, {}])) {
    await refused(t, () => addon.timings(id, context), TypeError)
    await refused(t, () => addon.cancel(id), TypeError)
  }
  t.notThrows(() => addon.cancel(4_000_000_000))
})

test('a few hundred calls with arguments at random: refused, or harmless', (t) => {
  const script = fileURLToPath(new URL('../helpers/boundary-fuzz.js', import.meta.url))
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    ['--expose-gc', script, '1', '600'],
    {
      encoding: 'utf8',
    },
  )
  t.is(signal, null)
  t.is(status, 0, stderr + stdout)
  const { calls, refusals } = JSON.parse(stdout)
  t.is(calls, 600)
  t.true(refusals > 300, stdout)
})

test('every code of the addon is known', (t) => {
  t.deepEqual(addon.constants.status, STATUS_CODES)
})
