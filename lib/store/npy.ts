/** NumPy's `.npy` files, read by row and written whole. Format: numpy.lib.format, versions 1 to 3. */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { QkError } from '../errors.js'
import { counted } from '../validate.js'
import { writeFileAtomically } from './atomic-file.js'
import { checkRegularFile } from './reading/regular-file.js'

export type NpyArray = Float32Array | Float64Array | Uint16Array | Int32Array | BigInt64Array | Uint8Array

export interface Npy {
  /** numpy's type, as in `<f4`. */
  descr: string
  shape: number[]
  data: NpyArray
}

interface NpyHeader {
  descr: string
  shape: number[]
  /** Where the data begins. */
  offset: number
}

const MAGIC = '\x93NUMPY'

const READERS: Record<string, { bytes: number; view: (buffer: ArrayBuffer) => NpyArray }> = {
  '<f4': { bytes: 4, view: (b) => new Float32Array(b) },
  '<f8': { bytes: 8, view: (b) => new Float64Array(b) },
  '<f2': { bytes: 2, view: (b) => new Uint16Array(b) },
  '<i4': { bytes: 4, view: (b) => new Int32Array(b) },
  '<i8': { bytes: 8, view: (b) => new BigInt64Array(b) },
  '|u1': { bytes: 1, view: (b) => new Uint8Array(b) },
  '|b1': { bytes: 1, view: (b) => new Uint8Array(b) },
}

/**
 * Reads a `.npy` file. With `row`, reads only that entry along the first axis. Errors: ERR_FILE, ERR_FORMAT,
 * ERR_RANGE.
 */
export function readNpy(file: string, row?: number): Npy {
  checkRegularFile(file)
  let fd: number
  try {
    fd = openSync(file, 'r')
  } catch (error) {
    throw new QkError('ERR_FILE', `cannot open ${file}: ${(error as Error).message}`, { cause: error })
  }
  try {
    const { descr, shape, offset } = readHeader(fd, file)
    const reader = readerOf(descr, file)
    const expected = offset + size(shape) * reader.bytes
    if (fstatSync(fd).size < expected) {
      throw new QkError('ERR_FORMAT', `${file} is cut short: its shape [${shape}] takes ${expected} bytes`)
    }
    if (row === undefined) {
      return { descr, shape, data: reader.view(readBytes(fd, offset, size(shape) * reader.bytes)) }
    }
    if (!Number.isSafeInteger(row) || row < 0 || row >= (shape[0] ?? 0)) {
      throw new QkError('ERR_RANGE', `${file} has ${counted(shape[0] ?? 0, 'row')}, there is no row ${row}`)
    }
    const inner = shape.slice(1)
    const bytes = size(inner) * reader.bytes
    return { descr, shape: inner, data: reader.view(readBytes(fd, offset + row * bytes, bytes)) }
  } finally {
    closeSync(fd)
  }
}

/** Errors: ERR_FORMAT. */
function readerOf(descr: string, file: string): (typeof READERS)[string] {
  const reader = READERS[descr]
  if (reader) {
    return reader
  }
  if (descr.endsWith('O')) {
    throw new QkError('ERR_FORMAT', `${file} holds Python objects, not numbers`, {
      hint: 'Objects are pickles, which can run code when they are read: save arrays of numbers.',
    })
  }
  throw new QkError('ERR_FORMAT', `${file} has the type ${descr}`, {
    hint: `Types that can be read: ${Object.keys(READERS).join(', ')}.`,
  })
}

const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)

/** Splits the bytes of a whole `.npy` file into header and data; the data is a view. Errors: ERR_FORMAT. */
export function splitNpy(bytes: Uint8Array, file: string): NpyHeader & { data: Uint8Array } {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const { start, length } = headerSpan(buffer.subarray(0, 12), file)
  if (start + length > bytes.length) {
    throw new QkError('ERR_FORMAT', `${file} is cut short`)
  }
  const header = parseHeader(buffer.subarray(start, start + length), start, file)
  return { ...header, data: bytes.subarray(header.offset) }
}

/** The array in the bytes of a whole `.npy` file. Errors: ERR_FORMAT. */
export function parseNpy(bytes: Uint8Array, file: string): Npy {
  const { descr, shape, data } = splitNpy(bytes, file)
  const reader = readerOf(descr, file)
  const expected = size(shape) * reader.bytes
  if (data.length !== expected) {
    throw new QkError(
      'ERR_FORMAT',
      `${file} holds ${data.length} bytes, and its shape [${shape}] takes ${expected} bytes`,
    )
  }
  return { descr, shape, data: reader.view(data.slice().buffer) }
}

