/**
 * safetensors files for exchange between processes: a JSON document and tensors, each with its SHA-256. The last
 * tensor, `sha256` [1 + tensors, 32], holds the checksums of the document and of the tensors in the order of the
 * file.
 */

import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { QkError } from '../../errors.js'
import { readFully } from '../reading/read-fully.js'
import {
  bytesOf,
  type PiecewiseTensor,
  type TensorEntry,
  withSafetensors,
  writePiecewise,
} from '../safetensors.js'

const SUMS = 'sha256'
const SUM_BYTES = 32
const DOCUMENT = 'document'

/**
 * Writes the file whole or not at all. Errors: ERR_FILE, ERR_FORMAT, and those of the source of the tensors.
 */
export async function writeChecked(
  file: string,
  document: object,
  tensors: readonly PiecewiseTensor[],
): Promise<void> {
  const text = JSON.stringify(document)
  const sums = [sumOf([Buffer.from(text)])]
  const summed = tensors.map((tensor): PiecewiseTensor => {
    async function* pieces() {
      const hash = createHash('sha256')
      for await (const piece of tensor.pieces()) {
        hash.update(piece)
        yield piece
      }
      sums.push(hash.digest())
    }
    return { ...tensor, pieces }
  })
  const last: PiecewiseTensor = {
    name: SUMS,
    dtype: 'U8',
    shape: [1 + tensors.length, SUM_BYTES],
    pieces: () => sums,
  }
  await writePiecewise(file, [...summed, last], { [DOCUMENT]: text })
}

/** A tensor whose values are already in memory. */
export function wholeTensor(
  name: string,
  data: Float64Array | Float32Array | Int32Array | Uint8Array,
  shape: readonly number[] = [data.length],
): PiecewiseTensor {
  const dtype =
    data instanceof Float64Array
      ? 'F64'
      : data instanceof Float32Array
        ? 'F32'
        : data instanceof Int32Array
          ? 'I32'
          : 'U8'
  return { name, dtype, shape, pieces: () => [bytesOf(data)] }
}

/** A file with a verified document. Its tensors are read and verified on demand. */
export class CheckedFile {
  private constructor(
    readonly file: string,
    /** The document as written. The caller checks its fields. */
    readonly document: unknown,
    private readonly entries: ReadonlyMap<string, TensorEntry & { sum: Buffer }>,
  ) {}

  /** Errors: ERR_FILE, ERR_FORMAT for files of other kinds and damaged ones. */
  static async open(file: string): Promise<CheckedFile> {
    return withSafetensors(file, async ({ metadata, entries, read }) => {
      const ordered = [...entries].sort((a, b) => a.at - b.at)
      const last = ordered.pop()
      const text = metadata[DOCUMENT]
      const expected = (1 + ordered.length) * SUM_BYTES
      if (text === undefined || last?.name !== SUMS || last.dtype !== 'U8' || last.bytes !== expected) {
        throw new QkError('ERR_FORMAT', `${file} holds no saved sums of qkspace`)
      }
      const sums = Buffer.from(await read(last))
      const sumAt = (i: number) => sums.subarray(i * SUM_BYTES, (i + 1) * SUM_BYTES)
      if (!sumOf([Buffer.from(text)]).equals(sumAt(0))) {
        throw damaged(file, 'its document')
      }
      const named = ordered.map((entry, i) => [entry.name, { ...entry, sum: sumAt(1 + i) }] as const)
      return new CheckedFile(file, JSON.parse(text), new Map(named))
    })
  }

  has(name: string): boolean {
    return this.entries.has(name)
  }

  /** Shape of a tensor. Errors: ERR_FORMAT if there is no such tensor. */
  shapeOf(name: string): readonly number[] {
    return this.#entry(name).shape
  }

  /** Reads a tensor. Errors: ERR_FILE, ERR_FORMAT if it is damaged or of another type. */
  async read(name: string, dtype: string): Promise<ArrayBuffer> {
    const entry = this.#entry(name)
    if (entry.dtype !== dtype) {
      throw new QkError('ERR_FORMAT', `${this.file}: tensor ${name} is ${entry.dtype}, expected ${dtype}`)
    }
    const bytes = await readAt(this.file, entry)
    if (!sumOf([bytes]).equals(entry.sum)) {
      throw damaged(this.file, `tensor ${name}`)
    }
    return bytes.buffer
  }

  /** Reads every tensor once. Errors: as `read`. */
  async verify(): Promise<void> {
    for (const { name, dtype } of this.entries.values()) {
      await this.read(name, dtype)
    }
  }

  #entry(name: string): TensorEntry & { sum: Buffer } {
    const entry = this.entries.get(name)
    if (!entry) {
      throw new QkError('ERR_FORMAT', `${this.file} has no tensor ${name}`)
    }
    return entry
  }
}

async function readAt(file: string, { at, bytes: length }: TensorEntry): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length)
  const fail = (cause: Error) => {
    throw new QkError('ERR_FILE', `cannot read ${file}: ${cause.message}`, { cause })
  }
  const handle = await open(file).catch(fail)
  try {
    if (!(await readFully(handle, bytes, at).catch(fail))) {
      throw damaged(file, 'its end')
    }
  } finally {
    await handle.close()
  }
  return bytes
}

function sumOf(pieces: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256')
  for (const piece of pieces) {
    hash.update(piece)
  }
  return hash.digest()
}

function damaged(file: string, what: string): QkError {
  return new QkError('ERR_FORMAT', `${file} is damaged: ${what} is not what was written`, {
    hint: 'Remove the file, and run again what wrote it.',
  })
}
