/**
 * Keeps onnxruntime from writing a device id and the model's metadata into the user's cache folder, and from looking
 * up its maker's host (contract 10). onnxruntime reads the environment when it is loaded, so this module runs first.
 */

import { isMainThread } from 'node:worker_threads'
import { loadAddon } from '../../backend/addon/load.js'
import { QkError } from '../../errors.js'

const VARIABLE = 'ORT_DISABLE_TELEMETRY'

let done = false

/** Must be called before a thread loads onnxruntime. Errors: ERR_ADDON_LOAD if telemetry cannot be turned off. */
export function disableTelemetry(): void {
  if (done) {
    return
  }
  const already = process.env[VARIABLE] === '1'
  process.env[VARIABLE] = '1'
  if (!isMainThread && !already) {
    setForProcess()
  }
  done = true
}

/** Sets a variable of the process. The environment of a worker thread is a copy that native libraries do not see. */
function setForProcess(): void {
  try {
    loadAddon().setEnvironmentVariable(VARIABLE, '1')
  } catch (error) {
    throw new QkError(
      'ERR_ADDON_LOAD',
      `onnxruntime's telemetry cannot be turned off from a worker thread without the native addon: ${(error as Error).message}`,
      { hint: `Start the process with ${VARIABLE}=1, or build the addon.`, cause: error },
    )
  }
}
