/** The whole surface of the native addon (native/addon/module.cc). Only `native.ts` and `load.ts` use it. */

import type { QkErrorCode } from '../errors.js'
import type { CovarianceMoments, DeviceDescription, DeviceTimings, SvdArrays, TermBatch } from './backend.js'

/** Opaque: an object that carries a tag of the addon. Frees its memory when collected. */
export type AddonHandle = object & { readonly __addon: unique symbol }

export interface AddonDescription {
  name: string
  version: string
  instructionSet: string
  /** Comma-separated: what this processor can run. */
  instructionSets: string
  threads: number
  device?: DeviceDescription
}

/** Numbers of native/abi.h and of native/cpu; `load.ts` compares all of them with the addon's. */
export const ABI_VERSION = 4
export const DTYPES = { f32: 0, f16: 1, bf16: 2, f64: 3 } as const
export const ESTIMATORS = { 'per-query': 0, 'per-pair': 1, sum: 2 } as const
export const KEY_SCOPES = { before: 0, others: 1, all: 2 } as const
export const SVD_MODES = { full: 0, energy: 1, rank: 2 } as const
/** Every error of the addon but a TypeError has one of these codes. */
export const STATUS_CODES = {
  ERR_ARGUMENT: 1,
  ERR_SHAPE: 2,
  ERR_RANGE: 3,
  ERR_EMPTY_SET: 4,
  ERR_NON_FINITE: 5,
  ERR_ABORTED: 6,
  ERR_OUT_OF_MEMORY: 7,
  ERR_BACKEND: 8,
  ERR_INTERNAL: 9,
} as const satisfies Partial<Record<QkErrorCode, number>>
/**
 * Memory of the cpu backend besides the master sums. A batch is summed separately, in at most `mostStaged` bytes.
 * With few heads, the batch is split into parts that are summed in parallel: as many as give `mostTasks` tasks over
 * all heads, in at most `mostSplit` bytes.
 */
export const CPU_MEMORY = { mostStaged: 512 * 2 ** 20, mostSplit: 64 * 2 ** 20, mostTasks: 32 } as const

export const CONSTANTS = {
  abiVersion: ABI_VERSION,
  dtype: DTYPES,
  estimator: ESTIMATORS,
  keyScope: KEY_SCOPES,
  svdMode: SVD_MODES,
  status: STATUS_CODES,
  cpuMemory: CPU_MEMORY,
} as const

export interface AddonOptions {
  backend: string
  /** Path of the backend's library, if it has one of its own. */
  library: string
  instructionSet: string
  threads: number
  /** Index or UUID; empty for the first. */
  device: string
  /** Limit in bytes; 0 means most of the free memory. */
  deviceMemory: number
}

export interface AddonSpec {
  heads: number
  kvHeads: number
  headDim: number
  contrasts: number
  estimator: number
  allowNonFinite: boolean
  threads: number
}

/**
 * Shared memory is read in place until the promise settles. All other memory is copied before the call returns.
 */
export type AddonTensor =
  | { rows: AddonHandle }
  | {
      rows: undefined
      data: Float32Array | Uint16Array
      dtype: number
      shape: readonly number[]
      strides: readonly number[]
      /**
       * Moves the buffer into the addon instead of copying it. This detaches the buffer here, unless the call is
       * refused.
       */
      transfer: boolean
    }

export interface AddonLabels {
  contrast: number
  keyScope: number
  queryRows: Int32Array
  queryPositions: Int32Array
  queryLabels: Int32Array
  keyRows: Int32Array
  keyPositions: Int32Array
  keyLabels: Int32Array
}

/** Index arrays and weights are always copied before the call returns. */
export interface AddonBatch {
  q: AddonTensor
  k: AddonTensor
  terms: TermBatch | undefined
  labels: AddonLabels[] | undefined
}

/** A covariance that adds its heads of a batch: those from `firstHead` and `firstKeyHead` on. */
export interface AddonPart {
  handle: AddonHandle
  firstHead: number
  firstKeyHead: number
}

