/** Reads protobuf wire format from a file through a small window, so that weights can be skipped. */

import { readSync } from 'node:fs'
import { QkError } from '../../errors.js'

const WINDOW_BYTES = 1 << 18

/** Protobuf wire types that occur in proto2 files without groups. */
export const Wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const

export class FileCursor {
  position = 0
  private window = Buffer.alloc(0)
  private windowStart = 0

  constructor(
    private readonly fd: number,
    readonly size: number,
    private readonly path: string,
  ) {}

  /** A tag at the current position: field number and wire type. */
  tag(): { field: number; wire: number } {
    const value = this.varint()
    return { field: Math.floor(value / 8), wire: value % 8 }
  }

  /** Reads a varint below 2^53. */
  varint(): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < 10; i++) {
      const byte = this.byte()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        return value
      }
      scale *= 128
    }
    throw this.corrupt(`a number of more than ten bytes ends at byte ${this.position}`)
  }

  /** The length of a length-delimited field, checked against the end of what encloses it. */
  length(end: number): number {
    const length = this.varint()
    if (this.position + length > end) {
      throw this.corrupt(
        `a field of ${length} bytes starts at byte ${this.position}, but only ${end - this.position} bytes are left`,
      )
    }
    return length
  }

  /** Moves past the value of a field whose tag has been read. */
  skip(wire: number, end: number): void {
    if (wire === Wire.varint) {
      this.varint()
    } else if (wire === Wire.fixed64) {
      this.position += 8
    } else if (wire === Wire.fixed32) {
      this.position += 4
    } else if (wire === Wire.bytes) {
      const length = this.length(end)
      this.position += length
    } else {
      throw this.corrupt(`byte ${this.position} has the unknown wire type ${wire}`)
    }
    if (this.position > end) {
      throw this.corrupt(`the file ends inside a field at byte ${this.position}`)
    }
  }

  /** A copy of the bytes [start, end) of the file. */
  slice(start: number, end: number): Uint8Array {
    if (start >= this.windowStart && end <= this.windowStart + this.window.length) {
      return Uint8Array.prototype.slice.call(this.window, start - this.windowStart, end - this.windowStart)
    }
    return this.read(start, end)
  }

  private read(start: number, end: number): Buffer<ArrayBuffer> {
    const out = Buffer.alloc(end - start)
    for (let done = 0; done < out.length; ) {
      const got = readSync(this.fd, out, done, out.length - done, start + done)
      if (got === 0) {
        throw this.corrupt(`the file ends at byte ${start + done}, expected ${end}`)
      }
      done += got
    }
    return out
  }

  corrupt(why: string): QkError {
    return new QkError('ERR_NOT_ONNX', `${this.path} is not a whole ONNX file: ${why}`, {
      hint: 'Download or export the model again; with Git LFS, fetch the file itself rather than its pointer.',
    })
  }

  private byte(): number {
    let offset = this.position - this.windowStart
    if (offset < 0 || offset >= this.window.length) {
      if (this.position >= this.size) {
        throw this.corrupt(`it ends at byte ${this.size}, inside a field`)
      }
      const end = Math.min(this.size, this.position + WINDOW_BYTES)
      this.window = this.read(this.position, end)
      this.windowStart = this.position
      offset = 0
    }
    this.position += 1
    return this.window[offset]
  }
}
