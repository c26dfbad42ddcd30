/**
 * Causal edits of queries and keys within a subspace, on plain arrays (figures 4, 7 and 9 of arXiv 2602.04752).
 *
 * With P the projector on the span of the basis, or on its complement, and s the strength, a row x becomes
 *
 *   x + s P (y - x),   y = the other key (swap), the donor (patch), zero or the mean (ablate), factor * x (scale)
 *
 * so that s = 1 replaces the coordinates of x in the subspace by those of y, and s = 0 changes nothing.
 */

import { QkError } from '../errors.js'
import { type ArrayInput, readArray, readMask, readPositions, readQueriesAndKeys } from '../math/arrays.js'
import { type Basis, orthonormalBasis, project, projectOut, unionBasis } from '../math/basis.js'
import { dotAt, scoreRows, softmaxRows } from '../math/scores.js'
import type { FloatArray } from '../math/tensor.js'
import { checkChoice, checkFlag, checkNumber, checkOptions } from '../validate.js'
import { EDITS, type Edit } from './edit.js'

/** Options of `interveneArrays`. Arrays are row-major. */
export interface InterveneArraysOptions {
  /** One query row for each score row, [n, d]. */
  q: ArrayInput
  /** The keys of each row, [n, keys, d]. */
  k: ArrayInput
  /** Scores are scale * q . k (default 1). */
  scale?: number
  /**
   * 'swap' exchanges the coordinates of the keys at `origin` and `target`; 'patch' takes them from `donor`; 'ablate'
   * sets them to zero, or to those of `mean`; 'scale' multiplies them by `factor`.
   */
  edit: Edit
  /** 'key' (default) edits the key at `origin`. 'query' edits the query, and 'swap' then means 'patch'. */
  side?: 'key' | 'query'
  /** Columns [d, r], or several such sets: the edit is in the span of all of them. They need not be orthonormal. */
  basis: ArrayInput | readonly ArrayInput[]
  /** Edits everything except the span: in I - V V^T (default false). */
  complement?: boolean
  /** The edited key, by row [n]. Required for edits of keys; not used for queries. */
  origin?: Int32Array | readonly number[]
  /** The key to swap with, by row [n]. Required to swap keys; otherwise not used. */
  target?: Int32Array | readonly number[]
  /** Donor rows, [n, d], for 'patch', and for 'swap' of queries. */
  donor?: ArrayInput
  /** Factor for 'scale'. */
  factor?: number
  /** Mean, [d], for 'ablate' (default: zero). */
  mean?: ArrayInput
  /** 0 changes nothing and 1 (default) is the whole edit; linear between and beyond. */
  strength?: number
  /** [n, keys], 1 = visible (default: all). The softmax is over unmasked keys. */
  mask?: Uint8Array
}

/** Scores and patterns of the queries and keys, [n, keys]. */
export interface Attention {
  /** scale * q . k, masked keys included. */
  scores: Float64Array
  /** Softmax over the unmasked keys. 0 at masked keys, and in all of a fully masked row. */
  pattern: Float64Array
}

export interface Intervention extends Attention {
  /** Scores and patterns without the edit. */
  before: Attention
}

const OPTIONS = {
  q: true,
  k: true,
  scale: true,
  mask: true,
  edit: true,
  side: true,
  basis: true,
  complement: true,
  strength: true,
  origin: true,
  target: true,
  donor: true,
  factor: true,
  mean: true,
} satisfies Record<keyof InterveneArraysOptions, true>

/**
 * Scores and patterns before and after an edit of the queries or keys in a subspace, in float64. Several bases act as
 * their union: directions that they share are edited once.
 *
 * Errors (QkError): ERR_TYPE and ERR_SHAPE for arrays that do not fit each other, ERR_NON_FINITE for NaN and infinity,
 * ERR_RANGE for invalid key indices and for masks other than 0 and 1, ERR_EMPTY_SET for an empty array of bases,
 * ERR_ARGUMENT for anything else, including options that an edit needs and lacks, or does not use.
 */
