/** Checks of options that several analyses share. */

import { QkError, refuseUnknownKeys } from '../errors.js'
import { Model } from '../model/model.js'
import { Result } from '../store/result.js'

/** A model, and an object of known options with a result. Errors: ERR_TYPE, ERR_ARGUMENT. */
export function checkAnalysis(
  model: Model,
  options: { result: Result },
  known: readonly string[],
  what: string,
): void {
  if (!(model instanceof Model)) {
    throw new QkError('ERR_TYPE', `${what} takes an opened model`, { hint: 'await openModel(file) first.' })
  }
  if (typeof options !== 'object' || options === null || !(options.result instanceof Result)) {
    throw new QkError('ERR_TYPE', `${what} needs { result }`, {
      hint: 'What `decompose` or `loadResult` returns.',
    })
  }
  refuseUnknownKeys(options, known, what)
}

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
