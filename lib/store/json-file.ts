/** JSON documents as files. */

import { createReadStream } from 'node:fs'
import { checkReplaceable, fileStart, writeFileAtomically } from './atomic-file.js'
import { checkEnding } from './saving/formats.js'

/** A kind of JSON document, and how its files are recognised. */
export interface JsonKind {
  /** Name of the kind, as in "it exists, and is not an attribution". */
  name: string
  /** The first field of its documents. */
  first: string
  /** Fields that only documents of this kind have, each with the beginning of its value. */
  fields: readonly string[]
}

/**
 * Checks that a document can be written here, before long work starts. An existing file must be empty or of this
 * kind. Errors: ERR_FILE; ERR_ARGUMENT for an ending other than `.json`.
 */
export async function checkJsonPath(file: string, kind: JsonKind): Promise<void> {
  await checkReplaceable(file, kind.name, () => isOfKind(file, kind))
  checkEnding(file, kind.name, ['.json'])
}

/** Writes a document; NaN becomes null. Errors: ERR_FILE, ERR_ARGUMENT; nothing is left behind. */
export async function writeJsonFile(file: string, value: object, kind = kindLike(value)): Promise<void> {
  await checkJsonPath(file, kind)
  await writeFileAtomically(file, [Buffer.from(`${jsonText(value)}\n`)])
}

export function jsonText(value: unknown): string {
  return JSON.stringify(value, (_, v) => (Number.isNaN(v) ? null : v), 2)
}

/** Documents that begin with the same field. */
const kindLike = (value: object): JsonKind => ({
  name: 'such a document',
  first: Object.keys(value)[0],
  fields: [],
})

/** Top-level fields of a document are indented by two spaces, each on its own line. */
async function isOfKind(file: string, { first, fields }: JsonKind): Promise<boolean> {
  const start = (await fileStart(file, 64)).toString('latin1')
  if (start.trim() === '') {
    return true
  }
  if (!start.startsWith(`{\n  "${first}":`)) {
    return false
  }
  const wanted = new Set(fields.map((field) => `\n  ${field}`))
  if (wanted.size === 0) {
    return true
  }
  const longest = Math.max(...fields.map((field) => field.length)) + 3
  let before = ''
  for await (const chunk of createReadStream(file, { encoding: 'latin1' })) {
    const text = before + chunk
    for (const field of wanted) {
      if (text.includes(field)) {
        wanted.delete(field)
      }
    }
    if (wanted.size === 0) {
      return true
    }
    before = text.slice(-longest)
  }
  return false
}
