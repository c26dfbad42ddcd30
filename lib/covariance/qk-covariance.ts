/**
 * Contrastive query-key covariances over plain arrays: checks arguments, chooses the backend, and divides the sums.
 */

import { totalmem } from 'node:os'
import type {
  Backend,
  BackendCovariance,
  CovarianceMoments,
  CovarianceSpec,
  Estimator,
  RowTensor,
} from '../backend/backend.js'
import type { Work } from '../backend/cost/cost.js'
import { workingBytes } from '../backend/moments.js'
import { type BackendChoice, selectBackend } from '../backend/select.js'
import { QkError } from '../errors.js'
import { mebibytes } from '../math/bytes.js'
import {
  checkChoice,
  checkFlag,
  checkInteger,
  checkOptions,
  counted,
  kindOf,
  shownValue,
} from '../validate.js'
import { DeviceTensor } from './device-tensor.js'
import { rowTensor, type TensorInput } from './row-tensor.js'
import { type LabelsInput, labelSequence, type TermsInput, termBatch } from './terms-input.js'

/** Options of `QKCovariance`. */
export interface QKCovarianceOptions {
  /** Query heads. */
  heads: number
  /**
   * Number of key heads, a divisor of `heads` (default: `heads`). Query head h reads key head floor(h / (heads /
   * kvHeads)).
   */
  kvHeads?: number
  /** Head dimension d. */
  headDim: number
  /** Names of the contrasts, distinct. */
  contrasts: readonly string[]
  /** Default 'per-query'. */
  estimator?: Estimator
  /** Default 'auto': `cpu`, or a GPU where `expectedTerms` says that it pays, or `js`. */
  backend?: BackendChoice
  /** Accumulates NaN and infinity instead of refusing the batch. */
  allowNonFinite?: boolean
  /** Most threads, 0 = all. The result is bitwise the same for any number. */
  threads?: number
  /**
   * Terms that will be added, about, over all contrasts, or queries of label sequences: what `backend: 'auto'` reckons
   * with. Without it, 'auto' takes no GPU.
   */
  expectedTerms?: number
  /** Most bytes for the sums; more are refused before allocation. Default: half of the machine's memory. */
  memoryLimit?: number
}

/** Queries, keys, and the rows to contrast: `terms`, `labels` or both. */
export interface BatchInput {
  /** Queries [batch, pos, heads, d]. */
  q: TensorInput | DeviceTensor
  /** Keys [batch, pos, kvHeads, d]. */
  k: TensorInput | DeviceTensor
  /** Explicit terms. */
  terms?: TermsInput
  /** Label-matched sequences. */
  labels?: LabelsInput | readonly LabelsInput[]
  /**
   * Detaches the buffers of q and k from the caller and reads them in place, without a copy. If a batch is refused
   * before its arithmetic starts, the caller keeps the buffers. A buffer that cannot be detached is copied.
   */
  transfer?: boolean
  /** Aborts the call with ERR_ABORTED; nothing of the batch is then added. */
  signal?: AbortSignal
}

/** Contrastive covariances of all contrasts and heads, row-major. */
export interface Covariances<T = Float64Array> {
  /** E[q k^T | positive], [contrasts, heads, d, d], rows on the query side. Zero if there are no terms. */
  cPos: T
  /** E[q k^T | negative], as cPos. */
  cNeg: T
  /** Number of accumulated terms, by contrast. */
  terms: Float64Array
  /** Number of label-matched queries that were skipped because a key set was empty, by contrast. */
  skipped: Float64Array
}

const OPTIONS = {
  heads: true,
  kvHeads: true,
  headDim: true,
  contrasts: true,
  estimator: true,
  backend: true,
  allowNonFinite: true,
  threads: true,
  expectedTerms: true,
  memoryLimit: true,
} satisfies Record<keyof QKCovarianceOptions, true>

const BATCH_KEYS = {
  q: true,
  k: true,
  terms: true,
  labels: true,
  transfer: true,
  signal: true,
} satisfies Record<keyof BatchInput, true>

const READ_KEYS = { heads: true, center: true, dtype: true } as const

const ESTIMATORS: readonly Estimator[] = ['per-query', 'per-pair', 'sum']

/** Largest number that the backends index with 32 bits. */
const MOST_HEADS = 2 ** 31 - 1
const MOST_DIMENSIONS = 4096
const MOST_THREADS = 1024

/**
 * Accumulates contrastive query-key covariances C+ and C- of many heads and contrasts, batch by batch,
 * in float64 (arXiv 2602.04752).
 */
