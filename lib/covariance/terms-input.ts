/** Checks terms and label sequences from callers of the array API, and converts them for the backends. */

import type { KeyScope, LabelSequence, TermBatch } from '../backend/backend.js'
import { QkError } from '../errors.js'
import { checkChoice, kindOf, shownValue } from '../validate.js'

/** Row numbers, offsets or other indices, from 0. */
export type Indices = Int32Array | readonly number[]
/** Finite weights of at least 0. */
export type Weights = Float32Array | readonly number[]

/** Terms in CSR form: term t is query[t] against pos[posOffsets[t] .. posOffsets[t+1]], and likewise for neg. */
export interface TermsInput {
  /** One name for all terms, or an index (or name) for each. */
  contrast: string | Indices | readonly string[]
  /** Query row of each term, [terms]. */
  query: Indices
  /** Queries of the negative half (default `query`). */
  queryNeg?: Indices
  /** Offsets of each term's positive keys in `pos`, followed by their end, [terms + 1]. */
  posOffsets: Indices
  /** Key rows of all positive sets, one set after another. No set is empty. */
  pos: Indices
  /** Offsets of each term's negative keys in `neg`, followed by their end, [terms + 1]. */
  negOffsets: Indices
  /** Key rows of all negative sets, one set after another. No set is empty. */
  neg: Indices
  /** Per term, default 1. */
  weights?: Weights
  /** Per key within its set, default 1. */
  posWeights?: Weights
  /** Per negative key within its set, default 1. */
  negWeights?: Weights
  /** Group of each term: terms of a group share material. Kept for the caller; it does not affect the covariances. */
  group?: Indices
}

/** One label-matched sequence (see LabelSequence of the backend interface). A null label is -1 or null. */
export interface LabelsInput {
  /** Name or index of the contrast. */
  contrast: string | number
  /** Default 'others'. */
  keyScope?: KeyScope
  /** Query row of each position. */
  queryRows: Indices
  /** Default 0, 1, 2, ... */
  queryPositions?: Indices
  /** Label of each query: a whole number from 0, or -1 or null for none. */
  queryLabels: Int32Array | readonly (number | null)[]
  /** Key row of each position. */
  keyRows: Indices
  /** Positions of the keys, ascending; default 0, 1, 2, ... */
  keyPositions?: Indices
  /** Label of each key, as for queries. */
  keyLabels: Int32Array | readonly (number | null)[]
}

/** Index of a contrast, given by name or index. */
type ContrastIndex = (contrast: string | number, where: string) => number

const SCOPES: readonly KeyScope[] = ['before', 'others', 'all']

function contrastIndices(contrasts: readonly string[]): ContrastIndex {
  // Built when the first name is used, since callers with many contrasts give indices.
  let byName: Map<string, number> | undefined
  return (contrast, where) => {
    if (typeof contrast === 'number') {
      return contrast
    }
    byName ??= new Map(contrasts.map((name, index) => [name, index]))
    const index = byName.get(contrast)
    if (index !== undefined) {
      return index
    }
    throw new QkError('ERR_UNKNOWN_CONTRAST', `${where}: no contrast is called '${shownValue(contrast)}'`, {
      hint: `the contrasts are ${contrasts.join(', ')}`,
    })
  }
}

/** Checks terms, with contrasts as indices. Errors: ERR_TYPE, ERR_SHAPE, ERR_RANGE, ERR_UNKNOWN_CONTRAST. */
export function termBatch(input: TermsInput, contrasts: readonly string[]): TermBatch {
  const query = indices(input.query, 'query')
  const n = query.length
  const queryNeg = input.queryNeg === undefined ? query : indices(input.queryNeg, 'queryNeg', n)
  const contrastIndex = contrastIndices(contrasts)
  let contrast: Int32Array
  if (typeof input.contrast === 'string') {
    contrast = new Int32Array(n).fill(contrastIndex(input.contrast, 'contrast'))
  } else if (input.contrast instanceof Int32Array) {
    contrast = indices(input.contrast, 'contrast', n)
  } else if (Array.isArray(input.contrast)) {
    contrast = indices(
      input.contrast.map((c, i) => contrastIndex(c as string | number, `contrast[${i}]`)),
      'contrast',
      n,
    )
  } else {
    throw new QkError('ERR_TYPE', 'contrast must be a name, or an index or a name for each term')
  }
  const pos = indices(input.pos, 'pos')
  const neg = indices(input.neg, 'neg')
  if (input.group !== undefined) {
    indices(input.group, 'group', n)
  }
  return {
    contrast,
    query,
    queryNeg,
    pos,
    neg,
    posOffsets: indices(input.posOffsets, 'posOffsets', n + 1),
    negOffsets: indices(input.negOffsets, 'negOffsets', n + 1),
    weights: weights(input.weights, 'weights', n),
    posWeights: weights(input.posWeights, 'posWeights', pos.length),
    negWeights: weights(input.negWeights, 'negWeights', neg.length),
  }
}

