/** Hashes of files: results use them to identify their inputs. */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { QkError } from '../errors.js'

const CHUNK_BYTES = 2 ** 20

/** SHA-256 by the path of a file, its place on the disk, its size and its times. */
const known = new Map<string, string>()

/**
 * Name without folder, and SHA-256 of the content in hexadecimal. A process reads a file again only after its size or its
 * times have changed: weights may take minutes to read. Errors: ERR_FILE.
 */
export async function fileHash(file: string): Promise<{ name: string; sha256: string }> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true })
    const key = [path.resolve(file), dev, ino, size, mtimeNs, ctimeNs].join('\n')
    const sha256 = known.get(key) ?? (await contentHash(file))
    known.set(key, sha256)
    return { name: path.basename(file), sha256 }
  } catch (cause) {
    throw new QkError('ERR_FILE', `cannot read ${file}: ${(cause as Error).message}`, { cause })
  }
}

async function contentHash(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file, { highWaterMark: CHUNK_BYTES })) {
    hash.update(chunk)
  }
  return hash.digest('hex')
}

/** One hash for several files, from those of their contents. */
export function hashOfHashes(hashes: readonly string[]): string {
  return createHash('sha256').update(hashes.join('\n')).digest('hex')
}
