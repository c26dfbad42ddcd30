/**
 * Where native code may lie: in a local build (of a checkout, or by `qkspace build`), or in the package for this
 * platform. Every file found is checked to belong to this version.
 */

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)

/** The folder that contains dist/: of the package, or of the checkout. */
export const root = fileURLToPath(new URL('../../../', import.meta.url))

/** Whether this is a checkout. Only a checkout has the TypeScript sources and its own build. */
export const isCheckout = existsSync(path.join(root, 'scripts', 'prepare.mjs'))

export const version: string = require('../../../package.json').version

/** Platforms for which a package with the addon is published; Linux with glibc. */
export const PLATFORMS = ['linux-x64', 'linux-arm64']
/** Platforms for which a package with the CUDA backend is published. */
export const CUDA_PLATFORMS = ['linux-x64']

/** A file of the local build. */
export const builtFile = (name: string) => path.join(root, 'build', 'Release', name)

export const platform = `${process.platform}-${process.arch}`

/** Whether a package is published for this platform. Packages for Linux need glibc. */
export function isPublished(platforms: readonly string[]): boolean {
  return platforms.includes(platform) && !(process.platform === 'linux' && isMusl())
}

function isMusl(): boolean {
  // Node 20's types lack `excludeNetwork`. Listing network interfaces takes seconds on some machines, and is not
  // needed here.
  const report = process.report as typeof process.report & { excludeNetwork: boolean }
  report.excludeNetwork = true
  const { header } = report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime === undefined
}

/** A file that exists, or the reason why there is none. */
export type Place = { file: string } | { reason: string }

/** A file of an installed package of this version. */
export function packagedFile(name: string, file: string): Place {
  let manifest: string
  try {
    manifest = require.resolve(`${name}/package.json`)
  } catch {
    return { reason: 'not installed' }
  }
  const found = (require(manifest) as { version: string }).version
  if (found !== version) {
    return { reason: `version ${found} in ${path.dirname(manifest)}, expected ${version}` }
  }
  const place = path.join(path.dirname(manifest), file)
  return existsSync(place) ? { file: place } : { reason: `${place} is not there` }
}
