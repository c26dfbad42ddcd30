/** The program of the child process: opens a model and reports the outcome. */

import { QkError, type QkErrorCode } from '../../errors.js'
import { type OpenHereOptions, openHere } from '../open-here.js'

export interface ChildRequest {
  path: string
  options: OpenHereOptions
}

/** The outcome of opening. */
export type ChildAnswer = { ok: true } | { ok: false; code: QkErrorCode; message: string; hint?: string }

process.once('message', async ({ path, options }: ChildRequest) => {
  process.send!(await answer(path, options), () => process.disconnect())
})

// The caller is gone, so nobody waits for the answer. No exit here, since that would abort a running session.
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'))

async function answer(path: string, options: ChildRequest['options']): Promise<ChildAnswer> {
  try {
    await openHere(path, options)
    return { ok: true }
  } catch (error) {
    const { message } = error as Error
    if (!(error instanceof QkError)) {
      return { ok: false, code: 'ERR_INTERNAL', message }
    }
    const { code, hint } = error
    return { ok: false, code, message, ...(hint !== undefined && { hint }) }
  }
}