export function interveneArrays(options: InterveneArraysOptions): Intervention {
  checkOptions(options, OPTIONS, 'interveneArrays()')
  const edit = checkChoice(options.edit, 'edit', EDITS)
  const side = checkChoice(options.side ?? 'key', 'side', ['key', 'query'])
  refuseUnused(options, edit, side)
  const scale = checkNumber(options.scale ?? 1, 'scale')
  const strength = checkNumber(options.strength ?? 1, 'strength')
  const { q, k, n, keys, d } = readQueriesAndKeys(options.q, options.k)
  const mask = readMask(options.mask, n, keys)
  const within = projector(options, d)
  const replacement = replacements(options, edit, side, n, d)
  const origin = readPosition(options, 'origin', side === 'key', n, keys)
  const target = readPosition(options, 'target', side === 'key' && edit === 'swap', n, keys)

  /** x + s P (y - x). */
  const edited = (x: FloatArray, y: FloatArray) => {
    const change = within(Float64Array.from(x, (value, i) => y[i] - value))
    return change.map((value, i) => x[i] + strength * value)
  }
  const attention = (scores: Float64Array): Attention => ({
    scores,
    pattern: softmaxRows(scores, keys, mask),
  })
  const before = attention(scoreRows(q, k, d, scale))
  const rows = Array.from({ length: n }, (_, row) => row)

  if (side === 'query') {
    const queries = new Float64Array(n * d)
    for (const row of rows) {
      const query = q.subarray(row * d, (row + 1) * d)
      queries.set(edited(query, replacement(row, query)), row * d)
    }
    return { ...attention(scoreRows(queries, k, d, scale)), before }
  }

  const scores = Float64Array.from(before.scores)
  const replaceKey = (row: number, key: number, vector: Float64Array) => {
    scores[row * keys + key] = scale * dotAt(q, row * d, vector, 0, d)
  }
  for (const row of rows) {
    const keyAt = (key: number) => k.subarray((row * keys + key) * d, (row * keys + key + 1) * d)
    const at = origin![row]
    if (edit === 'swap') {
      const other = target![row]
      if (at === other) {
        throw new QkError('ERR_ARGUMENT', `origin and target of row ${row} are both key ${at}`, {
          hint: 'a swap needs two different keys',
        })
      }
      replaceKey(row, at, edited(keyAt(at), keyAt(other)))
      replaceKey(row, other, edited(keyAt(other), keyAt(at)))
    } else {
      replaceKey(row, at, edited(keyAt(at), replacement(row, keyAt(at))))
    }
  }
  return { ...attention(scores), before }
}

/** P: the projector on the span of all bases together, or on its complement. */
function projector(options: InterveneArraysOptions, d: number): (rows: Float64Array) => Float64Array {
  const { basis } = options
  const complement = checkFlag(options.complement ?? false, 'complement')
  const span: Basis = Array.isArray(basis)
    ? unionBasis(basis, 'basis', d)
    : orthonormalBasis(basis as ArrayInput, 'basis', d)
  return (rows) => (complement ? projectOut(span, rows) : project(span, rows))
}

/** y for a row x, for every edit except the swap of keys. */
function replacements(
  options: InterveneArraysOptions,
  edit: Edit,
  side: 'key' | 'query',
  n: number,
  d: number,
): (row: number, x: FloatArray) => FloatArray {
  if (edit === 'patch' || (edit === 'swap' && side === 'query')) {
    if (options.donor === undefined) {
      throw new QkError(
        'ERR_ARGUMENT',
        `edit '${edit}' of ${side === 'key' ? 'keys' : 'queries'} needs donor`,
        {
          hint: 'give donor [n, d], the rows whose coordinates are taken',
        },
      )
    }
    const donor = readArray(options.donor, 'donor', { n, d }).data
    return (row) => donor.subarray(row * d, (row + 1) * d)
  }
  if (edit === 'scale') {
    if (options.factor === undefined) {
      throw new QkError('ERR_ARGUMENT', "edit 'scale' needs factor", { hint: 'give factor, a number' })
    }
    const factor = checkNumber(options.factor, 'factor')
    return (_, x) => Float64Array.from(x, (value) => factor * value)
  }
  const mean = options.mean === undefined ? new Float64Array(d) : readArray(options.mean, 'mean', { d }).data
  return () => mean
}

/** origin and target are checked even if they are not used, so that one set of options serves every edit. */
function readPosition(
  options: InterveneArraysOptions,
  name: 'origin' | 'target',
  needed: boolean,
  n: number,
  keys: number,
): Int32Array | undefined {
  const positions = options[name]
  if (positions !== undefined) {
    return readPositions(positions, name, n, keys)
  }
  if (needed) {
    throw new QkError('ERR_ARGUMENT', `edit '${options.edit}' of keys needs ${name}`, {
      hint: `give ${name}, an Int32Array with the index of a key for each row`,
    })
  }
  return undefined
}

function refuseUnused(options: InterveneArraysOptions, edit: Edit, side: 'key' | 'query'): void {
  const uses = {
    donor: edit === 'patch' || (edit === 'swap' && side === 'query'),
    factor: edit === 'scale',
    mean: edit === 'ablate',
  }
  for (const name of ['donor', 'factor', 'mean'] as const) {
    if (options[name] !== undefined && !uses[name]) {
      throw new QkError('ERR_ARGUMENT', `edit '${edit}' on the side '${side}' does not use ${name}`, {
        hint: `leave ${name} out, or choose another edit`,
      })
    }
  }
}
