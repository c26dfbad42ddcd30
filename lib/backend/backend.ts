/**
 * The one narrow interface to arithmetic. It imports only types: `js.ts` (readable float64 reference) and
 * `native.ts` (the addon) implement it, `select.ts` chooses between them, everything else only uses it.
 *
 * Arguments that reach a backend have been checked by the facade (`covariance/qk-covariance.ts`,
 * `spectrum/svd.ts`); a backend may still refuse them, but must never crash on them.
 */

import type { Dtype } from '../math/tensor.js'

/** The backends: `js` is the float64 reference, `cpu` the native addon, `cuda` an NVIDIA GPU. */
export type BackendName = 'js' | 'cpu' | 'cuda'

/** How terms are averaged (docs/method.md, "Covariances"). Fixed when accumulation starts. */
export type Estimator = 'per-query' | 'per-pair' | 'sum'

/** A strided view, [batch, pos, heads, d]; row r is (batch, pos) = (floor(r / pos), r mod pos). */
export interface RowTensor {
  /** f32 as Float32Array; f16 and bf16 as Uint16Array of their bits. */
  data: Float32Array | Uint16Array
  dtype: Dtype
  shape: readonly [batch: number, pos: number, heads: number, d: number]
  /** In elements, one per axis of `shape`, non-negative. */
  strides: readonly [number, number, number, number]
  /** What `upload` of the same backend gave; `data` is empty then. */
  resident?: ResidentHandle
}

/** A tensor that a backend keeps where it computes. */
export type ResidentHandle = object

/**
 * Explicit terms, one entry per term in every per-term array; key sets in CSR form.
 * Term t: query row `query[t]` against keys `pos[posOffsets[t] .. posOffsets[t+1]]`, and query row
 * `queryNeg[t]` against keys `neg[negOffsets[t] .. negOffsets[t+1]]`. No set is empty.
 */
export interface TermBatch {
  contrast: Int32Array
  query: Int32Array
  queryNeg: Int32Array
  posOffsets: Int32Array
  pos: Int32Array
  negOffsets: Int32Array
  neg: Int32Array
  /** Weight of each term, default 1; finite and >= 0. */
  weights?: Float32Array
  /** Weight of each key within its set, default 1; finite and >= 0, not all zero within a set. */
  posWeights?: Float32Array
  negWeights?: Float32Array
}

/** Which keys a label-matched query sees: earlier ones, all but its own position, or all (cross attention). */
export type KeyScope = 'before' | 'others' | 'all'

/**
 * One label-matched sequence: every query with a label is a term whose positives are the reachable keys
 * with the same label and whose negatives those with another one. Label -1 (null) is neither. A query
 * with either set empty is skipped, and counted. Positions ascend strictly within a sequence.
 */
export interface LabelSequence {
  contrast: number
  keyScope: KeyScope
  queryRows: Int32Array
  queryPositions: Int32Array
  queryLabels: Int32Array
  keyRows: Int32Array
  keyPositions: Int32Array
  keyLabels: Int32Array
}

export interface CovarianceBatch {
  q: RowTensor
  k: RowTensor
  terms?: TermBatch
  labels?: readonly LabelSequence[]
}

/** What an accumulation of covariances is made for. */
export interface CovarianceSpec {
  /** Query heads. */
  heads: number
  /** Divides `heads`; query head h reads key head floor(h / (heads / kvHeads)). */
  kvHeads: number
  /** Head dimension d. */
  headDim: number
  /** Number of contrasts. */
  contrasts: number
  /** How terms are averaged. */
  estimator: Estimator
  /** Accept NaN and infinity instead of refusing the batch. */
  allowNonFinite: boolean
  /** Threads of the native pool to use at most; 0 = all. Never changes a bit of the result. */
  threads: number
}

