/**
 * Percentile bootstrap intervals. The bootstrap resamples units: groups of rows that share a prompt. Rows of one
 * prompt are not independent, so resampling single rows would make the interval too narrow.
 */

import { QkError } from '../errors.js'
import { checkInteger, checkNumber, checkOptions, shownValue } from '../validate.js'
import { seededRandom } from './random.js'

/** How rows are resampled. */
export interface BootstrapOptions {
  /** The unit of each row, by number or name (default: each row is its own). */
  groups?: ArrayLike<number> | readonly string[]
  /** The same seed gives the same interval (default 0). */
  seed?: number
  /** Number of resamples (default 1000). */
  samples?: number
  /** Confidence level of the interval, between 0 and 1 (default 0.95). */
  level?: number
}

/** Percentiles of the resampled statistic, interpolated linearly. Both are NaN with fewer than two units. */
export interface Interval {
  /** Lower percentile. */
  low: number
  /** Upper percentile. */
  high: number
}

/** A mean with its interval. */
export type Estimate = Interval & {
  /** The mean of all rows. */
  mean: number
}

const OPTIONS = {
  groups: true,
  seed: true,
  samples: true,
  level: true,
} satisfies Record<keyof BootstrapOptions, true>

/**
 * The mean of the values of all rows, and its interval.
 * Errors (QkError): ERR_TYPE, ERR_SHAPE, ERR_NON_FINITE, ERR_EMPTY_SET without values, ERR_ARGUMENT.
 */
export function bootstrapMean(values: ArrayLike<number>, options: BootstrapOptions = {}): Estimate {
  checkOptions(options, OPTIONS, 'bootstrapMean()')
  const rows = readValues(values, 'values')
  const { ratio, low, high } = resample(rows, new Float64Array(rows.length).fill(1), options)
  return { mean: ratio, low, high }
}

/**
 * sum(numerators) / sum(denominators) over all rows, and its interval. A resample whose denominators are all zero has
 * no ratio and is left out. Errors (QkError): as bootstrapMean; ERR_RANGE for a negative denominator, ERR_ARGUMENT if
 * all are zero.
 */
export function bootstrapRatio(
  numerators: ArrayLike<number>,
  denominators: ArrayLike<number>,
  options: BootstrapOptions = {},
): Interval & {
  /** The ratio over all rows. */
  ratio: number
} {
  checkOptions(options, OPTIONS, 'bootstrapRatio()')
  const above = readValues(numerators, 'numerators')
  const below = readValues(denominators, 'denominators')
  if (below.length !== above.length) {
    throw new QkError('ERR_SHAPE', `denominators has ${below.length} elements, numerators ${above.length}`)
  }
  const negative = below.findIndex((x) => x < 0)
  if (negative >= 0) {
    throw new QkError('ERR_RANGE', `denominators[${negative}] is ${below[negative]}, expected at least 0`)
  }
  if (below.every((x) => x === 0)) {
    throw new QkError('ERR_ARGUMENT', 'denominators are all zero, expected at least one above')
  }
  return resample(above, below, options)
}

const MOST_SAMPLES = 10_000_000

function resample(
  above: Float64Array,
  below: Float64Array,
  options: BootstrapOptions,
): Interval & { ratio: number } {
  const samples = checkInteger(options.samples ?? 1000, 'samples', 1, MOST_SAMPLES)
  const level = checkNumber(options.level ?? 0.95, 'level')
  if (!(level > 0 && level < 1)) {
    throw new QkError('ERR_ARGUMENT', `level is ${level}, expected between 0 and 1, such as 0.95`)
  }
  const random = seededRandom(checkInteger(options.seed ?? 0, 'seed', 0))
  const units = sumByGroup(above, below, options.groups)
  const ratioOf = (pick: (i: number) => number) => {
    let [numerator, denominator] = [0, 0]
    for (let i = 0; i < units.length; i++) {
      const unit = units[pick(i)]
      numerator += unit.above
      denominator += unit.below
    }
    return numerator / denominator
  }
  const ratio = ratioOf((i) => i)
  if (units.length < 2) {
    return { ratio, low: Number.NaN, high: Number.NaN }
  }
  const drawn = Array.from({ length: samples }, () => ratioOf(() => random.below(units.length)))
  const sorted = Float64Array.from(drawn.filter(Number.isFinite)).sort()
  return { ratio, low: percentile(sorted, (1 - level) / 2), high: percentile(sorted, (1 + level) / 2) }
}

/** Sums by unit, in the order in which units first appear. */
function sumByGroup(
  above: Float64Array,
  below: Float64Array,
  groups: BootstrapOptions['groups'],
): { above: number; below: number }[] {
  if (groups !== undefined && !isList(groups)) {
    throw new QkError('ERR_TYPE', 'groups must be an array with the unit of each row, a number or a name')
  }
  if (groups !== undefined && groups.length !== above.length) {
    throw new QkError(
      'ERR_SHAPE',
      `groups has ${groups.length} elements, expected one a row: ${above.length}`,
    )
  }
  const units = new Map<number | string, { above: number; below: number }>()
  above.forEach((value, row) => {
    const group = groups === undefined ? row : groups[row]
    if (typeof group !== 'number' && typeof group !== 'string') {
      throw new QkError('ERR_TYPE', `groups[${row}] is ${group}, expected a number or a name`)
    }
    const unit = units.get(group) ?? { above: 0, below: 0 }
    units.set(group, unit)
    unit.above += value
    unit.below += below[row]
  })
  return [...units.values()]
}

/**
 * Interpolates linearly between the order statistics: 0 is the smallest, 1 the largest. NaN if there are no values.
 */
export function percentile(sorted: Float64Array, fraction: number): number {
  const place = fraction * (sorted.length - 1)
  const below = Math.floor(place)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below] + (place - below) * (sorted[above] - sorted[below])
}

function readValues(values: ArrayLike<number>, name: string): Float64Array {
  if (!isList(values)) {
    throw new QkError('ERR_TYPE', `${name} must be an array of numbers`)
  }
  if (values.length === 0) {
    throw new QkError('ERR_EMPTY_SET', `${name} is empty, expected at least one number`)
  }
  for (let row = 0; row < values.length; row++) {
    if (typeof values[row] !== 'number') {
      throw new QkError('ERR_TYPE', `${name}[${row}] is ${shownValue(values[row])}, expected a number`)
    }
    if (!Number.isFinite(values[row])) {
      throw new QkError('ERR_NON_FINITE', `${name}[${row}] is ${values[row]}`, {
        hint: 'leave out rows that have no value, and say how many',
      })
    }
  }
  return Float64Array.from(values)
}

function isList(values: unknown): values is ArrayLike<unknown> {
  return Array.isArray(values) || (ArrayBuffer.isView(values) && !(values instanceof DataView))
}
