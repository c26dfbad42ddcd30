/** Largest singular values of ΔC under permutations: what a permutation test of rank compares (design: "Rank"). */

import type { Backend, Estimator, TermBatch } from '../../backend/backend.js'
import { checkBatch } from '../../backend/check.js'
import { cooperator } from '../../backend/cooperate.js'
import { type BackendChoice, selectBackend } from '../../backend/select.js'
import { DeviceTensor, uploadTensor } from '../../covariance/device-tensor.js'
import { QKCovariance } from '../../covariance/qk-covariance.js'
import { rowTensor, type TensorInput } from '../../covariance/row-tensor.js'
import { type Indices, indices, type TermsInput, termBatch } from '../../covariance/terms-input.js'
import { QkError, throwIfAborted } from '../../errors.js'
import { checkInteger, checkOptions } from '../../validate.js'
import { svd } from '../svd.js'
import { Permutations } from './permutations.js'

export interface NullOptions {
  /** Queries [batch, pos, heads, d] and keys [batch, pos, kvHeads, d]. */
  q: TensorInput | DeviceTensor
  k: TensorInput | DeviceTensor
  /** Explicit terms of one contrast, without weights of keys. */
  terms: Omit<TermsInput, 'contrast' | 'posWeights' | 'negWeights'>
  /** Exchangeable unit of each term, as a rule its prompt; default `terms.group`, or each term its own. */
  units?: Indices
  /** Permutations. */
  draws: number
  /** Default 'per-query'. */
  estimator?: Estimator
  /** Components that are taken out of every matrix first, (I - U U^T) D (I - V V^T): u and v [heads, d, rank]. */
  accepted?: { u: Float64Array; v: Float64Array; rank: number }
  /** Default 0. */
  seed?: number
  backend?: BackendChoice
  signal?: AbortSignal
  onProgress?: (progress: { draws: number; total: number }) => void
}

