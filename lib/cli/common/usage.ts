/** Turns errors of the library that are the user's mistake into bad usage of a command. */

import { QkError } from '../../errors.js'

/** Reports an argument that the library refuses as bad usage (exit status 2). Other errors pass unchanged. */
export async function asUsage<T>(work: Promise<T>): Promise<T> {
  return work.catch((error) => {
    if (!(error instanceof QkError) || error.code !== 'ERR_ARGUMENT') {
      throw error
    }
    throw new QkError('ERR_USAGE', error.message, { hint: error.hint, cause: error })
  })
}
