/** JSON documents as files. */

import { checkReplaceable, fileStart, writeFileAtomically } from './atomic-file.js'

/**
 * Checks that a document could be written here, before long work starts: never over a file that is not one, such
 * as a prompt set, whose first line holds a whole object.
 * Errors: ERR_FILE.
 */
export async function checkJsonPath(file: string): Promise<void> {
  await checkReplaceable(file, 'a JSON document', async () =>
    /^([{[]\n|\s*$)/.test((await fileStart(file, 64)).toString('latin1')),
  )
}

/** NaN becomes null. Errors: ERR_FILE; nothing is left behind. */
export async function writeJsonFile(file: string, value: unknown): Promise<void> {
  await checkJsonPath(file)
  await writeFileAtomically(file, [Buffer.from(`${jsonText(value)}\n`)])
}

export function jsonText(value: unknown): string {
  return JSON.stringify(value, (_, v) => (Number.isNaN(v) ? null : v), 2)
}
