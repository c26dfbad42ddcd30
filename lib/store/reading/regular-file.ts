/**
 * Files that are read at offsets, or more than once. Pipes and devices have no offsets, and opening a pipe may block
 * forever.
 */

import { statSync } from 'node:fs'
import { QkError } from '../../errors.js'

/**
 * Checks that a path names a regular file before it is opened. Errors: ERR_FILE, which says `what` could not be
 * opened.
 */
export function checkRegularFile(file: string, what = ''): void {
  const named = what === '' ? file : `${what} ${file}`
  if (typeof file !== 'string') {
    throw new QkError('ERR_TYPE', `${what === '' ? 'a file' : what} is named by its path, got ${typeof file}`)
  }
  try {
    const found = statSync(file)
    if (!found.isFile()) {
      throw new Error(found.isDirectory() ? 'it is a folder' : 'it is not a file')
    }
  } catch (cause) {
    throw new QkError('ERR_FILE', `cannot open ${named}: ${(cause as Error).message}`, { cause })
  }
}