/**
 * Weighted sums, enough to merge shards exactly and to centre afterwards. All f64, row-major.
 *
 * With term weight w, key weights a_j (A = their sum over the set) and estimator
 *   per-query: W += w,   q-sum += w q,   k-sum += w sum_j a_j k_j / A, qk-sum += w q (sum_j a_j k_j / A)^T
 *   per-pair:  W += w A, q-sum += w A q, k-sum += w sum_j a_j k_j,     qk-sum += w q (sum_j a_j k_j)^T
 *   sum:       W += w (numbers of terms); q-, k- and qk-sums as for per-pair.
 * So C = qk-sum / W under every estimator.
 */
export interface SideMoments {
  /** [contrasts] */
  weight: Float64Array
  /** [contrasts, heads, d] */
  q: Float64Array
  /** [contrasts, heads, d] */
  k: Float64Array
  /** [contrasts, heads, d, d], rows on the query side */
  qk: Float64Array
}

/** The sums of both sides of every contrast, and how many terms are in them. */
export interface CovarianceMoments {
  /** Terms accumulated, [contrasts]. */
  terms: Float64Array
  /** Label-matched queries that were skipped because one of their sets was empty, [contrasts]. */
  skipped: Float64Array
  /** Sums over the positive halves of the terms. */
  positive: SideMoments
  /** Sums over the negative halves of the terms. */
  negative: SideMoments
}

/** Accumulates contrastive covariances. Calls are queued and run in the order in which they were made. */
export interface BackendCovariance {
  /**
   * Adds a batch, wholly or (on error or abort) not at all. Tensors over SharedArrayBuffers are read in place
   * until the promise settles. With `owned` the buffers of all others are detached from the caller, and so need no
   * copy; a batch that is refused for its shapes, indices, offsets, weights or labels, or because too many are in
   * flight, leaves them as they were, and a buffer that cannot be detached is copied. Without it they are copied
   * before the call returns; index arrays always are. The promise is the back-pressure: with 16 batches of one
   * covariance in flight, a further call is refused (ERR_ARGUMENT) rather than queued.
   */
  add(batch: CovarianceBatch, options?: { signal?: AbortSignal; owned?: boolean }): Promise<void>
  /** Adds the moments of another accumulation with the same spec; master sums are f64, so this is exact to 1e-12. */
  merge(moments: CovarianceMoments): Promise<void>
  /** A copy of the moments of the heads asked for (all by default), after every earlier call. */
  moments(heads?: readonly number[]): Promise<CovarianceMoments>
  /** Frees the native memory now rather than at garbage collection. Later calls reject. */
  dispose(): void
}

/**
 * When a decomposition may stop. Full when neither `energy` nor `rank` is given: min(rows, cols) columns,
 * U and V completed to orthonormal sets where the matrix has a lower rank.
 */
export interface SvdRequest {
  /** [n, rows, cols], row-major. */
  matrices: Float32Array | Float64Array
  n: number
  rows: number
  cols: number
  /** Smallest r whose squared singular values sum to at least this fraction of ||A||_F^2; 0 for a zero matrix. */
  energy?: number
  /** Exactly this rank, capped by min(rows, cols); beyond the matrix's own, U and V are completed. */
  rank?: number
  /** Upper limit of the rank under `energy`. */
  maxRank?: number
  /** Seed of the randomised start; the result is the same bits for the same seed. */
  seed?: number
  threads?: number
}

/**
 * Truncated singular value decompositions of n matrices, A ≈ U diag(s) V^T. All arrays are row-major.
 */
export interface SvdResult {
  /** Largest rank in the batch; narrower results are zero-padded. */
  maxRank: number
  /** [n] */
  ranks: Int32Array
  /** [n, rows, maxRank], orthonormal columns; the entry of largest magnitude of each is positive. */
  u: Float64Array
  /** [n, maxRank], descending. */
  s: Float64Array
  /** [n, cols, maxRank], orthonormal columns; v itself, not its transpose. */
  v: Float64Array
  /** ||A||_F^2, exact (may overflow to infinity or underflow to 0 for extreme matrices), [n]. */
  totalEnergy: Float64Array
  /** Upper bound of ||A - U diag(s) V^T||_F / ||A||_F, [n]. */
  errorBound: Float64Array
  /** 1 when the accuracy contract was met, 0 when the iteration limit came first, [n]. */
  converged: Uint8Array
}

