/** The addon behind the interface of `backend.ts`. */

import { abortedError, QkError, type QkErrorCode, throwIfAborted } from '../errors.js'
import { isResizable, isShared } from '../math/tensor.js'
import {
  type Addon,
  type AddonDescription,
  type AddonHandle,
  type AddonTensor,
  DTYPES,
  ESTIMATORS,
  REACHES,
  SVD_MODES,
} from './addon-types.js'
import type {
  Backend,
  BackendCovariance,
  BackendDescription,
  CovarianceBatch,
  CovarianceMoments,
  CovarianceSpec,
  DeviceTimings,
  ProductsRequest,
  ResidentHandle,
  RowTensor,
  SvdRequest,
  SvdResult,
} from './backend.js'
import { emptyMoments } from './moments.js'
import { Slots } from './slots.js'

let jobs = 0

/** Runs one call of the addon: a job number, cancellation by the signal, errors as QkErrors. */
async function call<T>(
  addon: Addon,
  signal: AbortSignal | undefined,
  start: (job: number) => Promise<T>,
): Promise<T> {
  throwIfAborted(signal)
  jobs = (jobs + 1) % 0xffffffff
  const job = jobs
  const cancel = () => addon.cancel(job)
  try {
    const promise = start(job)
    signal?.addEventListener('abort', cancel, { once: true })
    return await promise
  } catch (error) {
    throw wrapped(error, signal)
  } finally {
    signal?.removeEventListener('abort', cancel)
  }
}

function wrapped(error: unknown, signal?: AbortSignal): Error {
  const code = (error as { code?: unknown }).code
  if (error instanceof QkError || typeof code !== 'string' || !code.startsWith('ERR_')) {
    if (error instanceof TypeError) return new QkError('ERR_TYPE', error.message, { cause: error })
    return error as Error
  }
  if (code === 'ERR_ABORTED') return abortedError(signal)
  const message = (error as Error).message
  if (code === 'ERR_NON_FINITE')
    return new QkError(code, message, { hint: 'find out why, or set allowNonFinite to accumulate it anyway' })
  return new QkError(code as QkErrorCode, message)
}

function tensor(from: RowTensor, owned: boolean): AddonTensor {
  const { data, dtype, shape, strides, resident } = from
  const inPlace = (owned || isShared(data)) && !isResizable(data)
  return { data, rows: resident as AddonHandle | undefined, dtype: DTYPES[dtype], shape, strides, inPlace }
}

class NativeCovariance implements BackendCovariance {
  readonly #addon: Addon
  readonly #spec: CovarianceSpec
  readonly #slots = new Slots()
  #handle: AddonHandle | undefined

  constructor(addon: Addon, context: AddonHandle, spec: CovarianceSpec) {
    this.#addon = addon
    this.#spec = spec
    try {
      this.#handle = addon.covarianceCreate(context, { ...spec, estimator: ESTIMATORS[spec.estimator] })
    } catch (error) {
      throw wrapped(error)
    }
  }

