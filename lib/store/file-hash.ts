/** Hashes of files: results use them to identify their inputs. */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import path from 'node:path'
import { QkError } from '../errors.js'

const CHUNK_BYTES = 2 ** 20

/** Name without folder, and SHA-256 of the content in hexadecimal. Errors: ERR_FILE. */
export async function fileHash(file: string): Promise<{ name: string; sha256: string }> {
  const hash = createHash('sha256')
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: CHUNK_BYTES })) {
      hash.update(chunk)
    }
  } catch (cause) {
    throw new QkError('ERR_FILE', `cannot read ${file}: ${(cause as Error).message}`, { cause })
  }
  return { name: path.basename(file), sha256: hash.digest('hex') }
}
