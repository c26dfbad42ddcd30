/** Hashes of files, by which results name what they were made from. */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import path from 'node:path'

const CHUNK_BYTES = 2 ** 20

/** Name without folder, and SHA-256 of the content in hexadecimal. Errors: the file system's own. */
export async function fileHash(file: string): Promise<{ name: string; sha256: string }> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file, { highWaterMark: CHUNK_BYTES })) hash.update(chunk)
  return { name: path.basename(file), sha256: hash.digest('hex') }
}
