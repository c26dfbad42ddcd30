/**
 * The one narrow interface to arithmetic. It imports only types. `js.ts` (readable float64 reference) and `native.ts`
 * (the addon) implement it, `select.ts` chooses between them, and all other code only uses it.
 *
 * The facade checks arguments before they reach a backend (`covariance/qk-covariance.ts`, `spectrum/svd.ts`). A
 * backend may still refuse arguments, but must never crash on them.
 */

import type { Dtype } from '../math/tensor.js'

/** The backends: `js` is the float64 reference, `cpu` the native addon, `cuda` an NVIDIA GPU. */
export type BackendName = 'js' | 'cpu' | 'cuda'

/**
 * A backend, or devices of one: `cuda` is the first GPU, `cuda:1` and `cuda:GPU-...` name one by index or UUID,
 * `cuda:0,1` several that divide the heads among them.
 */
export type NamedBackend = BackendName | `cuda:${string}`

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
  /** Handle from `upload` of the same backend; `data` is empty then. */
  resident?: ResidentHandle
}

/** A tensor in the memory of the device or backend. */
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
 * One label-matched sequence. Every query with a label is a term: its positives are the keys in its scope with the
 * same label, its negatives the keys in its scope with another label. Keys with label -1 (null) are neither. A query
 * with an empty key set is skipped and counted. Positions ascend strictly within a sequence.
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

/** Parameters of an accumulation of covariances. */
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
  /** Limit on the threads of the native pool; 0 = all. The result is bitwise the same for any number. */
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

/** The sums of both sides of every contrast, and their numbers of terms. */
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

/** Accumulates contrastive covariances. Calls are queued and run in order. */
export interface BackendCovariance {
  /**
   * Adds a whole batch or, on error or abort, nothing. Tensors over SharedArrayBuffers are read in place until the
   * promise settles. With `owned`, other buffers are detached from the caller instead of copied. They stay attached
   * if the batch is refused for its shapes, indices, offsets, weights or labels, or because too many batches are in
   * flight; a buffer that cannot be detached is copied. Without `owned`, tensors are copied before the call returns.
   * Index arrays are always copied. The promise gives back-pressure: with 16 batches of one covariance in flight, a
   * further call is refused (ERR_ARGUMENT) rather than queued.
   */
  add(batch: CovarianceBatch, options?: { signal?: AbortSignal; owned?: boolean }): Promise<void>
  /**
   * Adds the moments of another accumulation with the same spec. Master sums are f64, so this is exact to 1e-12.
   */
  merge(moments: CovarianceMoments): Promise<void>
  /** A copy of the moments of the requested heads (all by default), after every earlier call. */
  moments(heads?: readonly number[]): Promise<CovarianceMoments>
  /** Frees the native memory now rather than at garbage collection. Later calls reject. */
  dispose(): void
}

/**
 * When a decomposition stops. Without `energy` and `rank` it is full: min(rows, cols) columns, with U and V completed
 * to orthonormal sets if the matrix has a lower rank.
 */
export interface SvdRequest {
  /** [n, rows, cols], row-major. */
  matrices: Float32Array | Float64Array
  n: number
  rows: number
  cols: number
  /** Smallest r whose squared singular values sum to at least this fraction of ||A||_F^2; 0 for a zero matrix. */
  energy?: number
  /** Exactly this rank, at most min(rows, cols). Beyond the rank of the matrix, U and V are completed. */
  rank?: number
  /** Upper limit of the rank under `energy`. */
  maxRank?: number
  /** Seed of the randomised start. The same seed gives bitwise the same result. */
  seed?: number
  threads?: number
  /** Type of u, s and v, default f64. */
  dtype?: ResultDtype
  /** Arrays to be filled, of `dtype`, with room for the widest result. None overlaps another one or `matrices`. */
  out?: SvdArrays<Float32Array | Float64Array>
}

/** Type of the numbers of a result. */
export type ResultDtype = 'f32' | 'f64'

/** Arrays of singular triplets. */
export interface SvdArrays<T extends Float32Array | Float64Array> {
  /** Left singular vectors. */
  u: T
  /** Singular values. */
  s: T
  /** Right singular vectors. */
  v: T
}

/**
 * Truncated singular value decompositions of n matrices, A ≈ U diag(s) V^T. All arrays are row-major.
 */
