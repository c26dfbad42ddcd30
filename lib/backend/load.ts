/** Finds and loads the native addon; a failure lists every attempt and the fix. */

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { QkError } from '../errors.js'
import { type Addon, CONSTANTS } from './addon-types.js'

let loaded: Addon | QkError | undefined

/** The addon; throws a QkError (ERR_ADDON_LOAD), the same one each time. */
export function loadAddon(): Addon {
  loaded ??= attempt()
  if (loaded instanceof QkError) {
    throw loaded
  }
  return loaded
}

/** dist/backend/load.js -> the package's root */
const root = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..')

/**
 * The CUDA backend's library, built beside the addon where a CUDA compiler was found; QKSPACE_CUDA_LIBRARY in the
 * environment names another. Errors: ERR_BACKEND where there is none.
 */
export function cudaLibrary(): string {
  const named = process.env.QKSPACE_CUDA_LIBRARY
  const library =
    named || resolve(root, 'build', 'Release', `qkspace_cuda.${process.platform === 'win32' ? 'dll' : 'so'}`)
  if (!existsSync(library)) {
    throw new QkError('ERR_BACKEND', `the CUDA backend is not built: there is no ${library}`, {
      hint: named
        ? 'QKSPACE_CUDA_LIBRARY names the file.'
        : "Install CUDA 12 or later, so that nvcc is found, remove the folder 'build', and run 'npm run build'.",
    })
  }
  return library
}

function attempt(): Addon | QkError {
  const require = createRequire(import.meta.url)
  try {
    const bindings = require('bindings') as (options: object) => Addon
    const addon = bindings({ bindings: 'qkspace', module_root: root })
    const difference = constantThatDiffers(addon.constants, CONSTANTS)
    return difference === undefined
      ? addon
      : failure(`the addon does not belong to this package: ${difference}`)
  } catch (error) {
    const tries = (error as { tries?: string[] }).tries
    if (tries) {
      return failure(`the native addon is not built; tried:\n  ${tries.join('\n  ')}`, error)
    }
    return failure(`the native addon does not load: ${(error as Error).message}`, error)
  }
}

/** Names the first constant that the addon and this package disagree on, with both values. */
export function constantThatDiffers(built: unknown, expected: unknown, name = ''): string | undefined {
  const isTable = (value: unknown) => typeof value === 'object' && value !== null
  if (!isTable(built) || !isTable(expected)) {
    return built === expected
      ? undefined
      : `its constant ${name || 'table'} is ${String(built)}, expected ${String(expected)}`
  }
  const ours = expected as Record<string, unknown>
  const theirs = built as Record<string, unknown>
  for (const key of new Set([...Object.keys(ours), ...Object.keys(theirs)])) {
    const difference = constantThatDiffers(theirs[key], ours[key], name ? `${name}.${key}` : key)
    if (difference !== undefined) {
      return difference
    }
  }
  return undefined
}

function failure(message: string, cause?: unknown): QkError {
  const hint = "build it with 'npm run build' (needs a C++17 compiler and CMake), or use the backend 'js'"
  return new QkError('ERR_ADDON_LOAD', message, { hint, cause })
}
