/**
 * The safetensors format: eight bytes with the length of a JSON header (little endian), the header, padded
 * with spaces to a multiple of eight, then the tensors' bytes, each at `data_offsets` from the header's end.
 */

import { open } from 'node:fs/promises'
import { QkError } from '../errors.js'
import { withScratchFile, writeFileAtomically } from './atomic-file.js'
import { readFully } from './reading/read-fully.js'
import { checkRegularFile } from './reading/regular-file.js'

/** A tensor in a file. */
export interface StoredTensor {
  /** The values, row-major. */
  data: Float32Array | Float64Array
  /** Sizes of the axes, outermost first. */
  shape: readonly number[]
}

export interface SafetensorsFile {
  tensors: Map<string, StoredTensor>
  metadata: Record<string, string>
}

const TYPES = {
  F32: { make: (buffer: ArrayBuffer) => new Float32Array(buffer) },
  F64: { make: (buffer: ArrayBuffer) => new Float64Array(buffer) },
} as const

/** Sizes of the types that this package reads. Tensors of other types are not checked. */
const ELEMENT_BYTES: Record<string, number | undefined> = { F64: 8, F32: 4, F16: 2, BF16: 2, I32: 4, U8: 1 }

/** The largest header that is read. A corrupt length would otherwise allocate without limit. */
const MAX_HEADER = 100_000_000

/** Writes tensors in the order given. Errors: ERR_FILE; nothing is left behind. */
export async function writeSafetensors(
  file: string,
  tensors: Iterable<[string, StoredTensor]>,
  metadata: Record<string, string>,
): Promise<void> {
  const header = new Header(file)
  const chunks = [...tensors].map(([name, { data, shape }]) => {
    header.add(name, data instanceof Float32Array ? 'F32' : 'F64', shape, data.byteLength)
    return bytesOf(data)
  })
  await writeFileAtomically(file, [...header.chunks(metadata), ...chunks])
}

/** A tensor of a stream; 16-bit floats are stored as their bits. */
export interface StreamedTensor {
  name: string
  dtype: 'F32' | 'F16'
  shape: readonly number[]
  data: Float32Array | Uint16Array
}

/**
 * Writes a stream of tensors without keeping them in memory. Their bytes wait in a file beside the target until the
 * header is known, so the disk needs twice the space. `metadata` and `rename` are called at the end; `rename` may
 * give each tensor another name. Errors: ERR_FILE, ERR_FORMAT if the header would be too large for readers, and those
 * of the source of the tensors; nothing is left behind.
 */
export async function streamSafetensors(
  file: string,
  tensors: AsyncIterable<StreamedTensor>,
  { metadata, rename = (name) => name }: StreamedEnd,
): Promise<void> {
  const header = new Header(file)
  async function* bytes() {
    for await (const { name, dtype, shape, data } of tensors) {
      header.add(name, dtype, shape, data.byteLength)
      yield bytesOf(data)
    }
  }
  await withScratchFile(file, bytes(), async (written) => {
    async function* whole() {
      yield* header.chunks(metadata(), rename)
      yield* written()
    }
    await writeFileAtomically(file, whole())
  })
}

/** A tensor whose bytes come in pieces. */
export interface PiecewiseTensor {
  name: string
  dtype: TensorType
  shape: readonly number[]
  /** The bytes in order, exactly as many as the shape needs. */
  pieces: () => Iterable<Uint8Array> | AsyncIterable<Uint8Array>
}

/**
 * Writes tensors whose sizes are known in advance. Nothing is kept in memory or written twice. Errors: ERR_FILE,
 * ERR_FORMAT as `streamSafetensors`, and those of the source of the pieces; nothing is left behind.
 */
export async function writePiecewise(
  file: string,
  tensors: readonly PiecewiseTensor[],
  metadata: Record<string, string>,
): Promise<void> {
  const header = new Header(file)
  for (const { name, dtype, shape } of tensors) {
    header.add(name, dtype, shape, tensorBytes(dtype, shape))
  }
  async function* whole() {
    yield* header.chunks(metadata)
    for (const { name, dtype, shape, pieces } of tensors) {
      let written = 0
      for await (const piece of pieces()) {
        written += piece.byteLength
        yield piece
      }
      if (written !== tensorBytes(dtype, shape)) {
        throw new QkError('ERR_INTERNAL', `tensor ${name} has ${written} bytes for the shape [${shape}]`)
      }
    }
  }
  await writeFileAtomically(file, whole())
}

