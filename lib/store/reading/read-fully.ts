/** Reads a range of a file, in as many steps as the system takes. */

import type { FileHandle } from 'node:fs/promises'

/** Fills the bytes from a place in the file; false if the file ends before. Errors: those of the file system. */
export async function readFully(handle: FileHandle, bytes: Uint8Array, at: number): Promise<boolean> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, done, bytes.length - done, at + done)
    if (bytesRead === 0) {
      return false
    }
    done += bytesRead
  }
  return true
}
