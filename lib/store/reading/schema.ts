/**
 * Parts of schemas for JSON documents, and the error that names the field that does not fit. A document is checked as
 * a whole before any of it is used.
 */

import * as v from 'valibot'
import { QkError } from '../../errors.js'

/** A schema for every field of an interface, so that the compiler finds a forgotten one. */
export type Fields<T> = Record<keyof T, v.GenericSchema>

const isNumber = (value: unknown): boolean => typeof value === 'number' || value === null
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0
const isList = (value: unknown, is: (one: unknown) => boolean): boolean =>
  Array.isArray(value) && value.every(is)

export const text = v.string('a text')
export const flag = v.boolean('true or false')
/** A number. JSON has null in place of NaN. */
export const number = v.custom<number>(isNumber, 'a number')
export const finite = v.custom<number>((value) => Number.isFinite(value), 'a finite number')
/** A count or an index, from 0. */
export const count = v.custom<number>(isCount, 'a whole number of at least 0')
/** Lists of numbers are checked in one pass, since they may have millions of entries. */
export const numbers = v.custom<number[]>((value) => isList(value, isNumber), 'a list of numbers')
export const counts = v.custom<number[]>(
  (value) => isList(value, isCount),
  'a list of whole numbers of at least 0',
)
/** Rows of numbers, such as those of an attention pattern. */
export const rows = v.custom<number[][]>(
  (value) => isList(value, (row) => isList(row, isNumber)),
  'a list of lists of numbers',
)
/** Any value. */
export const anything = v.unknown()
/** An object with any keys and values. */
export const anyObject = v.looseObject({}, 'an object')

export const optional = <S extends v.GenericSchema>(schema: S) => v.optional(schema)
export const nullable = <S extends v.GenericSchema>(schema: S) => v.nullable(schema)
export const list = <S extends v.GenericSchema>(of: S) => v.array(of, 'a list')
export const texts = list(text)
/** An object with these fields; other fields are ignored. */
export const fields = <E extends v.ObjectEntries>(entries: E) => v.looseObject(entries, 'an object')
/** An object from names to values of one kind. */
export const byName = <S extends v.GenericSchema>(of: S) => v.record(v.string(), of, 'an object by name')
export const oneOf = (...names: string[]) => v.picklist(names, names.map((name) => `"${name}"`).join(' or '))

/** One of a few numbers, such as versions of a format. */
export const oneOfNumbers = (...of: number[]) => v.picklist(of, of.join(' or '))

/** One of several schemas; `expected` describes them in words. */
export const either = <S extends v.GenericSchema[]>(expected: string, ...of: S) => v.union(of, expected)

/** One of several objects that differ in the value of one field. */
export const variants = <K extends string, O extends v.VariantOptions<K>>(key: K, of: O, expected: string) =>
  v.variant(key, of, expected)

export const estimate = fields({ mean: number, low: number, high: number })

/** Makes the error of a document: the path of the field, and what was expected there. */
export type Misfit = (place: string, problem: string) => QkError

/** Makes the error of a file; `what` names its writer, as in "`qkspace attribute --out`". */
export function misfitOf(file: string, hint: string): Misfit {
  return (place, problem) =>
    new QkError('ERR_FORMAT', `${file}: ${place === '' ? 'the document' : place} ${problem}`, { hint })
}

/**
 * Checks a parsed JSON document. Errors: the error that `misfit` makes of the first field that does not fit.
 */
export function checkDocument(schema: v.GenericSchema, value: unknown, misfit: Misfit): void {
  checkPart(schema, value, [], misfit)
}

/** Levels of a large document whose parts are checked one after another. */
const LEVELS = 4

/**
 * Checks a document part by part and lets the event loop run in between. Errors: as `checkDocument`, and those of
 * `turn`.
 */
export async function checkInParts(
  schema: v.GenericSchema,
  value: unknown,
  misfit: Misfit,
  turn: () => Promise<void> | undefined,
): Promise<void> {
  const check = async (of: v.GenericSchema, part: unknown, path: readonly string[]): Promise<void> => {
    const wait = turn()
    if (wait) {
      await wait
    }
    const inner = path.length < LEVELS ? partsOf(of, part) : undefined
    if (!inner) {
      checkPart(of, part, path, misfit)
      return
    }
    for (const [key, { of: schemaOfPart, value: own }] of inner) {
      await check(schemaOfPart, own, [...path, key])
    }
  }
  await check(schema, value, [])
}

type Part = [key: string, part: { of: v.GenericSchema; value: unknown }]

/** The entries of an object or a list, each with its schema. Undefined for any other value. */
function partsOf(schema: v.GenericSchema, value: unknown): Part[] | undefined {
  if (typeof value !== 'object' || value === null) {
    return undefined
  }
  if (isSchema<v.OptionalSchema<v.GenericSchema, undefined>>(schema, 'optional')) {
    return partsOf(schema.wrapped, value)
  }
  if (isSchema<v.ArraySchema<v.GenericSchema, string>>(schema, 'array') && Array.isArray(value)) {
    return value.map((own, i) => [`${i}`, { of: schema.item, value: own }])
  }
  if (Array.isArray(value)) {
    return undefined
  }
  const fieldsOf = value as Record<string, unknown>
  if (isSchema<v.LooseObjectSchema<v.ObjectEntries, string>>(schema, 'loose_object')) {
    return Object.entries(schema.entries).map(([key, of]) => [key, { of, value: fieldsOf[key] }])
  }
  if (isSchema<v.RecordSchema<v.GenericSchema<string>, v.GenericSchema, string>>(schema, 'record')) {
    return Object.entries(fieldsOf).map(([key, own]) => [key, { of: schema.value, value: own }])
  }
  return undefined
}

const isSchema = <S extends v.GenericSchema>(schema: v.GenericSchema, type: S['type']): schema is S =>
  schema.type === type

function checkPart(schema: v.GenericSchema, value: unknown, path: readonly string[], misfit: Misfit): void {
  const { issues } = v.safeParse(schema, value, { abortEarly: true })
  if (!issues) {
    return
  }
  const [issue] = issues
  const place = [...path, v.getDotPath(issue)].filter((key) => key !== null).join('.')
  throw misfit(
    place,
    issue.input === undefined ? 'is missing' : `is ${shown(issue.input)}, expected ${issue.message}`,
  )
}

const SHOWN_CHARACTERS = 40

function shown(value: unknown): string {
  if (Array.isArray(value)) {
    return value.length === 0 ? 'an empty list' : 'a list'
  }
  if (typeof value === 'object' && value !== null) {
    return 'an object'
  }
  const json = JSON.stringify(value) ?? String(value)
  return json.length > SHOWN_CHARACTERS ? `${json.slice(0, SHOWN_CHARACTERS)}…` : json
}

/** Checks that a list has as many entries as another. Errors: the error that `misfit` makes. */
export function checkLength(
  { length }: ArrayLike<unknown>,
  expected: number,
  place: string,
  misfit: Misfit,
): void {
  if (length !== expected) {
    throw misfit(place, `has the length ${length}, expected ${expected}`)
  }
}