/** Bytes of a tensor. */
const tensorBytes = (dtype: TensorType, shape: readonly number[]): number =>
  shape.reduce((a, b) => a * b, 1) * ELEMENT_BYTES[dtype]!

/** What is known once the stream of tensors has ended. */
export interface StreamedEnd {
  metadata: () => Record<string, string>
  rename?: (name: string) => string
}

export const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** The fewest bytes of a header's entry, without its name. */
const ENTRY_BYTES = 50

/** The header of a file that is being written. */
class Header {
  private readonly entries = new Map<string, object>()
  private offset = 0
  private size = 0

  constructor(private readonly file: string) {}

  /** Errors: ERR_FORMAT. */
  add(name: string, dtype: TensorType, shape: readonly number[], bytes: number): void {
    if (tensorBytes(dtype, shape) !== bytes) {
      throw new QkError('ERR_INTERNAL', `tensor ${name} has ${bytes} bytes for the shape [${shape}]`)
    }
    if (this.entries.has(name)) {
      throw new QkError('ERR_INTERNAL', `two tensors are called ${name}`)
    }
    const end = this.offset + bytes
    this.entries.set(name, { dtype, shape, data_offsets: [this.offset, end] })
    this.offset = end
    this.size += Buffer.byteLength(name) + ENTRY_BYTES
    // Checked here, before the remaining tensors are computed.
    if (this.size > MAX_HEADER) {
      this.refuse(this.size)
    }
  }

  /** Length and header. Errors: ERR_FORMAT. */
  chunks(metadata: Record<string, string>, rename = (name: string) => name): [Uint8Array, Uint8Array] {
    const tensors = [...this.entries].map(([name, entry]) => [rename(name), entry] as const)
    let json = JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(tensors) })
    if (Buffer.byteLength(json) > MAX_HEADER) {
      this.refuse(Buffer.byteLength(json))
    }
    json += ' '.repeat((8 - (Buffer.byteLength(json) % 8)) % 8)
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(json)))
    return [length, Buffer.from(json)]
  }

  private refuse(bytes: number): never {
    throw new QkError('ERR_FORMAT', `the header of ${this.file} would take ${bytes} bytes or more`, {
      hint: `Readers take at most ${MAX_HEADER}; save fewer heads, contrasts or prompts in one file.`,
    })
  }
}

/** Types of tensors that are written. */
export type TensorType = 'F32' | 'F64' | 'F16' | 'I32' | 'U8'

/** A tensor of a file, before it is read. */
export interface TensorEntry {
  name: string
  /** Type, as in F32 or BF16. */
  dtype: string
  shape: readonly number[]
  /** Number of bytes, and their offset in the file. */
  bytes: number
  at: number
}

export interface OpenSafetensors {
  metadata: Record<string, string>
  entries: TensorEntry[]
  read: (entry: TensorEntry) => Promise<ArrayBuffer>
}

/** Reads a whole file of f32 and f64 tensors, checking every length first. Errors: ERR_FILE, ERR_FORMAT. */
export async function readSafetensors(file: string): Promise<SafetensorsFile> {
  return withSafetensors(file, async ({ metadata, entries, read }) => {
    const wrong = entries.find(({ dtype }) => !(dtype in TYPES))
    if (wrong) {
      throw badFile(file, `tensor ${wrong.name} has the type ${wrong.dtype}`)
    }
    const tensors = new Map<string, StoredTensor>()
    for (const entry of entries) {
      const { make } = TYPES[entry.dtype as keyof typeof TYPES]
      tensors.set(entry.name, { data: make(await read(entry)), shape: entry.shape })
    }
    return { tensors, metadata }
  })
}

/**
 * Opens a file, reads and checks its header, and closes the file when `use` is done. Tensors must lie one behind
 * another, so no header can make it allocate more than the size of the file. Errors: ERR_FILE, ERR_FORMAT.
 */
