/** JSON documents as files. */

import { createReadStream } from 'node:fs'
import { checkReplaceable, fileStart, writeFileAtomically } from './atomic-file.js'
import { checkEnding } from './saving/formats.js'

/** A kind of documents, and how its files are known again. */
export interface JsonKind {
  /** As in "it exists, and is not an attribution". */
  name: string
  /** The field that its documents begin with. */
  first: string
  /** Fields that its documents have and those of other kinds have not, each with what its value begins with. */
  fields: readonly string[]
}

/**
 * Checks that a document could be written here, before long work starts: what is there already, if anything, is one of the
 * kind, or an empty file. Errors: ERR_FILE; ERR_ARGUMENT for an ending other than `.json`.
 */
export async function checkJsonPath(file: string, kind: JsonKind): Promise<void> {
  await checkReplaceable(file, kind.name, () => isOfKind(file, kind))
  checkEnding(file, kind.name, ['.json'])
}

/** NaN becomes null. Errors: ERR_FILE, ERR_ARGUMENT; nothing is left behind. */
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

/** Fields of a document stand at the beginning of a line, two spaces from the left. */
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
