/** Rounds float32 numbers for documents: without digits that float32 does not have. */

/** Number of digits that is enough to distinguish float32 numbers for a reader. */
const FLOAT_DIGITS = 7

export function rowNumbers(row: ArrayLike<number>, digits = FLOAT_DIGITS): number[] {
  return Array.from(row, (x) => Number(x.toPrecision(digits)))
}