export async function withSafetensors<T>(
  file: string,
  use: (opened: OpenSafetensors) => Promise<T>,
): Promise<T> {
  const bad = (why: string): QkError => badFile(file, why)
  checkRegularFile(file)
  const handle = await open(file, 'r').catch((error: Error) => {
    throw new QkError('ERR_FILE', `cannot open ${file}: ${error.message}`, { cause: error })
  })
  try {
    const { size } = await handle.stat()
    const read = async (at: number, length: number): Promise<ArrayBuffer> => {
      const bytes = new Uint8Array(length)
      const isWhole = await readFully(handle, bytes, at).catch((error) => {
        throw new QkError('ERR_FILE', `cannot read ${file}: ${error.message}`, { cause: error })
      })
      if (!isWhole) {
        throw bad('it ends too early')
      }
      return bytes.buffer
    }
    if (size < 8) {
      throw bad(`it has ${size} bytes`)
    }
    const headerLength = Number(Buffer.from(await read(0, 8)).readBigUInt64LE())
    if (headerLength > Math.min(size - 8, MAX_HEADER)) {
      throw bad(`its header claims ${headerLength} bytes`)
    }
    const header = parseHeader(Buffer.from(await read(8, headerLength)).toString('utf8'), bad)
    const { __metadata__: metadata = {}, ...tensors } = header
    checkMetadata(metadata, bad)
    const entries = Object.entries(tensors).map(([name, tensor]) => {
      return checkedEntry(name, tensor, 8 + headerLength, size, bad)
    })
    checkTiling(entries, 8 + headerLength, size, bad)
    return await use({
      metadata,
      entries,
      read: ({ at, bytes }) => read(at, bytes),
    })
  } finally {
    await handle.close()
  }
}

function badFile(file: string, why: string): QkError {
  return new QkError('ERR_FORMAT', `${file} is not a whole safetensors file: ${why}`)
}

/** A tensor that lies inside the file and has as many bytes as its shape needs. Errors: ERR_FORMAT. */
function checkedEntry(
  name: string,
  tensor: unknown,
  start: number,
  size: number,
  bad: (why: string) => QkError,
): TensorEntry {
  const { dtype, shape, data_offsets: offsets } = (tensor ?? {}) as Record<string, unknown>
  if (!isNaturals(shape) || !isNaturals(offsets) || offsets.length !== 2 || typeof dtype !== 'string') {
    throw bad(`tensor ${name} is malformed`)
  }
  const [from, to] = offsets
  const width = ELEMENT_BYTES[dtype]
  const expected = width === undefined ? to - from : shape.reduce((a, b) => a * b, 1) * width
  if (to - from !== expected || expected < 0 || start + to > size) {
    throw bad(`tensor ${name} lies at bytes ${from} to ${to}, expected ${expected} bytes inside the file`)
  }
  return { name, dtype, shape, bytes: expected, at: start + from }
}

/** Errors: ERR_FORMAT. */
function checkMetadata(
  metadata: unknown,
  bad: (why: string) => QkError,
): asserts metadata is Record<string, string> {
  if (!isDictionary(metadata)) {
    throw bad('its metadata is not an object')
  }
  const wrong = Object.keys(metadata).find((key) => typeof metadata[key] !== 'string')
  if (wrong !== undefined) {
    throw bad(`"${wrong}" of its metadata is not a text`)
  }
}

/**
 * Checks that tensors lie one behind another from the header to the end of the file, as the format demands.
 * Overlapping tensors would be read twice. A gap means that the header names a tensor twice. Errors: ERR_FORMAT.
 */
function checkTiling(
  entries: readonly TensorEntry[],
  start: number,
  size: number,
  bad: (why: string) => QkError,
): void {
  let end = start
  for (const { name, at, bytes } of [...entries].sort((a, b) => a.at - b.at || a.bytes - b.bytes)) {
    if (at !== end) {
      const found = at < end ? 'inside another tensor' : 'behind bytes of no tensor'
      throw bad(`tensor ${name} begins at byte ${at - start}, ${found}, expected ${end - start}`)
    }
    end = at + bytes
  }
  if (end !== size) {
    throw bad(`it has ${size - end} bytes behind its last tensor`)
  }
}

function parseHeader(text: string, bad: (why: string) => QkError): Record<string, unknown> {
  try {
    const header = JSON.parse(text)
    if (isDictionary(header)) {
      return header
    }
  } catch {
    // Reported below.
  }
  throw bad('its header is not a JSON object')
}

const isDictionary = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function isNaturals(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0)
}
