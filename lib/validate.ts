/**
 * Checks of what callers pass. Every message says under which name the value came, what it was and what was
 * expected; the checks that return a value return it as it came.
 */

import { QkError } from './errors.js'

/**
 * Names of the options of an interface, as the keys of an object, so that the compiler finds a forgotten one:
 * `const OPTIONS = { heads: true, seed: true } satisfies Record<keyof Options, true>`.
 */
export type KnownKeys = Readonly<Record<string, true>>

/** Refuses keys that are not known, so that a misspelt one is not silently ignored. Errors: ERR_ARGUMENT. */
export function refuseUnknownKeys(given: object, known: KnownKeys, what: string): void {
  const unknown = Object.keys(given).find((key) => !Object.hasOwn(known, key))
  if (unknown !== undefined) {
    throw new QkError('ERR_ARGUMENT', `${what} has no "${unknown}"`, { hint: `It has ${listed(known)}.` })
  }
}

/** The options of a public function: an object with known keys only. Errors: ERR_TYPE, ERR_ARGUMENT. */
export function checkOptions(options: unknown, known: KnownKeys, what: string): void {
  if (!options || typeof options !== 'object' || ArrayBuffer.isView(options)) {
    throw new QkError('ERR_TYPE', `${what} takes an object { ${listed(known)} }`)
  }
  refuseUnknownKeys(options, known, what)
}

/** A whole number from `least` to `most`. Errors: ERR_ARGUMENT. */
export function checkInteger(
  value: number,
  name: string,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
): number {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
  throw new QkError('ERR_ARGUMENT', `${name} is ${value}, expected a whole number ${range}`)
}

/** The seed of a generator, which has 2^32 states. Errors: ERR_ARGUMENT. */
export function checkSeed(seed: number, name = 'seed'): number {
  return checkInteger(seed, name, 0, 0xffffffff)
}

/** A finite number. Errors: ERR_TYPE, ERR_NON_FINITE. */
export function checkNumber(value: number, name: string): number {
  if (typeof value !== 'number') {
    throw new QkError('ERR_TYPE', `${name} must be a number, got ${typeof value}`)
  }
  if (Number.isFinite(value)) return value
  throw new QkError('ERR_NON_FINITE', `${name} is ${value}, expected a finite number`)
}

/** A number above 0 and at most 1. Errors: ERR_ARGUMENT. */
export function checkFraction(value: number, name: string): number {
  if (value > 0 && value <= 1) return value
  throw new QkError('ERR_ARGUMENT', `${name} is ${value}, expected a fraction above 0 and at most 1`)
}

/** true or false. Errors: ERR_TYPE. */
export function checkFlag(value: boolean, name: string): boolean {
  if (typeof value === 'boolean') return value
  throw new QkError('ERR_TYPE', `${name} must be true or false, got ${value}`)
}

/** One of a few names. Errors: ERR_ARGUMENT. */
export function checkChoice<T extends string>(value: T, name: string, choices: readonly T[]): T {
  if (choices.includes(value)) return value
  throw new QkError('ERR_ARGUMENT', `${name} is '${value}', expected one of ${choices.join(', ')}`)
}

const listed = (known: KnownKeys) => Object.keys(known).join(', ')
