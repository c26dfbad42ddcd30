/** The compiled package in a folder of its own, with other packages beside it, or as another version. */

import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

/**
 * Copies what the command needs, without the dependencies and the folders of `dist` that are named; gives the path of the
 * command. The packages are those of the checkout, by links.
 * @param {string} folder
 * @param {{ version?: string, packages?: string[], parts?: string[] }} [options]
 */
export function copyPackage(folder, { version, packages = [], parts = [] } = {}) {
  const at = (...names) => path.join(folder, ...names)
  mkdirSync(at('node_modules'), { recursive: true })
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  writeFileSync(at('package.json'), JSON.stringify({ ...manifest, ...(version && { version }) }))
  for (const part of ['dist', 'lib/bundled']) {
    cpSync(path.join(root, part), at(part), { recursive: true })
  }
  for (const part of parts) {
    rmSync(at('dist', part), { recursive: true })
  }
  symlinkSync(path.join(root, 'build'), at('build'))
  for (const name of readdirSync(path.join(root, 'node_modules'))) {
    if (!name.startsWith('.') && !packages.includes(name)) {
      symlinkSync(path.join(root, 'node_modules', name), at('node_modules', name))
    }
  }
  return at('dist/cli/main.js')
}
