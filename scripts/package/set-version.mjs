/**
 * Gives all packages, the lockfile and the citation a version:
 *
 *   npm run set-version -- 0.2.0
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { root } from './compile.mjs'

const version = process.argv[2]
if (!/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version ?? '')) {
  process.stderr.write(`'${version ?? ''}' is no version, as in 0.2.0\n`)
  process.exit(2)
}

const manifests = [
  'package.json',
  ...readdirSync(path.join(root, 'npm')).map((name) => `npm/${name}/package.json`),
]
for (const file of manifests) {
  edit(file, (text) => replaceVersion(JSON.parse(text)))
}
edit('package-lock.json', (text) => {
  const lock = JSON.parse(text)
  lock.packages[''].version = version
  return replaceVersion(lock)
})
edit('CITATION.cff', (text) => text.replace(/^version: .*$/m, `version: ${version}`))

function replaceVersion(manifest) {
  return `${JSON.stringify({ ...manifest, version }, undefined, 2)}\n`
}

function edit(file, change) {
  const place = path.join(root, file)
  writeFileSync(place, change(readFileSync(place, 'utf8')))
}