export class QKCovariance {
  /** Names of the contrasts, in the order of their indices. */
  readonly contrasts: readonly string[]
  /** Parameters of the sums, with defaults filled in. */
  readonly spec: Readonly<CovarianceSpec>
  /** Most bytes of the sums of all heads and contrasts, including the workspace of a batch; known in advance. */
  readonly bytes: number
  /** The backend that holds the sums. */
  readonly backend: Backend
  readonly #sums: BackendCovariance

  /**
   * Errors: ERR_ARGUMENT for unknown options, duplicate names, and numbers that do not fit; ERR_TYPE; ERR_MEMORY_LIMIT
   * if the sums need more than `memoryLimit`; ERR_ADDON_LOAD and ERR_BACKEND if the backend cannot be used.
   */
  constructor(options: QKCovarianceOptions) {
    checkOptions(options, OPTIONS, 'QKCovariance')
    const { heads, kvHeads = heads, headDim, contrasts, estimator = 'per-query' } = options
    checkInteger(heads, 'heads', 1, MOST_HEADS)
    checkInteger(kvHeads, 'kvHeads', 1, MOST_HEADS)
    checkInteger(headDim, 'headDim', 1, MOST_DIMENSIONS)
    if (heads % kvHeads !== 0) {
      throw new QkError('ERR_ARGUMENT', `kvHeads (${kvHeads}) does not divide heads (${heads})`)
    }
    if (!Array.isArray(contrasts) || contrasts.length === 0 || contrasts.some((c) => typeof c !== 'string')) {
      throw new QkError('ERR_ARGUMENT', 'contrasts must be an array of at least one name')
    }
    const seen = new Set<string>()
    for (const name of contrasts) {
      if (seen.has(name)) {
        throw new QkError('ERR_ARGUMENT', `contrasts has '${name}' twice`)
      }
      seen.add(name)
    }
    checkChoice(estimator, 'estimator', ESTIMATORS)
    const threads = checkInteger(options.threads ?? 0, 'threads', 0, MOST_THREADS)

    this.contrasts = [...contrasts]
    this.spec = {
      heads,
      kvHeads,
      headDim,
      estimator,
      threads,
      contrasts: contrasts.length,
      allowNonFinite: checkFlag(options.allowNonFinite ?? false, 'allowNonFinite'),
    }
    const { expectedTerms } = options
    const work: Work[] =
      expectedTerms === undefined
        ? []
        : [
            {
              kind: 'terms',
              heads,
              kvHeads,
              headDim,
              contrasts: contrasts.length,
              terms: checkInteger(expectedTerms, 'expectedTerms', 0),
            },
          ]
    this.backend = selectBackend(options.backend, work, threads)
    this.bytes = workingBytes(this.spec, this.backend.name)
    const limit = options.memoryLimit ?? totalmem() / 2
    if (!(this.bytes <= limit)) {
      throw new QkError(
        'ERR_MEMORY_LIMIT',
        `the covariances of ${counted(heads, 'head')} and ${counted(contrasts.length, 'contrast')} take ${mebibytes(this.bytes)}, ` +
          `the limit is ${mebibytes(limit)}`,
        { hint: 'take fewer heads or contrasts at a time, or raise memoryLimit' },
      )
    }
    this.#sums = this.backend.covariance(this.spec)
  }

  /**
   * Adds a whole batch or, on an error or abort, nothing. Inputs are copied before the call returns, except over
   * SharedArrayBuffers and with `transfer`. Await the promise: at most 16 batches may be in flight.
   */
  async add(batch: BatchInput): Promise<void> {
    checkOptions(batch, BATCH_KEYS, 'add()')
    const transfer = checkFlag(batch.transfer ?? false, 'transfer')
    const q = this.#tensor(batch.q, 'q')
    const k = this.#tensor(batch.k, 'k')
    const terms = batch.terms && termBatch(batch.terms, this.contrasts)
    const list = batch.labels === undefined ? [] : Array.isArray(batch.labels) ? batch.labels : [batch.labels]
    const labels = (list as LabelsInput[]).map((l, i) => labelSequence(l, this.contrasts, `labels[${i}]`))
    if (!terms && labels.length === 0) {
      throw new QkError('ERR_ARGUMENT', 'a batch needs terms or labels')
    }
    await this.#sums.add({ q, k, terms, labels }, { signal: batch.signal, owned: transfer })
  }

  /** The moments accumulated so far, for storing and merging. */
  async moments(heads?: readonly number[]): Promise<CovarianceMoments> {
    return this.#sums.moments(this.#heads(heads))
  }