export interface SvdResult<T extends Float32Array | Float64Array = Float64Array> extends SvdArrays<T> {
  /** Largest rank in the batch; narrower results are zero-padded. */
  maxRank: number
  /** [n] */
  ranks: Int32Array
  /** [n, rows, maxRank], orthonormal columns; the entry of largest magnitude of each is positive. */
  u: T
  /** [n, maxRank], descending. */
  s: T
  /** [n, cols, maxRank], orthonormal columns; v itself, not its transpose. */
  v: T
  /** ||A||_F^2, exact (may overflow to infinity or underflow to 0 for extreme matrices), [n]. */
  totalEnergy: Float64Array
  /** Upper bound of ||A - U diag(s) V^T||_F / ||A||_F, [n]. */
  errorBound: Float64Array
  /** 1 if the accuracy contract was met, 0 if the limit of iterations was reached first, [n]. */
  converged: Uint8Array
}

/** The hardware that a backend runs on. */
export interface BackendDescription {
  /** The backend's name. */
  name: BackendName
  /** What selects it again, on the same devices. */
  choice: NamedBackend
  /** 'scalar' for js; 'baseline', 'avx2', ... for cpu. */
  instructionSet: string
  /** Threads that it uses. */
  threads: number
  /** Version of the backend itself. */
  version: string
  /** The GPU, the first of several; absent on processors. */
  device?: DeviceDescription
  /** All GPUs, where there are several. */
  devices?: DeviceDescription[]
}

/** The GPU that a backend computes on. */
export interface DeviceDescription {
  /** The device's name, as its driver gives it. */
  name: string
  /** As `nvidia-smi -L` prints it. */
  uuid: string
  /** The newest CUDA version that the driver supports, as in "13.0". */
  driver: string
  /** CUDA version of the library, as in "13.0". */
  runtime: string
  /** Total memory in bytes. */
  memory: number
  /** Bytes that are free now. */
  memoryFree: number
  /** Bytes that the backend takes at most. */
  memoryLimit: number
}

/**
 * The matrices D_b = sum_r (+-) c_r q_r k_r^T of a sign-flip test: the null draws. The sign is that of row r's unit
 * in draw b.
 */
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
  /**
   * Flips as bits, [unitCount, ceil(draws / 32)]. If bit b % 32 of word [unit, floor(b / 32)] is set, draw b flips
   * the unit's sign.
   */
  flips: Uint32Array
  /** From 1 to 65535. */
  draws: number
  /** Singular directions to project out: u and v [heads.length, d, rank], orthonormal columns. */
  removed?: { u: Float64Array; v: Float64Array; rank: number }
  /**
   * Values per draw, default 1, at most rank + 1. Value j is s_1 of (I - U U^T) D_b (I - V V^T) with the first rank -
   * (components - 1) + j columns of u and v.
   */
  components?: number
  threads?: number
}

/**
 * Times measured by the device's own clock. Zeros if the backend computes in the caller's memory. Of several devices,
 * which work side by side: the longest of their times, and the sum of their bytes.
 */
export interface DeviceTimings {
  /** Time of accumulation and decomposition, milliseconds. */
  arithmeticMs: number
  /** Time of copies to the device, each from its start to its end, milliseconds. */
  copyMs: number
  copyBytes: number
}

/** Options of `Backend.upload`. */
export interface UploadRequest {
  signal?: AbortSignal
  /** As for `BackendCovariance.add`. */
  owned?: boolean
  /**
   * Several GPUs divide the heads of the tensor among them, in groups that stay together: as many as there are key heads
   * that will be read beside it. Default: every head is a group.
   */
  keyHeads?: number
}

export interface Backend {
  readonly name: BackendName
  /** What selects it again, on the same devices. */
  readonly choice: NamedBackend
  describe(): BackendDescription
  covariance(spec: CovarianceSpec): BackendCovariance
  /**
   * Where `out` is given, u, s and v are views of its arrays. Shared memory is written in place, from other threads;
   * all other memory is filled on this thread when the work is done.
   */
  svd(request: SvdRequest, signal?: AbortSignal): Promise<SvdResult<Float32Array | Float64Array>>
  /**
   * Largest singular values of every head and draw, [heads.length, draws, components]: to 1e-6 relative on js and
   * cpu, 1e-3 on cuda. A draw's values are bitwise independent of the threads, and of the other heads and draws of
   * the call. Complementing all flips of a draw does not change them either.
   */
  largestOfFlips(request: FlipsRequest, signal?: AbortSignal): Promise<Float64Array>
  /** Copies a tensor to the memory in which the backend computes. Batches may read it until it is released. */
  upload(tensor: RowTensor, options?: UploadRequest): Promise<ResidentHandle>
  /** Frees an uploaded tensor once the batches that read it are done. */
  release(handle: ResidentHandle): void
}
