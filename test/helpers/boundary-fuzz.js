/**
 * Calls of the raw addon with one or two values replaced at random, in a process of its own:
 * `boundary-fuzz.js SEED CALLS [LIBRARY]`, with the library of the CUDA backend. It ends with 0 if every call was harmless or refused with a TypeError or a known code.
 */

import { STATUS_CODES } from '../../dist/backend/addon-types.js'
import {
  addon,
  batch,
  detach,
  flipsRequest,
  job,
  keys,
  moments,
  openOptions,
  queries,
  spec,
  svdRequest,
} from './addon-calls.js'
import { uniform } from './arithmetic-random.js'

const [seed, calls] = process.argv.slice(2, 4).map(Number)
const library = process.argv[4]
const next = uniform(seed)
const below = (n) => Math.floor(next() * n)
const one = (list) => list[below(list.length)]

const open = (device = '') =>
  addon.open(library ? openOptions({ backend: 'cuda', library, device }) : openOptions())
const context = open()
const other = open(library ? '1' : '')
const uploaded = await addon.rowsUpload(job(), context, queries())
const uploadedKeys = await addon.rowsUpload(job(), context, keys())
const released = await addon.rowsUpload(job(), context, queries())
addon.rowsRelease(released)
const decomposition = async () => (await addon.svd(job(), context, svdRequest())).handle

/** Of a batch in parts, as one promise. */
async function addParts(...args) {
  const settled = await Promise.allSettled(addon.covarianceAddParts(.../** @type {[any, any, any]} */ (args)))
  const failed = settled.find(({ status }) => status === 'rejected')
  if (failed) {
    throw /** @type {PromiseRejectedResult} */ (failed).reason
  }
}
const half = (of, firstHead, firstKeyHead) => ({
  handle: addon.covarianceCreate(of, spec({ heads: 2, kvHeads: 1 })),
  firstHead,
  firstKeyHead,
})

/** Each gives the function and arguments of a right call. */
const templates = [
  async () => [addon.open, [openOptions()]],
  async () => [addon.describe, [context]],
  async () => [addon.timings, [job(), context]],
  async () => [addon.covarianceCreate, [context, spec()]],
  async () => [addon.covarianceAdd, [job(), addon.covarianceCreate(context, spec()), batch()]],
  async () => [
    addon.covarianceAdd,
    [job(), addon.covarianceCreate(context, spec()), batch({ q: { rows: uploaded } })],
  ],
  async () => [addParts, [job(), [half(context, 0, 0), half(other, 2, 1)], batch()]],
  async () => [addon.covarianceMerge, [job(), addon.covarianceCreate(context, spec()), moments()]],
  async () => [addon.covarianceRead, [job(), addon.covarianceCreate(context, spec()), Int32Array.of(0, 3)]],
  async () => [addon.covarianceDispose, [addon.covarianceCreate(context, spec())]],
  async () => [addon.rowsUpload, [job(), context, keys({ transfer: true })]],
  async () => [addon.rowsRelease, [await addon.rowsUpload(job(), context, keys())]],
  async () => [addon.svd, [job(), context, svdRequest({ mode: below(3), energy: 0.9, rank: 3 })]],
  async () => [addon.svdRead, [job(), await decomposition(), undefined]],
  async () => [addon.largestOfFlips, [job(), context, flipsRequest({ q: uploaded, k: uploadedKeys })]],
  async () => [addon.cancel, [job()]],
]

const detached = () => {
  const array = one([new Float32Array(640), new Float64Array(64), new Int32Array(30)])
  detach(array)
  return array
}

/**
 * Elements that can be read: not of a detached array.
 * @returns {value is Int32Array}
 */
const hasElements = (value) => ArrayBuffer.isView(value) && /** @type {Int32Array} */ (value).length > 0

/** A value to put in the place of a right one. */
const replacements = [
  () => undefined,
  () => null,
  () =>
    one([-1, 0, 1, 3, 7, 2 ** 31 - 1, -(2 ** 31), 2 ** 32, 2 ** 53 - 1, 2 ** 60, 0.5, Number.NaN, -Infinity]),
  () => one(['', 'cpu', '4', true, 12n, Symbol('s'), () => {}, {}, [], new Proxy({}, {})]),
  () => one([context, uploaded, released, Object.create(context), new Proxy(uploaded, {})]),
  () => new (one([Float32Array, Float64Array, Int32Array, Uint32Array, Uint16Array, Uint8Array]))(below(40)),
  () => new Float32Array(new SharedArrayBuffer(4 * below(700))),
  () => new Float32Array(new ArrayBuffer(4 * 640, { maxByteLength: 4 * 1000 })),
  detached,
  (old) => (hasElements(old) ? old.subarray(one([0, 1, old.length >> 1, old.length])) : below(50)),
  (old) => (hasElements(old) ? old.map(() => one([-1, 0, 2 ** 31 - 1, 5, 19])) : -below(50)),
  (old) => (typeof old === 'number' ? old + one([-1, 1, 1000]) : old),
]

/** Also where an earlier change has left a getter. */
function put(object, key, value) {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
}

/** Replaces one value somewhere within. */
function spoil(value) {
  const keysOf = Object.keys(value)
  const key = one(keysOf)
  const old = value[key]
  const isTable =
    typeof old === 'object' && old !== null && !ArrayBuffer.isView(old) && Object.keys(old).length > 0
  if (isTable && next() < 0.8) {
    const changed = Array.isArray(old) ? [...old] : { ...old }
    spoil(changed)
    put(value, key, changed)
    return
  }
  if (next() < 0.1) {
    Object.defineProperty(value, key, {
      get: () => one(replacements)(old),
      enumerable: true,
      configurable: true,
    })
    return
  }
  put(value, key, one(replacements)(old))
}

let refusals = 0
for (let i = 0; i < calls; i++) {
  const [call, args] = await one(templates)()
  for (let changes = 1 + below(2); changes > 0; changes--) {
    spoil(args)
  }
  if (next() < 0.05) {
    args.length = below(args.length)
  }
  try {
    const promise = call(...args)
    for (const array of args.flatMap((argument) => Object.values(argument ?? {}))) {
      if (next() < 0.2 && ArrayBuffer.isView(array) && array.buffer instanceof ArrayBuffer) {
        detach(array)
      }
    }
    await promise
  } catch (error) {
    refusals++
    if (!(error instanceof TypeError) && !(error?.code in STATUS_CODES)) {
      process.stderr.write(`call ${i}: ${error?.stack ?? String(error)}\n`)
      process.exit(1)
    }
  }
  if (i % 50 === 0) {
    globalThis.gc?.()
  }
}
process.stdout.write(JSON.stringify({ calls, refusals }))