  /**
   * C+ and C- of the requested heads (all by default). With `center`, C - mean(q) mean(k)^T of each side. The
   * estimator 'sum' cannot be centred, since its means have other weights than its products.
   */
  async read(options: {
    heads?: readonly number[]
    center?: boolean
    dtype: 'f32'
  }): Promise<Covariances<Float32Array>>
  async read(options?: { heads?: readonly number[]; center?: boolean; dtype?: 'f64' }): Promise<Covariances>
  async read(
    options: { heads?: readonly number[]; center?: boolean; dtype?: 'f32' | 'f64' } = {},
  ): Promise<Covariances<Float32Array | Float64Array>> {
    checkOptions(options, READ_KEYS, 'read()')
    const { dtype = 'f64' } = options
    const center = checkFlag(options.center ?? false, 'center')
    if (dtype !== 'f64' && dtype !== 'f32') {
      throw new QkError('ERR_ARGUMENT', `dtype is '${shownValue(dtype)}', expected 'f64' or 'f32'`)
    }
    if (center && this.spec.estimator === 'sum') {
      throw new QkError('ERR_ARGUMENT', "covariances of the estimator 'sum' cannot be centred", {
        hint: "accumulate with 'per-query' or 'per-pair'",
      })
    }
    const moments = await this.moments(options.heads)
    const [cPos, cNeg] = [moments.positive, moments.negative].map((side) => {
      divide(side, this.spec.headDim, center)
      return dtype === 'f32' ? Float32Array.from(side.qk) : side.qk
    })
    return { cPos, cNeg, terms: moments.terms, skipped: moments.skipped }
  }

  /** Adds the sums of another accumulation of the same heads, contrasts and estimator, which is not changed. */
  async merge(other: QKCovariance | CovarianceMoments): Promise<void> {
    if (!(other instanceof QKCovariance)) {
      this.#checkMoments(other)
      return this.#sums.merge(other)
    }
    for (const key of ['heads', 'kvHeads', 'headDim', 'estimator'] as const) {
      if (other.spec[key] !== this.spec[key]) {
        throw new QkError(
          'ERR_ARGUMENT',
          `cannot merge: ${key} is ${other.spec[key]}, expected ${this.spec[key]}`,
        )
      }
    }
    if (other.contrasts.join('\0') !== this.contrasts.join('\0')) {
      throw new QkError(
        'ERR_ARGUMENT',
        `cannot merge: contrasts are ${other.contrasts.join(', ')}, expected ${this.contrasts.join(', ')}`,
      )
    }
    return this.#sums.merge(await other.moments())
  }

  /** Frees the memory now rather than at garbage collection. Later calls reject. */
  dispose(): void {
    this.#sums.dispose()
  }

  #tensor(input: TensorInput | DeviceTensor, name: string): RowTensor {
    return input instanceof DeviceTensor ? input.on(this.backend, name) : rowTensor(input, name)
  }

  #heads(heads: readonly number[] | undefined): readonly number[] | undefined {
    if (heads !== undefined && !Array.isArray(heads)) {
      throw new QkError('ERR_TYPE', `heads must be an array of the numbers of heads, got ${kindOf(heads)}`)
    }
    heads?.forEach((h, i) => {
      if (!(Number.isInteger(h) && h >= 0 && h < this.spec.heads)) {
        throw new QkError(
          'ERR_RANGE',
          `heads[${i}] is ${shownValue(h)}, expected 0 to ${this.spec.heads - 1}`,
        )
      }
    })
    return heads
  }

  #checkMoments(moments: CovarianceMoments): void {
    const { contrasts, heads, headDim: d } = this.spec
    const expected = {
      weight: contrasts,
      q: contrasts * heads * d,
      k: contrasts * heads * d,
      qk: contrasts * heads * d * d,
    }
    const check = (array: unknown, length: number, name: string) => {
      if (!(array instanceof Float64Array) || array.length !== length) {
        throw new QkError('ERR_SHAPE', `moments: ${name} must be a Float64Array of ${length} elements`)
      }
    }
    check(moments?.terms, contrasts, 'terms')
    check(moments.skipped, contrasts, 'skipped')
    for (const side of ['positive', 'negative'] as const) {
      for (const [what, length] of Object.entries(expected)) {
        check(moments[side]?.[what as 'q'], length, `${side}.${what}`)
      }
    }
  }
}

/** Turns a qk-sum into C in place: divides by the weight and, if centred, subtracts the product of the means. */
function divide(side: CovarianceMoments['positive'], d: number, center: boolean): void {
  const heads = side.q.length / side.weight.length / d
  side.weight.forEach((weight, c) => {
    if (weight === 0) {
      return
    }
    for (let row = c * heads * d; row < (c + 1) * heads * d; row++) {
      const head = Math.floor(row / d)
      const meanQ = side.q[row] / weight
      for (let j = 0; j < d; j++) {
        const mean = center ? meanQ * (side.k[head * d + j] / weight) : 0
        side.qk[row * d + j] = side.qk[row * d + j] / weight - mean
      }
    }
  })
}
