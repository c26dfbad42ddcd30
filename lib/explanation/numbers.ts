/** Numbers of float32 as a document holds them: without the digits that float32 does not have. */

/** Digits that tell any two float32 numbers apart that a reader would. */
const FLOAT_DIGITS = 7

export function rowNumbers(row: ArrayLike<number>, digits = FLOAT_DIGITS): number[] {
  return Array.from(row, (x) => Number(x.toPrecision(digits)))
}
