/** Errors of the library that are bad usage of a command. */

import { QkError } from '../../errors.js'

/** Makes an argument that the library refuses bad usage (exit status 2); other errors pass. */
export async function asUsage<T>(work: Promise<T>): Promise<T> {
  return work.catch((error) => {
    if (!(error instanceof QkError) || error.code !== 'ERR_ARGUMENT') {
      throw error
    }
    throw new QkError('ERR_USAGE', error.message, { hint: error.hint, cause: error })
  })
}
