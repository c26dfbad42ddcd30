/** Options that several commands share, parsed. Wrong values are bad usage (exit status 2). */

import { InvalidArgumentError } from 'commander'
import type { Estimator } from '../../backend/backend.js'
import { type BackendChoice, checkBackendChoice } from '../../backend/select.js'
import type { RankRule } from '../../store/result.js'
import { MOST_CONTROLS } from '../../validate.js'

export const parseChoice =
  <T extends string>(what: string, known: readonly T[]) =>
  (value: string): T => {
    if (known.includes(value as T)) {
      return value as T
    }
    throw new InvalidArgumentError(`There is no ${what} "${value}"; use ${known.join(', ')}.`)
  }

/** The choices of `--backend`, in the help of every command that has it. */
export const BACKENDS = 'auto, cpu, cuda or js; cuda:1 for a device, cuda:0,1 for several'

/** A backend, or devices of one, as in `cuda:1` and `cuda:0,1`. */
export function parseBackend(value: string): BackendChoice {
  try {
    return checkBackendChoice(value)
  } catch (error) {
    throw new InvalidArgumentError(
      `There is no backend "${value}" (${(error as Error).message}); use ${BACKENDS}.`,
    )
  }
}

export const parseEstimator = parseChoice<Estimator>('estimator', ['per-query', 'per-pair', 'sum'])

/** `permutation:0.05`, `energy:0.99` or `fixed:8`. */
export function parseRank(value: string): RankRule {
  const [name, ...parts] = value.split(':')
  const text = parts.length > 0 ? parts.join(':') : undefined
  const number = Number(text)
  if (name === 'permutation') {
    const alpha = text === undefined ? 0.05 : number
    if (!(alpha > 0 && alpha < 1)) {
      throw new InvalidArgumentError('The level of the test is above 0 and below 1, as in permutation:0.05.')
    }
    return { rule: 'permutation', alpha }
  }
  if (name === 'energy') {
    const threshold = text === undefined ? 0.99 : number
    if (!(threshold > 0 && threshold <= 1)) {
      throw new InvalidArgumentError('The energy threshold is above 0 and at most 1, as in energy:0.99.')
    }
    return { rule: 'energy', threshold }
  }
  if (name === 'fixed') {
    if (!(Number.isSafeInteger(number) && number >= 1)) {
      throw new InvalidArgumentError('A fixed rank is a whole number of at least 1, as in fixed:8.')
    }
    return { rule: 'fixed', rank: number }
  }
  throw new InvalidArgumentError(
    `There is no rank rule "${name}"; use permutation:0.05, energy:0.99 or fixed:8.`,
  )
}

/** Parses `all`, or names separated by commas. Whether the model has these heads is checked later. */
export function parseHeadNames(value: string): string {
  const wrong = value
    .split(',')
    .find((name) => !/^(all|((enc|dec|cross)\.)?(L\d+H\d+|\d+\.\d+))$/i.test(name.trim()))
  if (wrong !== undefined) {
    throw new InvalidArgumentError(`"${wrong}" does not name a head; write all, or names as in L0H1,L2H3.`)
  }
  return value.toLowerCase() === 'all' ? 'all' : value
}

/** Parses names separated by commas. */
export function parseNames(value: string): string[] {
  const names = value.split(',').map((name) => name.trim())
  if (names.every((name) => name !== '')) {
    return names
  }
  throw new InvalidArgumentError('Write names with commas between them.')
}

/** Parses unions separated by commas, with the names of each joined by +, as in `order,match,order+match`. */
export function parseUnions(value: string): string[][] {
  return parseNames(value).map((union) => parseNames(union.replaceAll('+', ',')))
}

export function parseNumber(value: string): number {
  const number = Number(value)
  if (value.trim() === '' || !Number.isFinite(number)) {
    throw new InvalidArgumentError('Expected a number.')
  }
  return number
}

export const parseWhole =
  (least: number, most = Number.MAX_SAFE_INTEGER) =>
  (value: string): number => {
    const number = Number(value)
    if (!(value.trim() !== '' && Number.isSafeInteger(number) && number >= least && number <= most)) {
      const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
      throw new InvalidArgumentError(`Expected a whole number ${range}.`)
    }
    return number
  }

/** Parses the number of null or random subspaces that are drawn as controls. */
export const parseControls = parseWhole(0, MOST_CONTROLS)

/** Parses a whole number that may be negative, such as a position from the end. */
export function parseWholeNumber(value: string): number {
  const number = Number(value)
  if (value.trim() !== '' && Number.isSafeInteger(number)) {
    return number
  }
  throw new InvalidArgumentError('Expected a whole number.')
}

/** Parses a seed; generators have 2^32 states. */
export function parseSeed(value: string): number {
  const seed = parseWhole(0)(value)
  if (seed > 0xffffffff) {
    throw new InvalidArgumentError('Expected at most 4294967295.')
  }
  return seed
}

/** Parses `hidden=24`. The option may be repeated, and earlier values are kept. */
export function parseAxisSize(value: string, before: Record<string, number> = {}): Record<string, number> {
  const at = value.lastIndexOf('=')
  if (at < 1) {
    throw new InvalidArgumentError('Write the name of a free axis and its size, as in hidden=24.')
  }
  return { ...before, [value.slice(0, at)]: parseWhole(1)(value.slice(at + 1)) }
}

/** Size of a toy's latent or head. */
const LARGEST_SIZE = 1024

export function parseSize(value: string): number {
  const size = parseWhole(1)(value)
  if (size > LARGEST_SIZE) {
    throw new InvalidArgumentError(`Expected at most ${LARGEST_SIZE}.`)
  }
  return size
}

export function parseTask(value: string): 1 | 2 {
  if (value === '1') {
    return 1
  }
  if (value === '2') {
    return 2
  }
  throw new InvalidArgumentError('The tasks are 1 and 2.')
}
