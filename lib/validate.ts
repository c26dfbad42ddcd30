/** Checks of single options. */

import { QkError } from './errors.js'

/** Errors: ERR_ARGUMENT. */
export function checkWhole(name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return
  throw new QkError('ERR_ARGUMENT', `${name} is ${value}, expected a whole number of at least ${least}`)
}

/** Errors: ERR_ARGUMENT. */
export function checkOneOf(name: string, value: string, known: readonly string[]): void {
  if (known.includes(value)) return
  throw new QkError('ERR_ARGUMENT', `${name} is "${value}", expected ${known.join(', ')}`)
}
