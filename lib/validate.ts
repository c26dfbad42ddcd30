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
  const { signal, onProgress, memoryLimit } = options as Record<string, unknown>
  if (signal !== undefined) {
    checkSignal(signal)
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new QkError('ERR_TYPE', `onProgress must be a function, got ${kindOf(onProgress)}`)
  }
  if (memoryLimit !== undefined) {
    checkMemoryLimit(memoryLimit)
  }
}

/** An AbortSignal, of this realm or another one. Errors: ERR_TYPE. */
function checkSignal(signal: unknown): void {
  const { aborted, addEventListener, removeEventListener } = (signal ?? {}) as Partial<AbortSignal>
  const listens = typeof addEventListener === 'function' && typeof removeEventListener === 'function'
  if (typeof aborted === 'boolean' && listens) {
    return
  }
  throw new QkError('ERR_TYPE', `signal must be an AbortSignal, got ${kindOf(signal)}`, {
    hint: 'It is the `signal` of an AbortController, or what AbortSignal.timeout(ms) gives.',
  })
}

/** A number of bytes. Errors: ERR_ARGUMENT. */
function checkMemoryLimit(limit: unknown): void {
  if (Number.isFinite(limit) && (limit as number) >= 0) {
    return
  }
  throw new QkError('ERR_ARGUMENT', `memoryLimit is ${shownValue(limit)}, expected a number of bytes`, {
    hint: 'Leave it out for half of the memory of the machine.',
  })
}

/** What a value is, in a word or two. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) {
    return `${value}`
  }
  if (Array.isArray(value)) {
    return 'an array'
  }
  if (typeof value !== 'object') {
    return `a ${typeof value}`
  }
  const name = Object.getPrototypeOf(value)?.constructor?.name
  return typeof name === 'string' && name !== 'Object' && name !== '' ? `a ${name}` : 'an object'
}

/** A value in a message; symbols, and objects without a text, have none of their own. */
export function shownValue(value: unknown): string {
  return typeof value === 'object' || typeof value === 'function' ? kindOf(value) : String(value)
}

/** A whole number from `least` to `most`. Errors: ERR_ARGUMENT. */
export function checkInteger(
  value: number,
  name: string,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
): number {
  if (Number.isSafeInteger(value) && value >= least && value <= most) {
    return value
  }
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
  throw new QkError('ERR_ARGUMENT', `${name} is ${shownValue(value)}, expected a whole number ${range}`)
}

/** Null or random subspaces that stand beside a figure, at most: each is an edit, or a split of every row. */
export const MOST_CONTROLS = 10_000

/** The seed of a generator, which has 2^32 states. Errors: ERR_ARGUMENT. */
export function checkSeed(seed: number, name = 'seed'): number {
  return checkInteger(seed, name, 0, 0xffffffff)
}

/** A finite number. Errors: ERR_TYPE, ERR_NON_FINITE. */
export function checkNumber(value: number, name: string): number {
  if (typeof value !== 'number') {
    throw new QkError('ERR_TYPE', `${name} must be a number, got ${kindOf(value)}`)
  }
  if (Number.isFinite(value)) {
    return value
  }
  throw new QkError('ERR_NON_FINITE', `${name} is ${value}, expected a finite number`)
}

/** A number above 0 and at most 1. Errors: ERR_ARGUMENT. */
export function checkFraction(value: number, name: string): number {
  if (typeof value === 'number' && value > 0 && value <= 1) {
    return value
  }
  throw new QkError(
    'ERR_ARGUMENT',
    `${name} is ${shownValue(value)}, expected a fraction above 0 and at most 1`,
  )
}

/** true or false. Errors: ERR_TYPE. */
export function checkFlag(value: boolean, name: string): boolean {
  if (typeof value === 'boolean') {
    return value
  }
  throw new QkError('ERR_TYPE', `${name} must be true or false, got ${shownValue(value)}`)
}

/**
 * A typed array that can be read: its buffer was neither transferred nor shrunk below it. Methods of an array that
 * cannot be read throw a TypeError without a name. Errors: ERR_SHAPE.
 */
export function checkReadable<T extends Float32Array | Float64Array | Int32Array | Uint8Array>(
  array: T,
  name: string,
): T {
  try {
    array.at(0)
    return array
  } catch {
    throw new QkError(
      'ERR_SHAPE',
      `the buffer of ${name} was detached (transferred), or is smaller than it`,
      {
        hint: 'copy the array before its buffer goes to another thread',
      },
    )
  }
}

/** One of a few names. Errors: ERR_ARGUMENT. */
export function checkChoice<T extends string>(value: T, name: string, choices: readonly T[]): T {
  if (choices.includes(value)) {
    return value
  }
  throw new QkError(
    'ERR_ARGUMENT',
    `${name} is '${shownValue(value)}', expected one of ${choices.join(', ')}`,
  )
}

/** A number with its noun: "1 prompt", "2 prompts", "3 queries". */
export function counted(
  count: number,
  one: string,
  many = one.endsWith('y') ? `${one.slice(0, -1)}ies` : `${one}s`,
): string {
  return `${count} ${count === 1 ? one : many}`
}

const listed = (known: KnownKeys) => Object.keys(known).join(', ')
