/** Finds and loads the native addon; a failure lists every attempt with its reason, and the fix. */

import { createRequire } from 'node:module'
import { QkError } from '../../errors.js'
import { type Addon, CONSTANTS } from '../addon-types.js'
import {
  builtFile,
  isCheckout,
  isPublished,
  PLATFORMS,
  packagedFile,
  platform,
  root,
  version,
} from './places.js'

const require = createRequire(import.meta.url)

let loaded: Addon | QkError | undefined

/** The addon; throws a QkError (ERR_ADDON_LOAD), the same one each time. */
export function loadAddon(): Addon {
  loaded ??= load()
  if (loaded instanceof QkError) {
    throw loaded
  }
  return loaded
}

function load(): Addon | QkError {
  const failed: { place: string; error: Error }[] = []
  for (const [place, open] of [
    [builtFile('qkspace.node'), openBuilt],
    [`the package @qkspace/${platform}`, openPackaged],
  ] as const) {
    try {
      const addon = open()
      const difference = constantThatDiffers(addon.constants, CONSTANTS)
      if (difference === undefined) {
        return addon
      }
      failed.push({ place, error: new Error(`it does not belong to this version: ${difference}`) })
    } catch (error) {
      failed.push({ place, error: error as Error })
    }
  }
  const tried = failed.map(({ place, error }) => `  ${place}: ${error.message}`)
  return new QkError('ERR_ADDON_LOAD', `the native addon is not available; tried:\n${tried.join('\n')}`, {
    hint: `${fixForAddon()}; the backend 'js' works without it.`,
    cause: new AggregateError(failed.map(({ error }) => error)),
  })
}

function openBuilt(): Addon {
  try {
    const bindings = require('bindings') as (options: object) => Addon
    return bindings({ bindings: 'qkspace', module_root: root })
  } catch (error) {
    throw (error as { tries?: string[] }).tries ? new Error('not built') : error
  }
}

function openPackaged(): Addon {
  const place = packagedFile(`@qkspace/${platform}`, 'qkspace.node')
  if ('reason' in place) {
    throw new Error(place.reason)
  }
  return require(place.file) as Addon
}

/** How to get the addon, as a sentence without its full stop. */
export function fixForAddon(): string {
  if (isCheckout) {
    return "Build it with 'npm run build' (needs a C++17 compiler and CMake)"
  }
  const build = "'npx qkspace build' (needs a C++17 compiler and CMake)"
  return isPublished(PLATFORMS)
    ? `Run 'npm install @qkspace/${platform}@${version}', which an installation without optional dependencies leaves out, or ${build}`
    : `No package is published for ${platform} with this C library: run ${build}`
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
