/** Differences between the positive and the negative half of a term. */

import type { PlacedRow, PlacedRun, PlacedTerm } from './place-prompt.js'
import type { UnitDifferences } from './units/differences.js'

/** Assigns numbers to names, from 0, in order of appearance. */
export class Numbering<T> {
  private readonly numbers = new Map<T, number>()
  private readonly names: T[] = []

  of(name: T): number {
    const known = this.numbers.get(name)
    if (known !== undefined) {
      return known
    }
    this.numbers.set(name, this.names.length)
    this.names.push(name)
    return this.names.length - 1
  }

  name(number: number): T {
    return this.names[number]
  }

  get size(): number {
    return this.names.length
  }
}

/** The meaning of the feature numbers of a contrast. */
export interface Names {
  tokens: Numbering<number | string>
  labels: Numbering<string>
}

/** Distance between the feature numbers of one label and those of the next. */
export const LABEL_STRIDE = 2 ** 26

const BINS = 10

/** Adds a term to its unit. Distances are the query's position minus the key's. */
export function addTerm(
  unit: UnitDifferences,
  term: PlacedTerm,
  run: PlacedRun,
  other: PlacedRun,
  counterfactual: boolean,
  { tokens, labels }: Names,
): void {
  const { positive, negative, query, queryNeg, label } = term
  const positionsOf = (rows: readonly PlacedRow[]) => rows.map(({ at }) => at)
  const [from, to] = [positionsOf(positive), positionsOf(negative)]
  addOrder(unit, 'position', from, to)
  const bins = [
    from.map((at) => positionBin(at, run.length)),
    to.map((at) => positionBin(at, other.length)),
  ] as const
  unit.addLists('position spread', ...bins)
  const lengths = [run.length, other.length]
  if (lengths.every((length) => length !== undefined)) {
    const [a, b] = lengths.map((length) => Math.max(1, length - 1))
    const relative = [from.map((at) => at / a), to.map((at) => at / b)] as const
    const name = 'relative position'
    if (counterfactual) {
      addOrder(unit, name, ...relative)
    } else {
      unit.addNumber(`${name} shift`, mean(relative[0]) - mean(relative[1]))
    }
  }
  if (query && queryNeg) {
    const distances = [from.map((at) => query.at - at), to.map((at) => queryNeg.at - at)] as const
    addOrder(unit, 'distance', ...distances)
    unit.addLists('distance spread', distances[0].map(distanceBin), distances[1].map(distanceBin))
  }
  const tokensOf = (rows: readonly PlacedRow[]) =>
    rows.flatMap(({ token }) => (token === undefined ? [] : [tokens.of(token)]))
  const written = [tokensOf(positive), tokensOf(negative)] as const
  const hasTokens = written.every((list) => list.length > 0)
  if (hasTokens) {
    unit.addLists('token', ...written)
  }
  if (counterfactual && query?.token !== undefined && queryNeg?.token !== undefined) {
    unit.addLists('query token', [tokens.of(query.token)], [tokens.of(queryNeg.token)])
  }
  if (label !== undefined) {
    const base = labels.of(label) * LABEL_STRIDE
    const ofLabel = (list: readonly number[]) => list.map((feature) => base + feature)
    unit.addLists('position by label', ofLabel(bins[0]), ofLabel(bins[1]))
    if (hasTokens) {
      unit.addLists('token by label', ofLabel(written[0]), ofLabel(written[1]))
    }
  }
}

/** The lengths of a prompt and of its counterfactual. */
export function addLengths(unit: UnitDifferences, length: number, other: number): void {
  addOrder(unit, 'length', [length], [other])
}

/**
 * Adds the probability that a positive value is larger, minus one half, and the mean difference as `<measure> shift`.
 */
function addOrder(
  unit: UnitDifferences,
  measure: string,
  positive: readonly number[],
  negative: readonly number[],
): void {
  unit.addNumber(measure, auc(positive, negative) - 0.5)
  unit.addNumber(`${measure} shift`, mean(positive) - mean(negative))
}

/** The share of pairs whose positive value is larger; ties count half. */
export function auc(positive: readonly number[], negative: readonly number[]): number {
  const below = Float64Array.from(negative).sort()
  let sum = 0
  for (const value of positive) {
    sum += firstIndex(below, (x) => x >= value) + firstIndex(below, (x) => x > value)
  }
  return sum / (2 * positive.length * negative.length)
}

/** The first index of a sorted list at which a condition holds; its length if it never does. */
function firstIndex(sorted: Float64Array, holds: (value: number) => boolean): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (holds(sorted[middle])) {
      high = middle
    } else {
      low = middle + 1
    }
  }
  return low
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length
}

/** The tenth of the run in which a position lies; the row itself if the length is not known. */
function positionBin(at: number, length: number | undefined): number {
  return length === undefined ? at : Math.min(BINS - 1, Math.floor((BINS * at) / length))
}

const EXACT_DISTANCE = 8
const BIN_OFFSET = 64

/** Distances up to 8 have their own bins, larger ones share bins by powers of 2; both signs are separate. */
function distanceBin(distance: number): number {
  const size = Math.abs(distance)
  const bin = size <= EXACT_DISTANCE ? size : EXACT_DISTANCE + Math.ceil(Math.log2(size / EXACT_DISTANCE))
  return BIN_OFFSET + Math.sign(distance) * bin
}
