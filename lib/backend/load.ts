/** Finds and loads the native addon; a failure lists every attempt and the fix. */

import { createRequire } from 'node:module'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { QkError } from '../errors.js'
import type { Addon } from './addon-types.js'

/** Version of native/abi.h that this code was written for. */
const ABI_VERSION = 1

let loaded: Addon | QkError | undefined

/** The addon; throws a QkError (ERR_ADDON_LOAD), the same one each time. */
export function loadAddon(): Addon {
  loaded ??= attempt()
  if (loaded instanceof QkError) throw loaded
  return loaded
}

function attempt(): Addon | QkError {
  // dist/backend/load.js -> the package's root
  const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..')
  const require = createRequire(import.meta.url)
  try {
    const bindings = require('bindings') as (options: object) => Addon
    const addon = bindings({ bindings: 'qkspace', module_root: root })
    if (addon.abiVersion === ABI_VERSION) return addon
    return failure(`the addon has interface version ${addon.abiVersion}, this package needs ${ABI_VERSION}`)
  } catch (error) {
    const tries = (error as { tries?: string[] }).tries
    if (tries) return failure(`the native addon is not built; tried:\n  ${tries.join('\n  ')}`, error)
    return failure(`the native addon does not load: ${(error as Error).message}`, error)
  }
}

function failure(message: string, cause?: unknown): QkError {
  const hint = "build it with 'npm run build' (needs a C++17 compiler and CMake), or use the backend 'js'"
  return new QkError('ERR_ADDON_LOAD', message, { hint, cause })
}