/** What a backend runs on. */
export interface BackendDescription {
  /** The backend's name. */
  name: BackendName
  /** 'scalar' for js; 'baseline', 'avx2', ... for cpu. */
  instructionSet: string
  /** Threads that it uses. */
  threads: number
  /** Version of the backend itself. */
  version: string
  /** The GPU; absent on processors. */
  device?: DeviceDescription
}

/** The GPU that a backend computes on. */
export interface DeviceDescription {
  /** The device's name, as its driver gives it. */
  name: string
  /** As `nvidia-smi -L` prints it. */
  uuid: string
  /** CUDA versions, as in "13.0": the newest that the driver runs, and the library's. */
  driver: string
  /** CUDA version of the library, as in "13.0". */
  runtime: string
  /** Bytes: all, free now, and what this backend takes at most. */
  memory: number
  /** Bytes that are free now. */
  memoryFree: number
  /** Bytes that the backend takes at most. */
  memoryLimit: number
}

/** D_b = sum_r (+-) c_r q_r k_r^T, the sign that of row r's unit in draw b: the null of a sign-flip test. */
export interface FlipsRequest {
  /**
   * Queries [1, rows, heads, d] and keys [1, rows, kvHeads, d], uploaded. Query head h reads key head
   * floor(h / (heads / kvHeads)).
   */
  q: RowTensor
  k: RowTensor
  /** Query heads to compute, in this order. */
  heads: Int32Array
  /** Weight of each row, [rows], finite. */
  coefficients: Float32Array
  /** Unit of each row, [rows], ascending from 0 to unitCount - 1; every unit has a row. */
  units: Int32Array
  unitCount: number
  /** Where bit b % 32 of word [unit, floor(b / 32)] is set, draw b turns the unit's sign. [unitCount, ceil(draws / 32)] */
  flips: Uint32Array
  /** From 1 to 65535. */
  draws: number
  /** Singular directions that are taken out: u and v [heads.length, d, rank], orthonormal columns. */
  removed?: { u: Float64Array; v: Float64Array; rank: number }
  /**
   * Values a draw, default 1, at most rank + 1: value j is s_1 of (I - U U^T) D_b (I - V V^T) with the first
   * rank - (components - 1) + j columns of u and v.
   */
  components?: number
  threads?: number
}

/** What a device did, by its own clock; zeros where the backend computes in the caller's memory. */
export interface DeviceTimings {
  /** Of accumulation and decomposition, milliseconds. */
  arithmeticMs: number
  /** Of copies to the device, each from its start to its end, milliseconds. */
  copyMs: number
  copyBytes: number
}

export interface Backend {
  readonly name: BackendName
  describe(): BackendDescription
  covariance(spec: CovarianceSpec): BackendCovariance
  svd(request: SvdRequest, signal?: AbortSignal): Promise<SvdResult>
  /**
   * Largest singular values of every head and draw, [heads.length, draws, components]: to 1e-6 relative on js and cpu,
   * 1e-3 on cuda. A draw's values have the same bits whatever the threads, the heads and the other draws of the call,
   * and where all of its flips are complemented.
   */
  largestOfFlips(request: FlipsRequest, signal?: AbortSignal): Promise<Float64Array>
  /** Copies a tensor to where the backend computes; batches may read it until it is released. */
  upload(tensor: RowTensor, options?: { signal?: AbortSignal; owned?: boolean }): Promise<ResidentHandle>
  /** Frees an uploaded tensor when the batches that read it are done. */
  release(handle: ResidentHandle): void
}
