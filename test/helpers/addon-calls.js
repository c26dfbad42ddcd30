/** Calls of the raw addon (lib/backend/addon-types.ts) that are right, to be made wrong by the tests of its boundary. */

import { loadAddon } from '../../dist/backend/addon/load.js'
import { sequence, tensor, terms } from './arithmetic-batches.js'

export const addon = loadAddon()

let jobs = 0
export const job = () => ++jobs

export const openOptions = (more = {}) => ({
  backend: 'cpu',
  library: '',
  instructionSet: '',
  threads: 2,
  device: '',
  deviceMemory: 0,
  ...more,
})

export const spec = (more = {}) => ({
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  contrasts: 2,
  estimator: 0,
  allowNonFinite: false,
  threads: 0,
  ...more,
})

/** A tensor argument; `more` changes it. */
export function rows(shape, seed, more = {}) {
  const { data, strides } = tensor(shape, { seed })
  return { rows: undefined, data, dtype: 0, shape, strides, transfer: false, ...more }
}

export const queries = (more) => rows([1, 20, 4, 8], 1, more)
export const keys = (more) => rows([1, 20, 2, 8], 2, more)

export function explicitTerms(more = {}) {
  const list = terms(30, 20, 20, { contrasts: 2, seed: 3, weights: true, keyWeights: true })
  return { queryNeg: list.query, ...list, ...more }
}

export const labels = (more = {}) => ({ ...sequence(20, { contrast: 1 }), keyScope: 1, ...more })

export const batch = (more = {}) => ({
  q: queries(),
  k: keys(),
  terms: explicitTerms(),
  labels: [labels()],
  ...more,
})

export const svdRequest = (more = {}) => ({
  matrices: Float32Array.from(tensor([2, 1, 12, 10], { seed: 4 }).data),
  dtype: 0,
  n: 2,
  rows: 12,
  cols: 10,
  mode: 1,
  energy: 1,
  rank: 0,
  maxRank: 0,
  seed: 0,
  threads: 0,
  outDtype: 3,
  out: undefined,
  ...more,
})

/** `q` and `k` are the handles of what `queries` and `keys` give. */
export function flipsRequest({ q, k, ...more }) {
  return {
    q: { rows: q },
    k: { rows: k },
    heads: Int32Array.of(0, 1, 2, 3),
    coefficients: new Float32Array(20).map((_, i) => (i % 5) - 2),
    units: new Int32Array(20).map((_, i) => i >> 1),
    unitCount: 10,
    flips: new Uint32Array(10).map((_, i) => i),
    draws: 3,
    rank: 2,
    u: new Float64Array(4 * 8 * 2).map((_, i) => (i % 17 === 0 ? 1 : 0)),
    v: new Float64Array(4 * 8 * 2).map((_, i) => (i % 17 === 0 ? 1 : 0)),
    components: 2,
    threads: 0,
    ...more,
  }
}

export function moments(contrasts = 2, heads = 4, d = 8) {
  const side = () => ({
    weight: new Float64Array(contrasts).fill(1),
    q: new Float64Array(contrasts * heads * d).fill(2),
    k: new Float64Array(contrasts * heads * d).fill(3),
    qk: new Float64Array(contrasts * heads * d * d).fill(4),
  })
  return {
    terms: new Float64Array(contrasts).fill(5),
    skipped: new Float64Array(contrasts).fill(6),
    positive: side(),
    negative: side(),
  }
}

/** Detaches the buffer of a typed array. */
export const detach = (array) => structuredClone(array.buffer, { transfer: [array.buffer] })