  add(batch: CovarianceBatch, options: { signal?: AbortSignal; owned?: boolean } = {}): Promise<void> {
    const owned = options.owned ?? false
    return this.#slots.hold(() =>
      call(this.#addon, options.signal, (job) =>
        this.#addon.covarianceAdd(job, this.#live(), {
          q: tensor(batch.q, owned),
          k: tensor(batch.k, owned),
          terms: batch.terms && {
            ...batch.terms,
            weights: batch.terms.weights,
            posWeights: batch.terms.posWeights,
            negWeights: batch.terms.negWeights,
          },
          labels: batch.labels?.map((l) => ({ ...l, reach: REACHES[l.reach] })),
        }),
      ),
    )
  }

  async merge(moments: CovarianceMoments): Promise<void> {
    const { contrasts, heads, headDim } = this.#spec
    await call(this.#addon, undefined, (job) =>
      this.#addon.covarianceMerge(job, this.#live(), moments, contrasts, heads, headDim),
    )
  }

  async moments(heads?: readonly number[]): Promise<CovarianceMoments> {
    const { contrasts, headDim } = this.#spec
    const wanted = Int32Array.from(heads ?? Array.from({ length: this.#spec.heads }, (_, h) => h))
    const out = emptyMoments(contrasts, wanted.length, headDim)
    await call(this.#addon, undefined, (job) =>
      this.#addon.covarianceRead(job, this.#live(), wanted, out, contrasts, headDim),
    )
    return out
  }

  dispose(): void {
    if (this.#handle) this.#addon.covarianceDispose(this.#handle)
    this.#handle = undefined
  }

  #live(): AddonHandle {
    if (!this.#handle) throw new QkError('ERR_ARGUMENT', 'the covariance has been disposed of')
    return this.#handle
  }
}

export interface NativeOptions {
  /** Of 'cpu'; by default the best that the processor has. */
  instructionSet?: string
  /** Default one a processor. */
  threads?: number
  /** Of 'cuda': the library that holds it, the device's index or UUID (default the first), bytes of its memory. */
  library?: string
  device?: string
  deviceMemory?: number
}

export class NativeBackend implements Backend {
  readonly #addon: Addon
  readonly #context: AddonHandle

  /** Errors: ERR_BACKEND, with the reason. */
  constructor(
    readonly name: 'cpu' | 'cuda',
    addon: Addon,
    options: NativeOptions = {},
  ) {
    this.#addon = addon
    const { instructionSet = '', threads = 0, library = '', device = '', deviceMemory = 0 } = options
    try {
      this.#context = addon.open({ backend: name, library, instructionSet, threads, device, deviceMemory })
    } catch (error) {
      throw wrapped(error)
    }
  }

  describe(): BackendDescription {
    const { instructionSet, threads, version, device } = this.#describe()
    return { name: this.name, instructionSet, threads, version, ...(device && { device }) }
  }

  #describe(): AddonDescription {
    try {
      return this.#addon.describe(this.#context)
    } catch (error) {
      throw wrapped(error)
    }
  }

  /** Of all calls before this one, since the last time that it was asked. */
  timings(): Promise<DeviceTimings> {
    return call(this.#addon, undefined, (job) => this.#addon.timings(job, this.#context))
  }

  covariance(spec: CovarianceSpec): BackendCovariance {
    return new NativeCovariance(this.#addon, this.#context, spec)
  }

  upload(
    from: RowTensor,
    { signal, owned = false }: { signal?: AbortSignal; owned?: boolean } = {},
  ): Promise<ResidentHandle> {
    return call(this.#addon, signal, (job) => this.#addon.rowsUpload(job, this.#context, tensor(from, owned)))
  }

  get largestOfProducts(): Backend['largestOfProducts'] {
    return this.name === 'cuda' ? (request, signal) => this.#largestOfProducts(request, signal) : undefined
  }

  release(handle: ResidentHandle): void {
    this.#addon.rowsRelease(handle as AddonHandle)
  }

  async #largestOfProducts(request: ProductsRequest, signal?: AbortSignal): Promise<Float64Array> {
    const { q, k, accepted, ...rest } = request
    const out = new Float64Array(q.shape[2] * request.draws)
    await call(this.#addon, signal, (job) =>
      this.#addon.largestOfProducts(
        job,
        this.#context,
        {
          ...{ ...rest, q: tensor(q, false), k: tensor(k, false), seed: 0 },
          ...{ rank: accepted?.rank ?? 0, u: accepted?.u, v: accepted?.v },
        },
        out,
      ),
    )
    return out
  }

  async svd(request: SvdRequest, signal?: AbortSignal): Promise<SvdResult> {
    const { matrices, n, rows, cols, energy, rank, maxRank = 0, seed = 0, threads = 0 } = request
    const mode = energy !== undefined ? 'energy' : rank !== undefined ? 'rank' : 'full'
    const summary = {
      ranks: new Int32Array(n),
      totalEnergy: new Float64Array(n),
      errorBound: new Float64Array(n),
      converged: new Uint8Array(n),
    }
    const { handle, maxRank: width } = await call(this.#addon, signal, (job) =>
      this.#addon.svd(job, this.#context, {
        ...{ matrices, n, rows, cols, maxRank, seed, threads, ...summary },
        dtype: matrices instanceof Float32Array ? DTYPES.f32 : DTYPES.f64,
        inPlace: isShared(matrices) && !isResizable(matrices),
        mode: SVD_MODES[mode],
        energy: energy ?? 0,
        rank: rank ?? 0,
      }),
    )
    const u = new Float64Array(n * rows * width)
    const s = new Float64Array(n * width)
    const v = new Float64Array(n * cols * width)
    await call(this.#addon, signal, (job) =>
      this.#addon.svdRead(job, handle, { u, s, v }, n, rows, cols, width),
    )
    return { maxRank: width, u, s, v, ...summary }
  }
}