/** The most bytes that Node reads in one call: an int32 counts them. */
const MOST_AT_ONCE = 2 ** 30

function readBytes(fd: number, offset: number, length: number): ArrayBuffer {
  const bytes = new Uint8Array(length)
  for (let done = 0; done < length; ) {
    const got = readSync(fd, bytes, done, Math.min(length - done, MOST_AT_ONCE), offset + done)
    if (got === 0) {
      break
    }
    done += got
  }
  return bytes.buffer
}

function readHeader(fd: number, file: string): NpyHeader {
  const { start, length } = headerSpan(Buffer.from(readBytes(fd, 0, 12)), file)
  if (start + length > fstatSync(fd).size) {
    throw new QkError('ERR_FORMAT', `${file} is cut short`)
  }
  return parseHeader(Buffer.from(readBytes(fd, start, length)), start, file)
}

/** Finds the dictionary of a header from the first bytes of a file. Errors: ERR_FORMAT. */
function headerSpan(head: Buffer, file: string): { start: number; length: number } {
  if (head.toString('latin1', 0, 6) !== MAGIC || head.length < 12) {
    throw new QkError('ERR_FORMAT', `${file} is not a .npy file`)
  }
  const wide = head[6] > 1
  return wide ? { start: 12, length: head.readUInt32LE(8) } : { start: 10, length: head.readUInt16LE(8) }
}

function parseHeader(dictionary: Buffer, start: number, file: string): NpyHeader {
  const text = dictionary.toString('latin1')
  const descr = /'descr'\s*:\s*'([^']+)'/.exec(text)?.[1]
  const shape = /'shape'\s*:\s*\(([^)]*)\)/.exec(text)?.[1]
  if (descr === undefined || shape === undefined) {
    throw new QkError('ERR_FORMAT', `${file} has a header that is not understood: ${text.trim()}`)
  }
  if (/'fortran_order'\s*:\s*True/.test(text)) {
    throw new QkError('ERR_FORMAT', `${file} is stored in Fortran order`, {
      hint: 'Save numpy.ascontiguousarray(x).',
    })
  }
  return { descr, shape: dimensions(shape, file), offset: start + dictionary.length }
}

/**
 * Parses a shape, which is a Python tuple. It may end with a comma, and Python 2 wrote numbers as `3L`. Errors:
 * ERR_FORMAT.
 */
function dimensions(tuple: string, file: string): number[] {
  const parts = tuple.split(',').map((part) => part.trim())
  if (parts[parts.length - 1] === '') {
    parts.pop()
  }
  return parts.map((part, axis) => {
    const size = /^\d+L?$/.test(part) ? Number.parseInt(part, 10) : Number.NaN
    if (Number.isSafeInteger(size)) {
      return size
    }
    throw new QkError('ERR_FORMAT', `${file}: dimension ${axis} of its shape (${tuple}) is "${part}"`, {
      hint: 'A dimension is a whole number of at least 0; save the array again with numpy.save.',
    })
  })
}

/** Whether a file starts as `.npy` files do. */
export function isNpy(file: string): boolean {
  const fd = openSync(file, 'r')
  try {
    return Buffer.from(readBytes(fd, 0, MAGIC.length)).toString('latin1') === MAGIC
  } finally {
    closeSync(fd)
  }
}

/** The header of a `.npy` file, version 1. Padding makes the data begin at a multiple of 64 bytes. */
export function npyHeader(type: Float32Array | Float64Array | string, shape: readonly number[]): Buffer {
  const descr = typeof type === 'string' ? type : type instanceof Float32Array ? '<f4' : '<f8'
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(', ')
  const dictionary = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dims}), }`
  const padding = 63 - ((10 + dictionary.length) % 64)
  const header = Buffer.from(`${dictionary}${' '.repeat(padding)}\n`, 'latin1')
  const head = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, 0, 0])
  head.writeUInt16LE(header.length, 8)
  return Buffer.concat([head, header])
}

/** Writes an array as `.npy`, version 1. */
export function writeNpy(
  file: string,
  data: Float32Array | Float64Array,
  shape: readonly number[],
): Promise<void> {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  return writeFileAtomically(file, [npyHeader(data, shape), bytes])
}
