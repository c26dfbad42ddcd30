/**
 * Stores arrays of rows, which are appended in pieces and read back whole: in memory, or in a private temporary file.
 */

import { randomBytes } from 'node:crypto'
import { close, closeSync, open, read, write } from 'node:fs'
import { unlink } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { QkError } from '../../errors.js'

/** A piece that has been stored. */
export interface StoredPiece {
  length: number
  /** Values in memory. */
  data?: Float32Array
  /** Values in a tensor of a saved file. */
  saved?: SavedRows
  /** Offset in the temporary file in bytes, or in a saved tensor in elements. */
  offset?: number
}

/** Rows in a file that outlives the process. */
export interface SavedRows {
  /** All rows of the tensor, verified. */
  read(): Promise<Float32Array>
}

const files = { open: promisify(open), read: promisify(read), write: promisify(write) }

/** Closes the file of a store that was not disposed of. A FileHandle would print a warning. */
const dropped = new FinalizationRegistry<number>(closeSync)

export class RowStore {
  /** Descriptor of the file. */
  #file: number | undefined
  #end = 0
  /** Queue of writes, which run one after another. */
  #writing: Promise<void> = Promise.resolve()

  /** `folder` is that of the temporary file; undefined for memory. */
  constructor(private readonly folder: string | undefined) {}

  /** Errors: ERR_FILE if the disk is full. */
  async append(data: Float32Array): Promise<StoredPiece> {
    if (this.folder === undefined) {
      return { length: data.length, data }
    }
    const offset = this.#end
    this.#end += data.byteLength
    this.#writing = this.#writing.then(() => this.#write(data, offset))
    await this.#writing
    return { length: data.length, offset }
  }

  /** Reads pieces into one array, one after another. */
  async read(pieces: readonly StoredPiece[]): Promise<Float32Array> {
    const out = new Float32Array(pieces.reduce((sum, { length }) => sum + length, 0))
    /** Pieces of each saved tensor with their places in the result, so that each tensor is read once. */
    const saved = new Map<SavedRows, [piece: StoredPiece, at: number][]>()
    let at = 0
    for (const piece of pieces) {
      if (piece.data) {
        out.set(piece.data, at)
      } else if (piece.saved) {
        const own = saved.get(piece.saved) ?? []
        own.push([piece, at])
        saved.set(piece.saved, own)
      } else {
        await this.#readOwn(new Uint8Array(out.buffer, 4 * at, 4 * piece.length), piece.offset!)
      }
      at += piece.length
    }
    for (const [tensor, own] of saved) {
      const rows = await tensor.read()
      for (const [{ length, offset = 0 }, to] of own) {
        out.set(rows.subarray(offset, offset + length), to)
      }
    }
    return out
  }

  /** Fills the bytes from the temporary file. Errors: ERR_FILE. */
  async #readOwn(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await files.read(this.#file!, bytes, done, bytes.length - done, offset + done)
      if (bytesRead === 0) {
        throw new QkError('ERR_FILE', 'the temporary file of kept rows ends too early')
      }
      done += bytesRead
    }
  }

  dispose(): void {
    const file = this.#file
    this.#file = undefined
    if (file === undefined) {
      return
    }
    dropped.unregister(this)
    close(file, () => {})
  }

  async #write(data: Float32Array, offset: number): Promise<void> {
    try {
      this.#file ??= await this.#create()
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await files.write(
          this.#file,
          bytes,
          done,
          bytes.length - done,
          offset + done,
        )
        done += bytesWritten
      }
    } catch (error) {
      const full = (error as NodeJS.ErrnoException).code === 'ENOSPC'
      throw new QkError(
        'ERR_FILE',
        `cannot keep rows for the test of rank in ${this.folder}: ${full ? 'the disk is full' : (error as Error).message}`,
        { cause: error, hint: 'Lower nullBytes to 0 to do without the test, or set TMPDIR to another disk.' },
      )
    }
  }

  /** An unlinked file, so that the system frees it however the process ends. */
  async #create(): Promise<number> {
    const name = path.join(this.folder!, `.qkspace-rows-${randomBytes(8).toString('hex')}`)
    const file = await files.open(name, 'wx+', 0o600)
    await unlink(name).catch(() => {})
    dropped.register(this, file, this)
    return file
  }
}