const OPTIONS = {
  q: true,
  k: true,
  terms: true,
  units: true,
  draws: true,
  estimator: true,
  accepted: true,
  seed: true,
  backend: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof NullOptions, true>

export interface NullValues {
  /** Largest singular value of ΔC as it was observed, [heads]. */
  observed: Float64Array
  /** Of every permutation, [heads, draws]. */
  permuted: Float64Array
}

/** Bytes that matrices, or coefficients, of draws in work take at most. */
const ROOM = 128 * 2 ** 20

/**
 * The same permutations for the same seed on every backend; values to 1e-3 relative. The observed values are of the
 * same rows, and deflated alike.
 *
 * Errors: ERR_TYPE, ERR_ARGUMENT, ERR_SHAPE, ERR_RANGE, ERR_EMPTY_SET, ERR_NON_FINITE, ERR_OUT_OF_MEMORY, ERR_ABORTED.
 */
export async function nullSingularValues(options: NullOptions): Promise<NullValues> {
  checkOptions(options, OPTIONS, 'nullSingularValues')
  const { draws, estimator = 'per-query', seed = 0, signal, onProgress } = options
  checkInteger(draws, 'draws', 1)
  checkInteger(seed, 'seed', 0)
  throwIfAborted(signal)
  const backend = selectBackend(options.backend)
  const own = checked(backend, options)
  const uploads: DeviceTensor[] = []
  const resident = async (input: TensorInput | DeviceTensor) => {
    if (input instanceof DeviceTensor) return input
    const rows = await uploadTensor(input, { backend: options.backend, signal })
    uploads.push(rows)
    return rows
  }
  // Both start before the call returns, which is until when the caller's arrays are read.
  const both = await Promise.allSettled([resident(options.q), resident(options.k)])
  try {
    const [q, k] = both.map((upload) => {
      if (upload.status === 'rejected') {
        throw upload.reason
      }
      return upload.value
    })
    const work = new NullWork(q, k, { ...options, ...own, estimator, seed })
    const { heads } = work
    const observed = new Float64Array(heads)
    const permuted = new Float64Array(heads * draws)
    for (let from = 0; from <= draws; from += work.together) {
      throwIfAborted(signal)
      const to = Math.min(draws + 1, from + work.together)
      const values = await work.values(from, to)
      for (let h = 0; h < heads; h++)
        for (let draw = from; draw < to; draw++) {
          const value = values[h * (to - from) + draw - from]
          if (draw === 0) observed[h] = value
          else permuted[h * draws + draw - 1] = value
        }
      onProgress?.({ draws: to - 1, total: draws })
    }
    return { observed, permuted }
  } finally {
    for (const rows of uploads) rows.release()
  }
}

/** What a test is made with once it has been checked, with copies of arrays that are read until the last draw. */
interface CheckedNulls {
  terms: TermBatch
  units: Int32Array
  accepted: NullOptions['accepted']
}

type NullSettings = Omit<NullOptions, keyof CheckedNulls> &
  CheckedNulls & { estimator: Estimator; seed: number }

class NullWork {
  readonly heads: number
  /** Draws that are worked on at once. */
  readonly together: number
  readonly #q: DeviceTensor
  readonly #k: DeviceTensor
  readonly #options: NullSettings
  readonly #permutations: Permutations

  constructor(q: DeviceTensor, k: DeviceTensor, options: NullSettings) {
    const [, , heads, d] = q.shape
    this.#q = q
    this.#k = k
    this.#options = options
    this.heads = heads
    this.#permutations = new Permutations(options.terms, options.units, options.seed)
    const { slots } = this.#permutations
    // Covariances of both sides, once more beside them, and permuted terms.
    const each = 64 * heads * d * d + 32 * slots
    this.together = Math.max(1, Math.floor(ROOM / each))
  }

  /** [heads, to - from] */
  async values(from: number, to: number): Promise<Float64Array> {
    const { estimator, accepted, backend, signal } = this.#options
    const [, , heads, d] = this.#q.shape
    const draws = to - from
    const covariance = new QKCovariance({
      ...{ heads, kvHeads: this.#k.shape[2], headDim: d, estimator, backend },
      contrasts: Array.from({ length: draws }, (_, c) => `${c}`),
    })
    try {
      const terms = await this.#permutations.termsOf(from, to, signal)
      await covariance.add({ q: this.#q, k: this.#k, terms, signal })
      const { cPos: delta, cNeg } = await covariance.read()
      for (let i = 0; i < delta.length; i++) delta[i] -= cNeg[i]
      if (accepted) {
        const pause = cooperator(signal)
        for (let i = 0; i < draws * heads; i++) {
          deflate(delta, i, i % heads, d, accepted)
          await pause()
        }
      }
      const { s, maxRank } = await svd(delta, {
        ...{ n: draws * heads, rows: d, cols: d, rank: 1, backend, signal },
      })
      const values = new Float64Array(heads * draws)
      for (let b = 0; b < draws; b++)
        for (let h = 0; h < heads; h++) values[h * draws + b] = s[(b * heads + h) * maxRank]
      return values
    } finally {
      covariance.dispose()
    }
  }
}

/** Terms pass the checks that covariances make, as loops trust them. Errors: as `QKCovariance.add`. */
function checked(backend: Backend, options: NullOptions): CheckedNulls {
  const { terms: input, accepted } = options
  if (!input || typeof input !== 'object') {
    throw new QkError('ERR_TYPE', 'nullSingularValues takes explicit terms { query, pos, posOffsets, ... }')
  }
  if ('posWeights' in input || 'negWeights' in input) {
    throw new QkError('ERR_ARGUMENT', 'permutations take no weights of keys')
  }
  const [q, k] = (['q', 'k'] as const).map((name) => {
    const rows = options[name]
    return rows instanceof DeviceTensor ? rows.on(backend, name) : rowTensor(rows, name)
  })
  const given = termBatch({ ...input, contrast: 'c' }, ['c'])
  const terms = Object.fromEntries(
    Object.entries(given).map(([name, array]) => [name, array?.slice()]),
  ) as unknown as TermBatch
  const [heads, d] = q.shape.slice(2)
  const covariance = new QKCovariance({
    ...{ heads, kvHeads: k.shape[2], headDim: d, contrasts: ['c'] },
    ...{ estimator: options.estimator, backend: options.backend },
  })
  covariance.dispose()
  checkBatch(covariance.spec, { q, k, terms })
  checkAccepted(accepted, heads, d)
  const units = options.units ?? input.group
  const count = terms.query.length
  return {
    terms,
    units: units ? indices(units, 'units', count).slice() : Int32Array.from({ length: count }, (_, t) => t),
    accepted: accepted && { ...accepted, u: accepted.u.slice(), v: accepted.v.slice() },
  }
}

function checkAccepted(accepted: NullOptions['accepted'], heads: number, d: number): void {
  if (!accepted) return
  checkInteger(accepted.rank, 'accepted.rank', 0)
  for (const name of ['u', 'v'] as const) {
    const basis = accepted[name]
    const expected = heads * d * accepted.rank
    if (!(basis instanceof Float64Array) || basis.length !== expected)
      throw new QkError('ERR_SHAPE', `accepted.${name} must be a Float64Array of ${expected} elements`)
  }
}

/** Matrix `index` of a batch [n, d, d] becomes (I - U U^T) D (I - V V^T) with the bases of a head. */
function deflate(
  batch: Float64Array,
  index: number,
  head: number,
  d: number,
  { u, v, rank }: NonNullable<NullOptions['accepted']>,
): void {
  const at = (i: number, j: number) => (index * d + i) * d + j
  const basis = head * d * rank
  for (let c = 0; c < rank; c++) {
    for (let j = 0; j < d; j++) {
      let sum = 0
      for (let i = 0; i < d; i++) sum += u[basis + i * rank + c] * batch[at(i, j)]
      for (let i = 0; i < d; i++) batch[at(i, j)] -= sum * u[basis + i * rank + c]
    }
    for (let i = 0; i < d; i++) {
      let sum = 0
      for (let j = 0; j < d; j++) sum += batch[at(i, j)] * v[basis + j * rank + c]
      for (let j = 0; j < d; j++) batch[at(i, j)] -= sum * v[basis + j * rank + c]
    }
  }
}
