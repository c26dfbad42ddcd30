/**
 * Null values that have been drawn, one behind another in a file that only grows. A record is the number of its values (8
 * bytes, little endian), the SHA-256 of its key, the values (f64), and the SHA-256 of all that. A process that is killed
 * while it writes leaves an incomplete last record, which is dropped.
 */

import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { QkError } from '../../errors.js'
import { fileStart } from '../../store/atomic-file.js'
import { readFully } from '../../store/reading/read-fully.js'

const SUM_BYTES = 32
const LENGTH_BYTES = 8
/** Values of one record, at most: more are none of ours. */
const MOST_VALUES = 2 ** 30

export class DrawJournal {
  readonly #handle: FileHandle
  /** By key: where the values lie. */
  readonly #places: Map<string, { at: number; count: number }>
  #end: number
  /** Records follow one another, also where two tests ask at once. */
  #writing: Promise<unknown> = Promise.resolve()

  private constructor(
    private readonly file: string,
    handle: FileHandle,
    places: Map<string, { at: number; count: number }>,
    end: number,
  ) {
    this.#handle = handle
    this.#places = places
    this.#end = end
  }

  /** Opens the file, or makes it. Errors: ERR_FILE, ERR_FORMAT where a record other than the last is damaged. */
  static async open(file: string): Promise<DrawJournal> {
    const handle = await open(file, 'a+').catch((cause) => {
      throw new QkError('ERR_FILE', `cannot open ${file}: ${(cause as Error).message}`, { cause })
    })
    try {
      const { places, end } = await recordsOf(file, handle)
      await handle.truncate(end)
      return new DrawJournal(file, handle, places, end)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /** Whether a file begins with the record of a key. */
  static async starts(file: string, key: string): Promise<boolean> {
    const start = await fileStart(file, LENGTH_BYTES + SUM_BYTES)
    return start.subarray(LENGTH_BYTES).equals(keySum(key))
  }

  has(key: string): boolean {
    return this.#places.has(keySum(key).toString('hex'))
  }

  /** The values of a key, read or computed. Errors: ERR_FILE, and those of `compute`. */
  async values(key: string, compute: () => Promise<Float64Array>): Promise<Float64Array> {
    const sum = keySum(key)
    const known = this.#places.get(sum.toString('hex'))
    if (known) {
      const bytes = new Uint8Array(known.count * 8)
      await readWhole(this.#handle, bytes, known.at)
      return new Float64Array(bytes.buffer)
    }
    const values = await compute()
    const write = this.#writing.then(() => this.#append(sum, values))
    this.#writing = write.catch(() => {})
    await write
    return values
  }

  async close(): Promise<void> {
    await this.#writing
    await this.#handle.close()
  }

  async #append(sum: Buffer, values: Float64Array): Promise<void> {
    const length = Buffer.alloc(LENGTH_BYTES)
    length.writeBigUInt64LE(BigInt(values.length))
    const body = Buffer.concat([
      length,
      sum,
      Buffer.from(values.buffer, values.byteOffset, values.byteLength),
    ])
    const record = Buffer.concat([body, createHash('sha256').update(body).digest()])
    await this.#handle.appendFile(record).catch((cause) => {
      throw new QkError('ERR_FILE', `cannot write ${this.file}: ${(cause as Error).message}`, { cause })
    })
    this.#places.set(sum.toString('hex'), { at: this.#end + LENGTH_BYTES + SUM_BYTES, count: values.length })
    this.#end += record.length
  }
}

const keySum = (key: string): Buffer => createHash('sha256').update(key).digest()

async function recordsOf(file: string, handle: FileHandle) {
  const places = new Map<string, { at: number; count: number }>()
  const { size } = await handle.stat()
  let end = 0
  while (end < size) {
    const head = new Uint8Array(LENGTH_BYTES)
    if (end + head.length > size) {
      break
    }
    await readWhole(handle, head, end)
    const count = Number(Buffer.from(head.buffer).readBigUInt64LE())
    const bytes = LENGTH_BYTES + SUM_BYTES + 8 * count
    if (count > MOST_VALUES || end + bytes + SUM_BYTES > size) {
      break
    }
    const record = new Uint8Array(bytes + SUM_BYTES)
    await readWhole(handle, record, end)
    const sum = createHash('sha256').update(record.subarray(0, bytes)).digest()
    const next = end + record.length
    if (!sum.equals(record.subarray(bytes))) {
      if (next === size) {
        break
      }
      throw new QkError('ERR_FORMAT', `${file} is damaged at byte ${end}`, {
        hint: 'Remove the checkpoint, and begin again.',
      })
    }
    const key = Buffer.from(record.subarray(LENGTH_BYTES, LENGTH_BYTES + SUM_BYTES)).toString('hex')
    places.set(key, { at: end + LENGTH_BYTES + SUM_BYTES, count })
    end = next
  }
  return { places, end }
}

async function readWhole(handle: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  if (!(await readFully(handle, bytes, at))) {
    throw new QkError('ERR_FORMAT', 'the file of draws ends too early')
  }
}
