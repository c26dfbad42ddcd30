/** Files that are read by place, or more than once: pipes and devices have no places, and opening a pipe may never end. */

import { statSync } from 'node:fs'
import { QkError } from '../../errors.js'

/** Checks that a name is that of a file, before it is opened. Errors: ERR_FILE, which says `what` could not be opened. */
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
