/** JSON documents as files. */

import { checkReplaceable, fileStart, writeFileAtomically } from './atomic-file.js'

/**
 * Checks that a document could be written here, before long work starts: what is there already, if anything, is
 * one that begins with the same key, or an empty file. Errors: ERR_FILE.
 */
export async function checkJsonPath(file: string, firstKey: string): Promise<void> {
  await checkReplaceable(file, 'such a document', async () => {
    const start = (await fileStart(file, 64)).toString('latin1')
    return start.trim() === '' || start.startsWith(`{\n  "${firstKey}":`)
  })
}

/** NaN becomes null. Errors: ERR_FILE; nothing is left behind. */
export async function writeJsonFile(file: string, value: object): Promise<void> {
  await checkJsonPath(file, Object.keys(value)[0])
  await writeFileAtomically(file, [Buffer.from(`${jsonText(value)}\n`)])
}

export function jsonText(value: unknown): string {
  return JSON.stringify(value, (_, v) => (Number.isNaN(v) ? null : v), 2)
}