/** A batch in parts: q and k are whole tensors, or what was uploaded for each part. */
export interface AddonPartsBatch extends Omit<AddonBatch, 'q' | 'k'> {
  q: AddonTensor | { rows: AddonHandle }[]
  k: AddonTensor | { rows: AddonHandle }[]
}

export interface AddonSvdRequest {
  matrices: Float32Array | Float64Array
  dtype: number
  n: number
  rows: number
  cols: number
  mode: number
  energy: number
  rank: number
  /** 0 = no limit. */
  maxRank: number
  seed: number
  threads: number
  /** Of u, s and v. */
  outDtype: number
  /** To be filled; not read where the mode is `energy`. */
  out: AddonSvdArrays | undefined
}

/**
 * u [n, rows, R], s [n, R], v [n, cols, R] with R = maxRank, of the type asked for. Given arrays may be longer. Their
 * memory is written in place where it is shared, and otherwise when the promise is about to settle.
 */
export type AddonSvdArrays = SvdArrays<Float32Array | Float64Array>

/** By energy with the handle for `svdRead`; with the vectors otherwise. */
export interface AddonSvdResult extends Partial<AddonSvdArrays> {
  handle?: AddonHandle
  maxRank: number
  /** [n] each. */
  ranks: Int32Array
  totalEnergy: Float64Array
  errorBound: Float64Array
  converged: Uint8Array
}

export interface AddonFlipsRequest {
  /** Uploaded. */
  q: AddonTensor
  k: AddonTensor
  heads: Int32Array
  /** [rows] */
  coefficients: Float32Array
  units: Int32Array
  unitCount: number
  /** [unitCount, ceil(draws / 32)] */
  flips: Uint32Array
  draws: number
  /** u and v are [heads.length, d, rank]; not read where it is 0. */
  rank: number
  u: Float64Array | undefined
  v: Float64Array | undefined
  components: number
  threads: number
}

/**
 * `job` is a number chosen by the caller, which cancels a queued or running call. Jobs of a context run one
 * after another, in order; each is parallel inside. Contexts run beside each other. Cheap checks of arguments run before a job is queued, and all
 * others before the arguments are used. A wrong argument is refused with a TypeError, or with an Error whose `code`
 * is one of STATUS_CODES, thrown or as a rejection. Results are arrays allocated by the addon.
 */
export interface Addon {
  readonly constants: typeof CONSTANTS
  /** Opens a backend: the built-in one, 'cpu', or the one in the library. Returns its context. */
  open(options: AddonOptions): AddonHandle
  describe(context: AddonHandle): AddonDescription
  timings(job: number, context: AddonHandle): Promise<DeviceTimings>
  covarianceCreate(context: AddonHandle, spec: AddonSpec): AddonHandle
  covarianceAdd(job: number, handle: AddonHandle, batch: AddonBatch): Promise<undefined>
  /**
   * Every part adds its heads of the batch, or none does; their contexts differ. One promise a part. The memory of q and
   * k is copied once for all, or moved, or read in place.
   */
  covarianceAddParts(job: number, parts: readonly AddonPart[], batch: AddonPartsBatch): Promise<undefined>[]
  /** The moments of all heads and contrasts. */
  covarianceMerge(job: number, handle: AddonHandle, moments: CovarianceMoments): Promise<undefined>
  /** The moments of these heads, in this order. */
  covarianceRead(job: number, handle: AddonHandle, heads: Int32Array): Promise<CovarianceMoments>
  covarianceDispose(handle: AddonHandle): void
  rowsUpload(job: number, context: AddonHandle, tensor: AddonTensor): Promise<AddonHandle>
  rowsRelease(handle: AddonHandle): void
  svd(job: number, context: AddonHandle, request: AddonSvdRequest): Promise<AddonSvdResult>
  /** Disposes of the handle. */
  svdRead(job: number, handle: AddonHandle, out: AddonSvdArrays | undefined): Promise<AddonSvdArrays>
  /** [heads, draws, components] */
  largestOfFlips(job: number, context: AddonHandle, request: AddonFlipsRequest): Promise<Float64Array>
  cancel(job: number): void
  /**
   * Sets a variable of the process, which native libraries see. In a worker thread, `process.env` is only a copy.
   */
  setEnvironmentVariable(name: string, value: string): void
}
