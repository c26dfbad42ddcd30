/**
 * Writes NumPy's `.npz`: a zip archive of `.npy` files, stored without compression, as by `numpy.savez`. Archives
 * beyond the limits of 32-bit sizes are written as ZIP64, which NumPy reads.
 */

import { Readable } from 'node:stream'
import { ZipFile } from 'yazl'
import { writeFileAtomically } from '../atomic-file.js'
import { npyHeader } from '../npy.js'
import type { StoredTensor } from '../safetensors.js'

/** Name of the array that holds the document. */
export const DOCUMENT = 'qkspace'

/** Fixed attributes, so that a file has the same bytes whenever and wherever it is written. */
const ENTRY = {
  compress: false,
  mtime: new Date(1980, 0, 1),
  mode: 0o100644,
  forceDosTimestamp: true,
}

/**
 * Writes each text of `metadata`, then the tensors in the order given. A text is an array of Unicode characters
 * without axes: `numpy.load(file)['qkspace'].item()` reads one without pickles. Errors: ERR_FILE; nothing is left
 * behind.
 */
export async function writeNpz(
  file: string,
  tensors: Iterable<[string, StoredTensor]>,
  metadata: Record<string, string>,
): Promise<void> {
  const zip = new ZipFile()
  const add = (name: string, parts: Uint8Array[]) => {
    const size = parts.reduce((sum, { byteLength }) => sum + byteLength, 0)
    zip.addReadStreamLazy(`${name}.npy`, { ...ENTRY, size }, (done) => done(null, Readable.from(parts)))
  }
  const texts = Object.entries(metadata).filter(([name]) => name !== 'format')
  for (const [name, text] of texts) {
    add(name, textArray(text))
  }
  for (const [name, { data, shape }] of tensors) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    add(name, [npyHeader(data, shape), bytes])
  }
  zip.end()
  await writeFileAtomically(file, zip.outputStream as unknown as AsyncIterable<Uint8Array>)
}

/** A 0-d array of NumPy's type U: four bytes a character, little endian. */
function textArray(text: string): Uint8Array[] {
  const characters = Uint32Array.from(text, (character) => character.codePointAt(0)!)
  return [npyHeader(`<U${characters.length}`, []), new Uint8Array(characters.buffer)]
}
