import { readFileSync } from 'node:fs'
import {
  attributeArrays,
  interveneArrays,
  measureMove,
  orthonormalBasis,
  QKCovariance,
  randomBasis,
  svd,
  testRank,
  unionBasis,
  uploadTensor,
} from '../../../dist/arrays.js'
import { bootstrapMean, bootstrapRatio } from '../../../dist/math/bootstrap.js'
import { oddNumber, oddValue } from '../mutate.mjs'

const numbers = (Type, length) => Type.from({ length }, (_, i) => Math.sin(i * i + 1))
const flat = (...shape) => ({
  data: numbers(
    Float64Array,
    shape.reduce((a, b) => a * b, 1),
  ),
  shape,
})
const rows = (...shape) => ({
  data: numbers(
    Float32Array,
    shape.reduce((a, b) => a * b, 1),
  ),
  shape,
})

const SPEC = {
  heads: 2,
  kvHeads: 1,
  headDim: 4,
  contrasts: ['a', 'b'],
  estimator: 'per-query',
  backend: 'cpu',
  threads: 1,
  memoryLimit: 2 ** 24,
  allowNonFinite: false,
}
const terms = (units) => ({
  contrast: 'a',
  query: Array.from({ length: units }, (_, i) => 3 * i + 2),
  posOffsets: Array.from({ length: units + 1 }, (_, i) => i),
  pos: Array.from({ length: units }, (_, i) => 3 * i),
  negOffsets: Array.from({ length: units + 1 }, (_, i) => i),
  neg: Array.from({ length: units }, (_, i) => 3 * i + 1),
  weights: Array.from({ length: units }, () => 1),
})
const LABELS = {
  contrast: 'b',
  keyScope: 'others',
  queryRows: [0, 1, 2],
  queryLabels: [0, 1, 0],
  keyRows: [0, 1, 2],
  keyLabels: [0, 1, 0],
  keyPositions: [0, 1, 2],
  queryPositions: [0, 1, 2],
}
const FEATURES = [
  { name: 'one', u: flat(4, 1), v: flat(4, 1) },
  { name: 'two', u: flat(4, 2), v: flat(4, 2) },
]

/** Right calls, by name: their arguments, made anew each time, and the function. */
const CALLS = {
  covariance: [
    () => ({
      spec: { ...SPEC, contrasts: ['a', 'b'] },
      batch: {
        q: rows(2, 3, 2, 4),
        k: rows(2, 3, 1, 4),
        terms: terms(2),
        labels: structuredClone(LABELS),
        transfer: false,
      },
    }),
    async ({ spec, batch }) => {
      const sums = new QKCovariance(spec)
      try {
        await sums.add(batch)
        await sums.read()
      } finally {
        sums.dispose()
      }
    },
  ],
  uploaded: [
    () => ({ input: rows(2, 3, 2, 4), options: { backend: 'cpu', threads: 1 } }),
    async ({ input, options }) => (await uploadTensor(input, options)).release(),
  ],
  svd: [
    () => ({
      matrices: numbers(Float32Array, 24),
      options: { n: 2, rows: 4, cols: 3, energy: 0.9, maxRank: 2, seed: 1, threads: 1, backend: 'cpu' },
    }),
    ({ matrices, options }) => svd(matrices, options),
  ],
  testRank: [
    () => ({
      q: rows(12, 3, 2, 4),
      k: rows(12, 3, 2, 4),
      terms: terms(12),
      contrasts: ['a'],
      units: Array.from({ length: 12 }, (_, i) => `${i}`),
      hypothesis: 'effect',
      estimator: 'per-query',
      alpha: 0.05,
      draws: 19,
      mostDraws: 99,
      seed: 0,
      backend: 'cpu',
    }),
    (options) => testRank(options),
  ],
  attributeArrays: [
    () => ({
      q: flat(3, 4),
      k: flat(3, 5, 4),
      scale: 0.5,
      features: structuredClone(FEATURES),
      method: 'shapley',
      sides: 'both',
      centered: true,
      mask: new Uint8Array(15).fill(1),
      seed: 0,
      samples: 4,
    }),
    async (options) => attributeArrays(options),
  ],
  interveneArrays: [
    () => ({
      q: flat(3, 4),
      k: flat(3, 5, 4),
      scale: 0.5,
      edit: 'swap',
      side: 'key',
      basis: flat(4, 2),
      complement: false,
      origin: [0, 1, 2],
      target: [3, 4, 0],
      strength: 1,
      mask: new Uint8Array(15).fill(1),
    }),
    async (options) => interveneArrays(options),
  ],
  measureMove: [
    () => ({
      before: numbers(Float64Array, 6).map((x) => Math.abs(x) / 3),
      after: numbers(Float64Array, 6).map((x) => Math.abs(x) / 4),
      origin: [0, 1],
      target: [2, 0],
    }),
    async (options) => measureMove(options),
  ],
  bases: [
    () => ({ columns: flat(4, 2), sets: [flat(4, 1), flat(4, 2)], d: 4, rank: 2, seed: 1 }),
    async ({ columns, sets, d, rank, seed }) => {
      orthonormalBasis(columns, 'columns', d)
      unionBasis(sets, 'sets', d)
      randomBasis(d, rank, seed)
    },
  ],
  bootstrap: [
    () => ({
      values: numbers(Float64Array, 9),
      above: numbers(Float64Array, 9),
      options: { level: 0.9, resamples: 50, seed: 1 },
    }),
    async ({ values, above, options }) => {
      bootstrapMean(values, options)
      bootstrapRatio(above, values, options)
    },
  ],
}

