/** Batched truncated singular value decomposition: checks arguments, chooses the backend. */

import type { SvdResult } from '../backend/backend.js'
import { type BackendChoice, selectBackend } from '../backend/select.js'
import { QkError } from '../errors.js'
import { elementCount } from '../math/tensor.js'
import { checkFraction, checkInteger, checkOptions, checkReadable } from '../validate.js'

/** The shape of the matrices, and when a decomposition may stop. */
export interface SvdOptions {
  /** Number of matrices, and the shape of each. */
  n: number
  /** Rows of each matrix. */
  rows: number
  /** Columns of each matrix. */
  cols: number
  /** Stop at this fraction of ||A||_F^2, above 0 and at most 1: the smallest rank that reaches it. */
  energy?: number
  /**
   * Exactly this rank, at most min(rows, cols). Not together with `energy`. Without both, the decomposition is full.
   */
  rank?: number
  /** Upper limit of the rank under `energy`. */
  maxRank?: number
  /** Backend of the decomposition; default 'auto': `cpu`, or `js` if that cannot be used. */
  backend?: BackendChoice
  /** Seed of the randomised start. The same seed gives bitwise the same result. */
  seed?: number
  /** Most threads, 0 = all. */
  threads?: number
  /** Ends the call with ERR_ABORTED. */
  signal?: AbortSignal
}

const OPTIONS = {
  n: true,
  rows: true,
  cols: true,
  energy: true,
  rank: true,
  maxRank: true,
  backend: true,
  seed: true,
  threads: true,
  signal: true,
} satisfies Record<keyof SvdOptions, true>

/** Largest side of a matrix. */
const MAX_SIDE = 4096

/**
 * A = U diag(s) V^T for each of `matrices` [n, rows, cols], row-major.
 *
 * Returns u [n, rows, R], s [n, R] descending and v [n, cols, R] (v itself, not its transpose), R =
 * `maxRank` the largest rank found, narrower results zero-padded. ||A - U diag(s) V^T||_F is within 1e-5 ||A||_F
 * of the best possible of that rank; `errorBound` [n] bounds it from above, relative to ||A||_F.
 */
export async function svd(matrices: Float32Array | Float64Array, options: SvdOptions): Promise<SvdResult> {
  checkOptions(options, OPTIONS, 'svd')
  const { n, rows, cols, energy, rank, maxRank, backend = 'auto', seed = 0, threads = 0, signal } = options
  if (!(matrices instanceof Float32Array || matrices instanceof Float64Array)) {
    throw new QkError('ERR_TYPE', 'matrices must be a Float32Array or a Float64Array')
  }
  const count = elementCount([n, rows, cols], 'the shape [n, rows, cols]')
  for (const [name, side] of [
    ['rows', rows],
    ['cols', cols],
  ] as const) {
    if (side < 1 || side > MAX_SIDE) {
      throw new QkError('ERR_SHAPE', `${name} is ${side}, expected 1 to ${MAX_SIDE}`)
    }
  }
  checkReadable(matrices, 'matrices')
  if (matrices.length !== count) {
    throw new QkError(
      'ERR_SHAPE',
      `matrices has ${matrices.length} elements, [${n}, ${rows}, ${cols}] needs ${count}`,
    )
  }
  if (energy !== undefined && rank !== undefined) {
    throw new QkError('ERR_ARGUMENT', 'energy and rank exclude each other')
  }
  if (energy !== undefined) {
    checkFraction(energy, 'energy')
  }
  if (rank !== undefined) {
    checkInteger(rank, 'rank', 0)
  }
  if (maxRank !== undefined) {
    checkInteger(maxRank, 'maxRank', 1)
  }
  checkInteger(seed, 'seed', 0)
  checkInteger(threads, 'threads', 0)
  const most = Math.min(rows, cols)
  return selectBackend(backend).svd(
    {
      matrices,
      n,
      rows,
      cols,
      energy,
      seed,
      threads,
      rank: rank === undefined ? undefined : Math.min(rank, most),
      maxRank: maxRank === undefined ? undefined : Math.min(maxRank, most),
    },
    signal,
  )
}
