/** The whole surface of the native addon (native/addon.cc). Only `native.ts` and `load.ts` use it. */

import type { DeviceDescription, DeviceTimings } from './backend.js'

/** Opaque; frees its memory when collected. */
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

/** Codes of native/abi.h. */
export const DTYPES = { f32: 0, f16: 1, bf16: 2, f64: 3 } as const
export const ESTIMATORS = { 'per-query': 0, 'per-pair': 1, sum: 2 } as const
export const REACHES = { before: 0, others: 1, all: 2 } as const
export const SVD_MODES = { full: 0, energy: 1, rank: 2 } as const

export interface AddonOptions {
  backend: string
  /** Path, for a backend of its own library. */
  library: string
  instructionSet: string
  threads: number
  /** Index or UUID; empty for the first. */
  device: string
  /** Bytes, 0 = most of what is free. */
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

export interface AddonTensor {
  data: Float32Array | Uint16Array
  /** Read in place of `data`. */
  rows: AddonHandle | undefined
  dtype: number
  shape: readonly number[]
  strides: readonly number[]
  /** Read where it lies, until the promise settles, instead of copied before the call returns. */
  inPlace: boolean
}

/** Index arrays are always copied before the call returns. */
export interface AddonTerms {
  contrast: Int32Array
  query: Int32Array
  queryNeg: Int32Array
  posOffsets: Int32Array
  pos: Int32Array
  negOffsets: Int32Array
  neg: Int32Array
  weights: Float32Array | undefined
  posWeights: Float32Array | undefined
  negWeights: Float32Array | undefined
}

export interface AddonLabels {
  contrast: number
  reach: number
  queryRows: Int32Array
  queryPositions: Int32Array
  queryLabels: Int32Array
  keyRows: Int32Array
  keyPositions: Int32Array
  keyLabels: Int32Array
}

export interface AddonBatch {
  q: AddonTensor
  k: AddonTensor
  terms: AddonTerms | undefined
  labels: AddonLabels[] | undefined
}

export interface AddonSide {
  weight: Float64Array
  q: Float64Array
  k: Float64Array
  qk: Float64Array
}

export interface AddonMoments {
  terms: Float64Array
  skipped: Float64Array
  positive: AddonSide
  negative: AddonSide
}

export interface AddonSvdRequest {
  matrices: Float32Array | Float64Array
  dtype: number
  inPlace: boolean
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
  /** Written: [n] each. */
  ranks: Int32Array
  totalEnergy: Float64Array
  errorBound: Float64Array
  converged: Uint8Array
}

/**
 * `job` is a number chosen by the caller, by which a queued or running call is cancelled. Jobs of an
 * environment run one after another, in order; each is parallel inside. Rejections are Errors with `code`.
 */
export interface Addon {
  readonly abiVersion: number
  /** Opens a backend: the one that is linked in, 'cpu', or that in the library. Gives its context. */
  open(options: AddonOptions): AddonHandle
  describe(context: AddonHandle): AddonDescription
  timings(job: number, context: AddonHandle): Promise<DeviceTimings>
  covarianceCreate(context: AddonHandle, spec: AddonSpec): AddonHandle
  covarianceAdd(job: number, handle: AddonHandle, batch: AddonBatch): Promise<undefined>
  /** Reads the moments in place until the promise settles. */
  covarianceMerge(
    job: number,
    handle: AddonHandle,
    moments: AddonMoments,
    contrasts: number,
    heads: number,
    headDim: number,
  ): Promise<undefined>
  /** Fills the moments, which have room for `heads.length` heads. */
  covarianceRead(
    job: number,
    handle: AddonHandle,
    heads: Int32Array,
    moments: AddonMoments,
    contrasts: number,
    headDim: number,
  ): Promise<undefined>
  covarianceDispose(handle: AddonHandle): void
  rowsUpload(job: number, context: AddonHandle, tensor: AddonTensor): Promise<AddonHandle>
  rowsRelease(handle: AddonHandle): void
  svd(
    job: number,
    context: AddonHandle,
    request: AddonSvdRequest,
  ): Promise<{ handle: AddonHandle; maxRank: number }>
  /** Fills u [n, rows, maxRank], s [n, maxRank], v [n, cols, maxRank] and frees the handle. */
  svdRead(
    job: number,
    handle: AddonHandle,
    outputs: { u: Float64Array; s: Float64Array; v: Float64Array },
    n: number,
    rows: number,
    cols: number,
    maxRank: number,
  ): Promise<undefined>
  /** Fills out [heads, draws]; only where the backend has a way of its own. */
  largestOfProducts(
    job: number,
    context: AddonHandle,
    request: {
      q: AddonTensor
      k: AddonTensor
      query: Int32Array
      key: Int32Array
      coefficients: Float32Array
      draws: number
      rank: number
      u: Float64Array | undefined
      v: Float64Array | undefined
      seed: number
    },
    out: Float64Array,
  ): Promise<undefined>
  cancel(job: number): void
}
