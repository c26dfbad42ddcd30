/** JSON documents as files. */

import { open } from 'node:fs/promises'
import { QkError } from '../errors.js'
import { checkWritable, writeFileAtomically } from './atomic-file.js'

/**
 * Checks that a document could be written here, before long work starts: never over a file that is not one, such
 * as a prompt set, whose first line holds a whole object.
 * Errors: ERR_FILE.
 */
export async function checkJsonPath(file: string): Promise<void> {
  await checkWritable(file)
  const handle = await open(file).catch(() => undefined)
  if (!handle) return
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(64), 0, 64, 0)
    const start = buffer.subarray(0, bytesRead).toString('latin1')
    if (/^([{[]\n|\s*$)/.test(start)) return
  } finally {
    await handle.close()
  }
  throw new QkError('ERR_FILE', `cannot write ${file}: it exists and is not a JSON document`, {
    hint: 'Choose another name.',
  })
}

/** NaN becomes null. Errors: ERR_FILE; nothing is left behind. */
export async function writeJsonFile(file: string, value: unknown): Promise<void> {
  await checkJsonPath(file)
  await writeFileAtomically(file, [Buffer.from(`${jsonText(value)}\n`)])
}

export function jsonText(value: unknown): string {
  return JSON.stringify(value, (_, v) => (Number.isNaN(v) ? null : v), 2)
}
