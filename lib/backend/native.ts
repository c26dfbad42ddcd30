/** Implements the interface of `backend.ts` with the addon. */

import { abortedError, onAbort, QkError, type QkErrorCode, throwIfAborted } from '../errors.js'
import {
  type Addon,
  type AddonDescription,
  type AddonHandle,
  type AddonLabels,
  type AddonSvdArrays,
  type AddonTensor,
  DTYPES,
  ESTIMATORS,
  KEY_SCOPES,
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
  FlipsRequest,
  NamedBackend,
  ResidentHandle,
  RowTensor,
  SvdRequest,
  SvdResult,
  UploadRequest,
} from './backend.js'
import { checkBatch } from './check.js'
import { svdViews } from './js-svd.js'
import { Slots } from './slots.js'

let jobs = 0

/** The number of a call of the addon, by which it is cancelled. */
export function newJob(): number {
  jobs = (jobs + 1) % 0xffffffff
  return jobs
}

/** Runs one call of the addon with a job number. The signal cancels it, and its errors become QkErrors. */
async function call<T>(
  addon: Addon,
  signal: AbortSignal | undefined,
  start: (job: number) => Promise<T>,
): Promise<T> {
  throwIfAborted(signal)
  const job = newJob()
  let release = () => {}
  try {
    const promise = start(job)
    release = onAbort(signal, () => addon.cancel(job))
    return await promise
  } catch (error) {
    throw wrapped(error, signal)
  } finally {
    release()
  }
}

export function wrapped(error: unknown, signal?: AbortSignal): Error {
  const code = (error as { code?: unknown }).code
  if (error instanceof QkError || typeof code !== 'string' || !code.startsWith('ERR_')) {
    if (error instanceof TypeError) {
      return new QkError('ERR_TYPE', error.message, { cause: error })
    }
    return error as Error
  }
  if (code === 'ERR_ABORTED') {
    return abortedError(signal)
  }
  const message = (error as Error).message
  if (code === 'ERR_NON_FINITE') {
    return new QkError(code, message, { hint: 'find out why, or set allowNonFinite to accumulate it anyway' })
  }
  return new QkError(code as QkErrorCode, message)
}

export function addonTensor(from: RowTensor, owned: boolean): AddonTensor {
  const { data, dtype, shape, strides, resident } = from
  if (resident) {
    return { rows: resident as AddonHandle }
  }
  return { rows: undefined, data, dtype: DTYPES[dtype], shape, strides, transfer: owned }
}

export function addonLabels({ labels }: CovarianceBatch): AddonLabels[] | undefined {
  return labels?.map((l) => ({ ...l, keyScope: KEY_SCOPES[l.keyScope] }))
}

