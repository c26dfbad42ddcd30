/** Batched truncated singular value decomposition: checks arguments, chooses the backend. */

import type { ResultDtype, SvdArrays, SvdResult } from '../backend/backend.js'
import { type BackendChoice, selectBackend } from '../backend/select.js'
import { QkError } from '../errors.js'
import { elementCount } from '../math/tensor.js'
import {
  checkChoice,
  checkFraction,
  checkInteger,
  checkOptions,
  checkReadable,
  kindOf,
  refuseUnknownKeys,
} from '../validate.js'

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
  /** Backend of the decomposition; default 'auto': `cpu`, or a GPU where that pays, or `js`. */
  backend?: BackendChoice
  /** Seed of the randomised start. The same seed gives bitwise the same result. */
  seed?: number
  /** Most threads, 0 = all. */
  threads?: number
  /** Ends the call with ERR_ABORTED. */
  signal?: AbortSignal
  /**
   * Type of u, s and v, default 'f64'. All arithmetic is the same; singular values beyond the range of f32 become
   * infinite.
   */
  dtype?: ResultDtype
  /**
   * Arrays to be filled, of `dtype`, in place of new ones: u of at least n rows R numbers, s of n R and v of n cols R,
   * with R = `rank`, or min(rows, cols), or under `energy` the most that `maxRank` allows. The result has views of
   * them. Arrays over SharedArrayBuffers are filled in place while the call runs, others at its end by a copy. After
   * an error their contents are undefined.
   */
  out?: SvdArrays<Float32Array | Float64Array>
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
  dtype: true,
  out: true,
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
export function svd(
  matrices: Float32Array | Float64Array,
  options: SvdOptions & { dtype?: 'f64' },
): Promise<SvdResult>
/** The same in f32. */
export function svd(
  matrices: Float32Array | Float64Array,
  options: SvdOptions & { dtype: 'f32' },
): Promise<SvdResult<Float32Array>>
/** The same in the type that is given. */
export function svd(
  matrices: Float32Array | Float64Array,
  options: SvdOptions,
): Promise<SvdResult<Float32Array | Float64Array>>
export async function svd(
  matrices: Float32Array | Float64Array,
  options: SvdOptions,
): Promise<SvdResult<Float32Array | Float64Array>> {
  checkOptions(options, OPTIONS, 'svd')
  const { n, rows, cols, energy, rank, maxRank, backend = 'auto', seed = 0, threads = 0, signal } = options
  const { dtype = 'f64', out } = options
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
  checkChoice(dtype, 'dtype', ['f32', 'f64'])
  const most = Math.min(rows, cols)
  if (out !== undefined) {
    const width = Math.min(most, rank ?? (energy === undefined ? most : (maxRank ?? most)))
    checkOut(out, dtype, { u: n * rows * width, s: n * width, v: n * cols * width }, matrices)
  }
  const full = energy === undefined && rank === undefined
  return selectBackend(backend, [{ kind: 'svd', n, rows, cols, full }], threads).svd(
    {
      matrices,
      n,
      rows,
      cols,
      energy,
      seed,
      threads,
      dtype,
      out,
      rank: rank === undefined ? undefined : Math.min(rank, most),
      maxRank: maxRank === undefined ? undefined : Math.min(maxRank, most),
    },
    signal,
  )
}

const OUT = { u: true, s: true, v: true } satisfies Record<keyof SvdArrays<Float64Array>, true>

/** Arrays to be filled: types, lengths, and that no two of them, or one and `matrices`, are of the same memory. */
function checkOut(
  out: SvdArrays<Float32Array | Float64Array>,
  dtype: ResultDtype,
  lengths: Record<keyof typeof OUT, number>,
  matrices: Float32Array | Float64Array,
): void {
  if (!out || typeof out !== 'object' || ArrayBuffer.isView(out)) {
    throw new QkError('ERR_TYPE', `out must be an object { u, s, v }, got ${kindOf(out)}`)
  }
  refuseUnknownKeys(out, OUT, 'out')
  const known: [string, Float32Array | Float64Array][] = [['matrices', matrices]]
  const Type = dtype === 'f32' ? Float32Array : Float64Array
  for (const [key, length] of Object.entries(lengths)) {
    const name = `out.${key}`
    const array = out[key as keyof typeof OUT]
    if (!(array instanceof Type)) {
      throw new QkError('ERR_TYPE', `${name} must be a ${Type.name}, got ${kindOf(array)}`, {
        hint: `The dtype of the result is ${dtype}.`,
      })
    }
    checkReadable(array, name)
    if (array.length < length) {
      throw new QkError('ERR_SHAPE', `${name} has ${array.length} elements, at least ${length} are needed`)
    }
    const other = known.find(([, taken]) => overlap(taken, array))
    if (other) {
      throw new QkError('ERR_ARGUMENT', `${name} overlaps ${other[0]}`, { hint: 'Give each its own memory.' })
    }
    known.push([name, array])
  }
}

function overlap(a: Float32Array | Float64Array, b: Float32Array | Float64Array): boolean {
  const ends = (x: Float32Array | Float64Array) => x.byteOffset + x.byteLength
  return a.buffer === b.buffer && a.byteOffset < ends(b) && b.byteOffset < ends(a)
}
