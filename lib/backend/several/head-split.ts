/** How several devices divide the heads of a tensor: whole groups of query heads with their key head, in order. */

/** Heads [first, first + count). */
export interface HeadRange {
  first: number
  count: number
}

/**
 * The part of `total` things that each of `devices` gets, in order, as evenly as they divide; the first devices get the
 * larger parts. Where there are fewer things than devices, the last devices get none.
 */
export function divided(total: number, devices: number): HeadRange[] {
  return Array.from({ length: devices }, (_, i) => {
    const first = Math.ceil((i * total) / devices)
    return { first, count: Math.ceil(((i + 1) * total) / devices) - first }
  })
}

/** As `divided`, of `heads` heads in `groups` groups of one size that stay together. */
export function dividedHeads(heads: number, groups: number, devices: number): HeadRange[] {
  const size = heads / groups
  return divided(groups, devices).map(({ first, count }) => ({ first: first * size, count: count * size }))
}

export const sameRanges = (a: readonly HeadRange[], b: readonly HeadRange[]): boolean =>
  a.length === b.length && a.every(({ first, count }, i) => first === b[i].first && count === b[i].count)

/** The heads of a range that a list names: their places in the list, and their numbers within the range. */
export function headsWithin(heads: ArrayLike<number>, { first, count }: HeadRange) {
  const places: number[] = []
  const own: number[] = []
  for (let i = 0; i < heads.length; i++) {
    if (heads[i] >= first && heads[i] < first + count) {
      places.push(i)
      own.push(heads[i] - first)
    }
  }
  return { places, own }
}

/** Copies blocks of `length` elements: block i of `from` becomes block places[i] of `to`. */
export function scatter(
  to: Float64Array,
  from: Float64Array,
  places: readonly number[],
  length: number,
  shift = 0,
): void {
  for (const [i, place] of places.entries()) {
    to.set(from.subarray(i * length, (i + 1) * length), (shift + place) * length)
  }
}

/** Blocks of `length` elements, those at `places`, one after another. */
export function gather(from: Float64Array, places: readonly number[], length: number): Float64Array {
  const out = new Float64Array(places.length * length)
  for (const [i, place] of places.entries()) {
    out.set(from.subarray(place * length, (place + 1) * length), i * length)
  }
  return out
}
