/**
 * Publishes what `npm run pack:all` packed, the packages a platform first: `qkspace` names them.
 *
 *   npm run publish:all [-- --from build/packages] [--dry-run]
 *
 * A version that is published already is passed over, so that a release that broke off can be run again.
 */

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { npmCommand } from '../npm.mjs'
import { root } from './compile.mjs'
import { PLATFORMS } from './platforms.mjs'

const { values: options } = parseArgs({
  options: {
    from: { type: 'string', default: path.join('build', 'packages') },
    'dry-run': { type: 'boolean', default: false },
  },
})
const from = path.resolve(root, options.from)
const packed = JSON.parse(readFileSync(path.join(from, 'packages.json'), 'utf8'))
const names = [...PLATFORMS.map(({ name }) => `@qkspace/${name}`), 'qkspace']
const absent = names.filter((name) => !packed.some((one) => one.name === name))
if (absent.length > 0) {
  fail(`not packed: ${absent.join(', ')}`)
}
const versions = new Set(packed.map(({ version }) => version))
if (versions.size > 1) {
  fail(`packed in several versions: ${[...versions].join(', ')}`)
}

for (const name of names) {
  const { version, archive } = packed.find((one) => one.name === name)
  if (npm(['view', `${name}@${version}`, 'version'], 'pipe').stdout.trim() === version) {
    process.stdout.write(`${name}@${version} is published already\n`)
    continue
  }
  const flags = options['dry-run'] ? ['--dry-run'] : []
  const { status } = npm(
    ['publish', path.join(from, path.basename(archive)), '--access', 'public', ...flags],
    'inherit',
  )
  if (status !== 0) {
    fail(`${name}@${version} was not published`)
  }
}

function npm(args, stdio) {
  const [command, ...given] = npmCommand(...args)
  return spawnSync(command, given, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', stdio, stdio],
  })
}

function fail(message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}
