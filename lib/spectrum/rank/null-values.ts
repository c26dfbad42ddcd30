/** Largest singular values of ΔC under permutations: what a permutation test of rank compares (design: "Rank"). */

import type { Backend, Estimator } from '../../backend/backend.js'
import { type BackendChoice, selectBackend } from '../../backend/select.js'
import { DeviceTensor, uploadTensor } from '../../covariance/device-tensor.js'
import { QKCovariance } from '../../covariance/qk-covariance.js'
import { rowTensor, type TensorInput } from '../../covariance/row-tensor.js'
import { type Indices, type TermsInput, termBatch } from '../../covariance/terms-input.js'
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
  const uploads: DeviceTensor[] = []
  const resident = async (input: TensorInput | DeviceTensor, name: string) => {
    if (input instanceof DeviceTensor) return input
    rowTensor(input, name)
    const rows = await uploadTensor(input, { backend: options.backend, signal })
    uploads.push(rows)
    return rows
  }
  try {
    const q = await resident(options.q, 'q')
    const k = await resident(options.k, 'k')
    const work = new NullWork(backend, q, k, { ...options, estimator, seed })
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

class NullWork {
  readonly heads: number
  /** Draws that are worked on at once. */
  readonly together: number
  readonly #backend: Backend
  readonly #q: DeviceTensor
  readonly #k: DeviceTensor
  readonly #options: NullOptions & { estimator: Estimator; seed: number }
  readonly #permutations: Permutations

  constructor(
    backend: Backend,
    q: DeviceTensor,
    k: DeviceTensor,
    options: NullOptions & { estimator: Estimator; seed: number },
  ) {
    const [, , heads, d] = q.shape
    this.#backend = backend
    this.#q = q
    this.#k = k
    this.#options = options
    this.heads = heads
    if ('posWeights' in options.terms || 'negWeights' in options.terms)
      throw new QkError('ERR_ARGUMENT', 'permutations take no weights of keys')
    const terms = termBatch({ ...options.terms, contrast: 'c' }, ['c'])
    const given = options.units ?? options.terms.group
    const count = terms.query.length
    if (given && given.length !== count)
      throw new QkError('ERR_SHAPE', `units has ${given.length} elements, expected ${count}`)
    const units = given ? Int32Array.from(given) : Int32Array.from({ length: count }, (_, t) => t)
    this.#permutations = new Permutations(terms, units, options.seed)
    checkAccepted(options.accepted, heads, d)
    // Covariances of both sides, once more beside them, or coefficients where the backend works from those.
    const each = backend.largestOfProducts ? 4 * this.#permutations.slots : 64 * heads * d * d
    this.together = Math.max(1, Math.floor(ROOM / each))
  }

  /** [heads, to - from] */
  async values(from: number, to: number): Promise<Float64Array> {
    const { estimator, accepted, signal } = this.#options
    const backend = this.#backend
    if (!backend.largestOfProducts) return this.#throughCovariances(from, to)
    return backend.largestOfProducts(
      {
        q: this.#q.on(backend, 'q'),
        k: this.#k.on(backend, 'k'),
        ...this.#permutations.rows(),
        coefficients: this.#permutations.coefficients(from, to, estimator),
        draws: to - from,
        accepted,
      },
      signal,
    )
  }

  async #throughCovariances(from: number, to: number): Promise<Float64Array> {
    const { estimator, accepted, backend, signal } = this.#options
    const [, , heads, d] = this.#q.shape
    const draws = to - from
    const covariance = new QKCovariance({
      ...{ heads, kvHeads: this.#k.shape[2], headDim: d, estimator, backend },
      contrasts: Array.from({ length: draws }, (_, c) => `${c}`),
    })
    try {
      await covariance.add({ q: this.#q, k: this.#k, terms: this.#permutations.termsOf(from, to), signal })
      const { cPos: delta, cNeg } = await covariance.read()
      for (let i = 0; i < delta.length; i++) delta[i] -= cNeg[i]
      if (accepted) for (let i = 0; i < draws * heads; i++) deflate(delta, i, i % heads, d, accepted)
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
