/**
 * Reads arrays of NumPy's `.npz`: a zip archive of `.npy` files, stored or deflated. The declared sizes are checked
 * against the file and a limit before anything is inflated. Checksums are checked afterwards. Pickles are not read.
 */

import { stat } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { type Entry, openPromise, type ZipFile } from 'yauzl'
import { QkError } from '../../errors.js'
import { checkArrayMemory } from '../array-memory.js'
import { type Npy, parseNpy, splitNpy } from '../npy.js'

/** Chooses the arrays to read from the names of all arrays. Names are those in the archive without `.npy`. */
type Choice = (names: readonly string[]) => readonly string[]

/**
 * Reads the arrays that `choose` selects. Their total size may be at most `limit` bytes. Errors: ERR_FILE,
 * ERR_FORMAT, ERR_MEMORY_LIMIT, and those of `choose`.
 */
export async function readNpz(file: string, choose: Choice, limit: number): Promise<Map<string, Npy>> {
  const entries = await readEntries(file, choose, limit)
  return new Map([...entries].map(([name, bytes]) => [name, parseNpy(bytes, `${name} of ${file}`)]))
}

/** A text that is stored as an array without axes. Undefined if there is none. Errors: as readNpz. */
export async function readNpzText(file: string, name: string, limit: number): Promise<string | undefined> {
  const entries = await readEntries(file, (names) => names.filter((other) => other === name), limit)
  const bytes = entries.get(name)
  if (!bytes) {
    return undefined
  }
  const { descr, shape, data } = splitNpy(bytes, `${name} of ${file}`)
  const length = /^<U(\d+)$/.exec(descr)?.[1]
  if (length === undefined || shape.length > 0 || data.length !== 4 * Number(length)) {
    throw new QkError('ERR_FORMAT', `${name} of ${file} is not a text`)
  }
  const characters = new Uint32Array(data.slice().buffer)
  if (characters.some((character) => character > 0x10ffff)) {
    throw new QkError('ERR_FORMAT', `${name} of ${file} is not a text`)
  }
  let text = ''
  for (const character of characters) {
    text += String.fromCodePoint(character)
  }
  return text
}

const ENDING = '.npy'

async function readEntries(file: string, choose: Choice, limit: number): Promise<Map<string, Uint8Array>> {
  const zip = await openZip(file)
  try {
    const { size: fileSize } = await stat(file)
    const all = new Map<string, Entry>()
    for await (const entry of zip.eachEntry()) {
      if (!entry.fileName.endsWith(ENDING)) {
        continue
      }
      const name = entry.fileName.slice(0, -ENDING.length)
      if (all.has(name)) {
        throw new QkError('ERR_FORMAT', `${file} holds the array ${name} twice`)
      }
      all.set(name, entry)
    }
    const chosen = choose([...all.keys()])
    for (const name of chosen) {
      checkEntry(all.get(name)!, name, file, fileSize)
    }
    const sizes = chosen.map((name) => all.get(name)!.uncompressedSize)
    checkArrayMemory(file, sizes, limit)
    const entries = new Map<string, Uint8Array>()
    for (const name of chosen) {
      entries.set(name, await inflate(zip, all.get(name)!, name, file))
    }
    return entries
  } catch (error) {
    throw asQkError(error, file)
  } finally {
    zip.close()
  }
}

async function openZip(file: string): Promise<ZipFile> {
  return openPromise(file, { autoClose: false }).catch((error: NodeJS.ErrnoException) => {
    if (error.syscall === undefined) {
      throw asQkError(error, file)
    }
    throw new QkError('ERR_FILE', `cannot open ${file}: ${error.message}`, { cause: error })
  })
}

function asQkError(error: unknown, file: string): unknown {
  if (error instanceof QkError) {
    return error
  }
  return new QkError('ERR_FORMAT', `${file} is not a whole .npz archive: ${(error as Error).message}`, {
    hint: 'Save it again with numpy.savez.',
    cause: error,
  })
}

/** The largest expansion of deflate: bytes of output per byte of input. */
const MOST_INFLATION = 1032

/** Errors: ERR_FORMAT. */
function checkEntry(entry: Entry, name: string, file: string, fileSize: number): void {
  const { compressedSize, uncompressedSize } = entry
  const bad = (why: string) => new QkError('ERR_FORMAT', `${name} of ${file} ${why}`)
  if (!entry.canDecodeFileData()) {
    throw bad('is encrypted, or compressed by a method other than deflate')
  }
  if (compressedSize > fileSize) {
    throw bad(`claims ${compressedSize} bytes of a file of ${fileSize} bytes`)
  }
  if (uncompressedSize > MOST_INFLATION * (compressedSize + 1)) {
    throw bad(`claims that ${compressedSize} bytes inflate to ${uncompressedSize}`)
  }
}

async function inflate(zip: ZipFile, entry: Entry, name: string, file: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(entry.uncompressedSize)
  const stream = await zip.openReadStreamPromise(entry)
  let done = 0
  let checksum = 0
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      bytes.set(chunk, done)
      done += chunk.length
      checksum = crc32(chunk, checksum)
    }
  } catch (error) {
    throw new QkError('ERR_FORMAT', `${name} of ${file} cannot be read: ${(error as Error).message}`, {
      cause: error,
    })
  }
  if (done === bytes.length && checksum === entry.crc32) {
    return bytes
  }
  throw new QkError('ERR_FORMAT', `${name} of ${file} is damaged: its checksum is not the one of the archive`)
}