export class NativeCovariance implements BackendCovariance {
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
      call(this.#addon, options.signal, (job) => {
        const handle = this.handle()
        if (owned) {
          // The addon checks indices only in the job, when the buffers are already detached. They are checked here
          // first.
          checkBatch(this.#spec, batch)
        }
        return this.#addon.covarianceAdd(job, handle, {
          q: addonTensor(batch.q, owned),
          k: addonTensor(batch.k, owned),
          terms: batch.terms,
          labels: addonLabels(batch),
        })
      }),
    )
  }

  async merge(moments: CovarianceMoments): Promise<void> {
    await call(this.#addon, undefined, (job) => this.#addon.covarianceMerge(job, this.handle(), moments))
  }

  moments(heads?: readonly number[]): Promise<CovarianceMoments> {
    const wanted = Int32Array.from(heads ?? Array.from({ length: this.#spec.heads }, (_, h) => h))
    return call(this.#addon, undefined, (job) => this.#addon.covarianceRead(job, this.handle(), wanted))
  }

  dispose(): void {
    if (this.#handle) {
      this.#addon.covarianceDispose(this.#handle)
    }
    this.#handle = undefined
  }

  /** The addon's. Errors: ERR_ARGUMENT once it has been disposed of. */
  handle(): AddonHandle {
    if (!this.#handle) {
      throw new QkError('ERR_ARGUMENT', 'the covariance has been disposed of')
    }
    return this.#handle
  }
}

export interface NativeOptions {
  /** For 'cpu'; default: the best that the processor supports. */
  instructionSet?: string
  /** Default: one per processor. */
  threads?: number
  /**
   * For 'cuda': the path of its library, the device's index or UUID (default: the first), and the limit of its memory
   * in bytes.
   */
  library?: string
  device?: string
  deviceMemory?: number
}

export class NativeBackend implements Backend {
  /** 'cuda' for the first device, as in 'cuda:1' for another one. */
  readonly choice: NamedBackend
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
    this.choice = name === 'cuda' && device !== '' ? `cuda:${device}` : name
    try {
      this.#context = addon.open({ backend: name, library, instructionSet, threads, device, deviceMemory })
    } catch (error) {
      throw wrapped(error)
    }
  }

  describe(): BackendDescription {
    const { instructionSet, threads, version, device } = this.#describe()
    return {
      name: this.name,
      choice: this.choice,
      instructionSet,
      threads,
      version,
      ...(device && { device }),
    }
  }

  #describe(): AddonDescription {
    try {
      return this.#addon.describe(this.#context)
    } catch (error) {
      throw wrapped(error)
    }
  }

  /** Times of all calls since the last time that they were asked for. */
  timings(): Promise<DeviceTimings> {
    return call(this.#addon, undefined, (job) => this.#addon.timings(job, this.#context))
  }

  covariance(spec: CovarianceSpec): NativeCovariance {
    return new NativeCovariance(this.#addon, this.#context, spec)
  }

  upload(from: RowTensor, { signal, owned = false }: UploadRequest = {}): Promise<ResidentHandle> {
    return call(this.#addon, signal, (job) =>
      this.#addon.rowsUpload(job, this.#context, addonTensor(from, owned)),
    )
  }

  release(handle: ResidentHandle): void {
    this.#addon.rowsRelease(handle as AddonHandle)
  }

  largestOfFlips(request: FlipsRequest, signal?: AbortSignal): Promise<Float64Array> {
    const { q, k, heads, coefficients, units, unitCount, flips, draws, removed } = request
    return call(this.#addon, signal, (job) =>
      this.#addon.largestOfFlips(job, this.#context, {
        q: addonTensor(q, false),
        k: addonTensor(k, false),
        heads,
        coefficients,
        units,
        unitCount,
        flips,
        draws,
        rank: removed?.rank ?? 0,
        u: removed?.u,
        v: removed?.v,
        components: request.components ?? 1,
        threads: request.threads ?? 0,
      }),
    )
  }

  async svd(request: SvdRequest, signal?: AbortSignal): Promise<SvdResult<Float32Array | Float64Array>> {
    const { matrices, n, rows, cols, energy, rank, out } = request
    const { maxRank = 0, seed = 0, threads = 0, dtype = 'f64' } = request
    const mode = energy !== undefined ? 'energy' : rank !== undefined ? 'rank' : 'full'
    const { handle, u, s, v, ...summary } = await call(this.#addon, signal, (job) =>
      this.#addon.svd(job, this.#context, {
        matrices,
        n,
        rows,
        cols,
        dtype: matrices instanceof Float32Array ? DTYPES.f32 : DTYPES.f64,
        mode: SVD_MODES[mode],
        energy: energy ?? 0,
        rank: rank ?? 0,
        maxRank,
        seed,
        threads,
        outDtype: DTYPES[dtype],
        out,
      }),
    )
    if (signal) {
      // The work may have ended while the event loop was busy, with timers that abort it still to come.
      await new Promise((resolve) => setTimeout(resolve, 0))
      throwIfAborted(signal)
    }
    const read = (from: AddonHandle) =>
      call(this.#addon, signal, (job) => this.#addon.svdRead(job, from, out))
    const vectors = handle ? await read(handle) : ({ u, s, v } as AddonSvdArrays)
    return { ...summary, ...svdViews(vectors, request, summary.maxRank) }
  }
}