const TYPES = { Float32Array, Float64Array, Int32Array, Uint32Array, Uint16Array, Uint8Array, BigInt64Array }
const SPECIAL = {
  undefined: () => undefined,
  NaN: () => Number.NaN,
  Infinity: () => Number.POSITIVE_INFINITY,
  bigint: () => 12n,
  symbol: () => Symbol('s'),
  function: () => () => {},
  proxy: () => new Proxy({}, {}),
  throwing: () => Object.defineProperty({}, 'data', { get: () => undefined, enumerable: true }),
  detached: () => {
    const array = new Float32Array(48)
    structuredClone(array.buffer, { transfer: [array.buffer] })
    return array
  },
  shared: () => new Float32Array(new SharedArrayBuffer(192)),
  shrunk: () => {
    const buffer = new ArrayBuffer(192, { maxByteLength: 400 })
    const array = new Float32Array(buffer, 0, 48)
    buffer.resize(16)
    return array
  },
}

/** Calls of `qkspace/arrays` with values exchanged somewhere inside; an input names the call and the changes. */
export const target = {
  extension: 'json',
  prepare: async () => {},
  make: (random) => {
    const call = random.pick(Object.keys(CALLS))
    const changes = Array.from({ length: 1 + random.below(2) }, () => changeOf(random, CALLS[call][0]()))
    return Buffer.from(JSON.stringify({ call, changes }, null, 2))
  },
  run: async (file) => {
    const { call, changes } = JSON.parse(readFileSync(file, 'utf8'))
    const [make, run] = CALLS[call]
    const args = { args: make() }
    for (const { path, value } of changes) {
      let place = args
      for (const key of path.slice(0, -1)) {
        place = place?.[key]
      }
      // An earlier change may have taken the place away; a typed array holds numbers alone.
      const isNumbers = ArrayBuffer.isView(place)
      const takesIt = !isNumbers || (typeof value.json === 'number' && !(place instanceof BigInt64Array))
      if (place !== null && typeof place === 'object' && takesIt) {
        // An object of the first change may have fields that cannot be set.
        Reflect.set(place, path.at(-1), decoded(value))
      }
    }
    await run(args.args)
  },
}

/** A place in the arguments, and what is put there. */
function changeOf(random, args) {
  const path = ['args']
  let value = args
  while (typeof value === 'object' && value !== null && (path.length === 1 || random.next() < 0.75)) {
    const keys = Object.keys(value)
    if (keys.length === 0) {
      break
    }
    const key = random.pick(keys)
    path.push(ArrayBuffer.isView(value) || Array.isArray(value) ? Number(key) : key)
    value = value[key]
  }
  return { path, value: encodedValue(random, value) }
}

function encodedValue(random, old) {
  const kind = random.next()
  if (kind < 0.25) {
    return { special: random.pick(Object.keys(SPECIAL)) }
  }
  if (kind < 0.45) {
    return {
      array: random.pick(Object.keys(TYPES)),
      length: random.below(60),
      fill: random.pick([0, 1, -1, 3, 2 ** 31 - 1]),
    }
  }
  if (kind < 0.7) {
    return { json: oddNumber(random) }
  }
  return { json: oddValue(random, typeof old === 'object' && ArrayBuffer.isView(old) ? null : old) }
}

function decoded({ special, array, length, fill, json }) {
  if (special !== undefined) {
    return SPECIAL[special]()
  }
  if (array === undefined) {
    return json
  }
  return new TYPES[array](length).fill(array === 'BigInt64Array' ? BigInt(fill) : fill)
}