/**
 * Checks a label sequence, with the contrast as an index and labels as numbers. Errors: as `termBatch`, ERR_ARGUMENT.
 */
export function labelSequence(
  input: LabelsInput,
  contrasts: readonly string[],
  where: string,
): LabelSequence {
  if (typeof input !== 'object' || input === null) {
    throw new QkError('ERR_TYPE', `${where} must be an object with labels, got ${kindOf(input)}`)
  }
  const { keyScope = 'others' } = input
  checkChoice(keyScope, `${where}.keyScope`, SCOPES)
  const queryRows = indices(input.queryRows, `${where}.queryRows`)
  const keyRows = indices(input.keyRows, `${where}.keyRows`)
  const [n, m] = [queryRows.length, keyRows.length]
  const labels = (from: LabelsInput['queryLabels'], name: string, length: number) =>
    indices(Array.isArray(from) ? from.map((x) => x ?? -1) : (from as Int32Array), name, length)
  const contrast = contrastIndices(contrasts)(input.contrast, `${where}.contrast`)
  if (!(Number.isInteger(contrast) && contrast >= 0 && contrast < contrasts.length)) {
    throw new QkError(
      'ERR_RANGE',
      `${where}.contrast is ${shownValue(contrast)}, expected 0 to ${contrasts.length - 1}`,
    )
  }
  return {
    contrast,
    keyScope,
    queryRows,
    keyRows,
    queryPositions: indices(input.queryPositions ?? counting(n), `${where}.queryPositions`, n),
    queryLabels: labels(input.queryLabels, `${where}.queryLabels`, n),
    keyPositions: indices(input.keyPositions ?? counting(m), `${where}.keyPositions`, m),
    keyLabels: labels(input.keyLabels, `${where}.keyLabels`, m),
  }
}

/** The array 0, 1, 2, ... A loop is some fifty times faster than Int32Array.from. */
function counting(length: number): Int32Array {
  const out = new Int32Array(length)
  for (let i = 0; i < length; i++) {
    out[i] = i
  }
  return out
}

/** Returns an Int32Array as it is; checks and converts a plain array. Errors: ERR_TYPE, ERR_SHAPE, ERR_RANGE. */
export function indices(from: Indices, name: string, length?: number): Int32Array {
  if (!(from instanceof Int32Array) && !Array.isArray(from)) {
    throw new QkError('ERR_TYPE', `${name} must be an Int32Array or an array of integers`)
  }
  if (length !== undefined && from.length !== length) {
    throw new QkError('ERR_SHAPE', `${name} has ${from.length} elements, expected ${length}`)
  }
  if (from instanceof Int32Array) {
    return from
  }
  from.forEach((x, i) => {
    if (typeof x !== 'number' || (x | 0) !== x) {
      throw new QkError('ERR_RANGE', `${name}[${i}] is ${shownValue(x)}, expected an integer below 2^31`)
    }
  })
  return Int32Array.from(from)
}

function weights(from: Weights | undefined, name: string, length: number): Float32Array | undefined {
  if (from === undefined) {
    return undefined
  }
  if (!(from instanceof Float32Array) && !Array.isArray(from)) {
    throw new QkError('ERR_TYPE', `${name} must be a Float32Array or an array of numbers`)
  }
  if (from.length !== length) {
    throw new QkError('ERR_SHAPE', `${name} has ${from.length} elements, expected ${length}`)
  }
  if (from instanceof Float32Array) {
    return from
  }
  from.forEach((x, i) => {
    if (typeof x !== 'number') {
      throw new QkError('ERR_TYPE', `${name}[${i}] is ${shownValue(x)}, expected a number`)
    }
  })
  return Float32Array.from(from)
}
