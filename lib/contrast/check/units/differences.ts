/** Sums of differences between positive and negative sides, unit by unit. */

/** One unit's sum of a measure's differences, a sparse vector over features. */
export interface UnitVector {
  /** Number of terms (or pairs of neighbours, or positions) in the sum. */
  weight: number
  /** Sum of positive minus negative, by feature. */
  entries: Map<number, number>
}

/** All measures of one unit, by name. */
export class UnitDifferences {
  private readonly vectors = new Map<string, UnitVector>()

  /** Adds one term's difference at one feature; `weigh` also counts the term. */
  add(measure: string, feature: number, value: number): void {
    const { entries } = this.vector(measure)
    entries.set(feature, (entries.get(feature) ?? 0) + value)
  }

  weigh(measure: string, weight: number): void {
    this.vector(measure).weight += weight
  }

  /** Adds a difference that is a single number. */
  addNumber(measure: string, value: number, weight = 1): void {
    this.add(measure, 0, value)
    this.weigh(measure, weight)
  }

  /** Adds the difference between the distributions of two lists of features, each with weight 1. */
  addLists(measure: string, positive: readonly number[], negative: readonly number[]): void {
    for (const feature of positive) {
      this.add(measure, feature, 1 / positive.length)
    }
    for (const feature of negative) {
      this.add(measure, feature, -1 / negative.length)
    }
    this.weigh(measure, 1)
  }

  of(measure: string): UnitVector | undefined {
    return this.vectors.get(measure)
  }

  private vector(measure: string): UnitVector {
    const known = this.vectors.get(measure)
    if (known) {
      return known
    }
    const vector: UnitVector = { weight: 0, entries: new Map() }
    this.vectors.set(measure, vector)
    return vector
  }
}

/** The vectors of the units that have this measure. */
export function vectorsOf(units: readonly UnitDifferences[], measure: string): UnitVector[] {
  return units.flatMap((unit) => {
    const vector = unit.of(measure)
    return vector && vector.weight > 0 ? [vector] : []
  })
}

export interface Mean {
  mean: number
  /** Standard error of a ratio of sums over units; NaN for one unit. */
  standardError: number
}

/** Sum of the differences over the sum of the weights, for a measure that is a single number. */
export function meanOf(vectors: readonly UnitVector[]): Mean {
  let sum = 0
  let weight = 0
  for (const vector of vectors) {
    sum += vector.entries.get(0) ?? 0
    weight += vector.weight
  }
  const mean = sum / weight
  let squares = 0
  for (const vector of vectors) {
    squares += ((vector.entries.get(0) ?? 0) - mean * vector.weight) ** 2
  }
  const units = vectors.length
  return { mean, standardError: Math.sqrt((squares * units) / (units - 1)) / weight }
}

/** Sums over units by feature, divided by the total weight, largest magnitude first. */
export function meanByFeature(vectors: readonly UnitVector[]): [feature: number, mean: number][] {
  const sums = new Map<number, number>()
  let weight = 0
  for (const vector of vectors) {
    weight += vector.weight
    for (const [feature, value] of vector.entries) {
      sums.set(feature, (sums.get(feature) ?? 0) + value)
    }
  }
  return [...sums]
    .map(([feature, sum]): [number, number] => [feature, sum / weight])
    .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]) || a[0] - b[0])
}
