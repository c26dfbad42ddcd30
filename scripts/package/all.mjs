/**
 * Packs everything that is published, and checks it:
 *
 *   npm run pack:all [-- --out build/packages] [--only qkspace,linux-x64] [--architectures all|checkout|90a-real]
 *
 * A platform whose compiler is not here is left out and named; `--only` makes that a failure. `packages.json` in the
 * folder says what was packed.
 */

import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { checkMain, checkPlatform, symbolVersions } from './check.mjs'
import { compile, missingTool, root } from './compile.mjs'
import { PLATFORMS } from './platforms.mjs'
import { pack, stageMain, stagePlatform } from './stage.mjs'

const { values: options } = parseArgs({
  options: {
    out: { type: 'string', default: path.join('build', 'packages') },
    only: { type: 'string' },
    architectures: { type: 'string', default: 'all' },
  },
})
const out = path.resolve(root, options.out)
const staged = path.join(out, 'staged')
const known = ['qkspace', ...PLATFORMS.map(({ name }) => name)]
const wanted = options.only?.split(',') ?? known
const unknown = wanted.filter((name) => !known.includes(name))
if (unknown.length > 0) {
  fail(`there is no package ${unknown.join(', ')}; known: ${known.join(', ')}`)
}

rmSync(staged, { recursive: true, force: true })
mkdirSync(out, { recursive: true })
const packages = []
const problems = []

if (wanted.includes('qkspace')) {
  const folder = path.join(staged, 'qkspace')
  stageMain(folder)
  const packed = pack(folder, out)
  packages.push(packed)
  problems.push(...(await checkMain(folder, packed)))
}
for (const platform of PLATFORMS.filter(({ name }) => wanted.includes(name))) {
  const missing = missingTool(platform)
  if (missing) {
    if (options.only) {
      fail(`${platform.name}: ${missing}`)
    }
    process.stderr.write(`left out ${platform.name}: ${missing}\n`)
    continue
  }
  process.stderr.write(`compiling ${platform.name} ...\n`)
  const folder = path.join(staged, platform.name)
  const library = compile(platform, path.join(out, 'libraries', platform.name), options)
  stagePlatform(platform, library, folder)
  const packed = { ...pack(folder, out), symbols: symbolVersions(library, platform.tools) }
  packages.push(packed)
  problems.push(...(await checkPlatform(folder, packed, platform)))
}

writeFileSync(path.join(out, 'packages.json'), `${JSON.stringify(packages, undefined, 1)}\n`)
for (const { archive, bytes, unpackedBytes, symbols } of packages) {
  const floor = symbols ? `, glibc ${symbols.GLIBC}` : ''
  process.stdout.write(
    `${path.relative(root, archive)}: ${megabytes(bytes)}, ${megabytes(unpackedBytes)} unpacked${floor}\n`,
  )
}
if (problems.length > 0) {
  fail(problems.join('\n'))
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

function fail(message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}
