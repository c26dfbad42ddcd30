/** Limit on the memory that the arrays of a file may take. */

import { QkError } from '../errors.js'
import { mebibytes } from '../math/bytes.js'

/** Checks the total size of arrays before they are read. Errors: ERR_MEMORY_LIMIT. */
export function checkArrayMemory(file: string, sizes: readonly number[], limit: number): void {
  const total = sizes.reduce((sum, bytes) => sum + bytes, 0)
  if (total <= limit) {
    return
  }
  throw new QkError(
    'ERR_MEMORY_LIMIT',
    `the arrays of ${file} take ${mebibytes(total)}, the limit is ${mebibytes(limit)}`,
    { hint: 'Read fewer layers at a time, or raise memoryLimit.' },
  )
}
