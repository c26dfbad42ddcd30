/** How far an edit moved attention from one key to another (figures 4, 7 and 9 of arXiv 2602.04752). */

import { QkError } from '../errors.js'
import { readPositions } from '../math/arrays.js'
import type { FloatArray } from '../math/tensor.js'
import { checkOptions, checkReadable } from '../validate.js'

/** Patterns before and after an edit, and the keys between which attention should move. */
export interface MeasureMoveOptions {
  /** Attention patterns without the edit, [n, keys]; the number of keys follows from the length. */
  before: Float32Array | Float64Array
  /** Patterns with the edit, [n, keys]. */
  after: Float32Array | Float64Array
  /** The key that should lose attention, by row [n]. */
  origin: Int32Array | readonly number[]
  /** The key that should gain attention, by row [n]. */
  target: Int32Array | readonly number[]
}

const OPTIONS = {
  before: true,
  after: true,
  origin: true,
  target: true,
} satisfies Record<keyof MeasureMoveOptions, true>

/** The move of each row; all arrays are [n]. */
export interface Move {
  /** Attention on the key at origin without the edit. */
  originBefore: Float64Array
  /** Attention on the key at origin with the edit. */
  originAfter: Float64Array
  /** Attention on the key at target without the edit. */
  targetBefore: Float64Array
  /** Attention on the key at target with the edit. */
  targetAfter: Float64Array
  /** The change of p = a_target / (a_target + a_origin). NaN if both keys have no attention, before or after. */
  deltaP: Float64Array
  /** 1 if the key with the largest attention was origin and is now target (the first one of a tie), else 0. */
  flipped: Uint8Array
  /**
   * Fraction of origin's attention that went to target: what one lost and the other gained, over `originBefore`.
   * Negative if it went the other way, 0 if both gained or both lost, NaN if origin had none.
   */
  moved: Float64Array
}

/** Rounding of 16-bit patterns may raise an attention this far above 1. */
const ABOVE_ONE = 1e-2

/**
 * Measures the move of attention from origin to target. Errors (QkError): ERR_TYPE, ERR_SHAPE, ERR_RANGE for invalid
 * key indices and for patterns that are not attention, ERR_ARGUMENT for an origin that is its own target, and for
 * unknown options.
 */
export function measureMove(options: MeasureMoveOptions): Move {
  checkOptions(options, OPTIONS, 'measureMove()')
  if (!(options.origin instanceof Int32Array || Array.isArray(options.origin))) {
    throw new QkError('ERR_TYPE', 'origin must be an Int32Array with the index of a key for each row')
  }
  const n = options.origin.length
  const before = readPattern(options.before, 'before', n)
  const after = readPattern(options.after, 'after', n)
  if (after.length !== before.length) {
    throw new QkError(
      'ERR_SHAPE',
      `after has ${after.length} elements, expected as many as before: ${before.length}`,
    )
  }
  const keys = n === 0 ? 0 : before.length / n
  const origin = readPositions(options.origin, 'origin', n, keys)
  const target = readPositions(options.target, 'target', n, keys)
  const same = origin.findIndex((key, row) => key === target[row])
  if (same >= 0) {
    throw new QkError('ERR_ARGUMENT', `origin and target of row ${same} are both key ${origin[same]}`)
  }

  const on = (pattern: FloatArray, positions: Int32Array) =>
    new Float64Array(n).map((_, row) => pattern[row * keys + positions[row]])
  const attention = {
    originBefore: on(before, origin),
    originAfter: on(after, origin),
    targetBefore: on(before, target),
    targetAfter: on(after, target),
  }
  const { originBefore, originAfter, targetBefore, targetAfter } = attention
  const share = (target: number, origin: number) => target / (target + origin)
  const largestAt = (pattern: FloatArray, row: number) => {
    let largest = 0
    for (let key = 1; key < keys; key++) {
      if (pattern[row * keys + key] > pattern[row * keys + largest]) {
        largest = key
      }
    }
    return largest
  }
  return {
    ...attention,
    deltaP: originBefore.map(
      (was, row) => share(targetAfter[row], originAfter[row]) - share(targetBefore[row], was),
    ),
    flipped: Uint8Array.from(origin, (key, row) =>
      largestAt(before, row) === key && largestAt(after, row) === target[row] ? 1 : 0,
    ),
    moved: originBefore.map((was, row) =>
      was === 0 ? Number.NaN : shared(was - originAfter[row], targetAfter[row] - targetBefore[row]) / was,
    ),
  }
}

/** The smaller of a loss and a gain of the same sign; 0 if their signs differ. */
function shared(loss: number, gain: number): number {
  if (Math.sign(loss) !== Math.sign(gain)) {
    return 0
  }
  return Math.sign(loss) * Math.min(Math.abs(loss), Math.abs(gain))
}

function readPattern(pattern: FloatArray, name: string, n: number): FloatArray {
  if (!(pattern instanceof Float32Array || pattern instanceof Float64Array)) {
    throw new QkError('ERR_TYPE', `${name} must be a Float32Array or a Float64Array [n, keys]`)
  }
  checkReadable(pattern, name)
  if (n === 0 ? pattern.length !== 0 : pattern.length % n !== 0) {
    throw new QkError(
      'ERR_SHAPE',
      `${name} has ${pattern.length} elements, no multiple of the ${n} rows of origin`,
    )
  }
  const wrong = pattern.findIndex((x) => !(x >= 0 && x <= 1 + ABOVE_ONE))
  if (wrong >= 0) {
    throw new QkError('ERR_RANGE', `${name}[${wrong}] is ${pattern[wrong]}, expected attention, 0 to 1`, {
      hint: 'give the patterns (after the softmax), not the scores',
    })
  }
  return pattern
}
