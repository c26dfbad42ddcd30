/**
 * Brings a checkout up to date: installs the locked dependencies, builds the native addon, compiles
 * TypeScript. Each step is skipped while nothing that it depends on has changed.
 */

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { npmCommand } from './npm.mjs'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const at = (...parts) => path.join(root, ...parts)

const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  fail(`qkspace needs Node 20.19 or later, this is ${process.version}.`)
}

step('node_modules', 'installing dependencies', ['package.json', 'package-lock.json', '.npmrc'], [], () => {
  // No dependency needs its install script; onnxruntime-node's would download CUDA binaries.
  return [npmCommand('ci', '--ignore-scripts', '--no-audit', '--no-fund')]
})

const toolchain = [
  process.platform,
  process.arch,
  process.env.CC ?? '',
  process.env.CXX ?? '',
  process.env.QKSPACE_WERROR ?? '',
]
step(
  'build',
  'building the native addon',
  ['native', 'CMakeLists.txt', 'package-lock.json'],
  toolchain,
  () => {
    if (spawnSync('cmake', ['--version']).error) {
      fail('CMake was not found. Install it (Debian: apt-get install cmake g++) and run this again.')
    }
    return [[process.execPath, at('node_modules/cmake-js/bin/cmake-js'), 'compile', '--parallel', '2']]
  },
)

const sources = ['lib', 'tsconfig.json', 'package-lock.json', 'scripts/build-page.mjs']
step('dist', 'compiling TypeScript and the report’s page', sources, [], () => {
  rmSync(at('dist'), { recursive: true, force: true })
  return [
    [process.execPath, at('node_modules/typescript/bin/tsc'), '-p', root],
    [process.execPath, at('scripts/build-page.mjs')],
  ]
})

/** Runs commands unless their inputs are those of the last time they succeeded; the stamp lies in the output folder. */
function step(folder, what, inputs, facts, commands) {
  const stamp = at(folder, '.up-to-date')
  const wanted = digest(inputs, facts)
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) {
    return
  }
  process.stderr.write(`${what} ...\n`)
  rmSync(stamp, { force: true })
  for (const command of commands()) {
    run(command, what)
  }
  mkdirSync(at(folder), { recursive: true })
  writeFileSync(stamp, wanted)
}

function run([file, ...args], what) {
  const { status, error, stdout, stderr } = spawnSync(file, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' },
  })
  if (status === 0) {
    return
  }
  process.stderr.write(`${stdout ?? ''}${stderr ?? ''}`)
  fail(`${what} failed${error ? `: ${error.message}` : ''}`)
}

function digest(inputs, facts) {
  const hash = createHash('sha256').update(JSON.stringify([process.version, ...facts]))
  for (const input of inputs) {
    for (const file of filesUnder(at(input))) {
      hash.update(path.relative(root, file)).update(readFileSync(file))
    }
  }
  return hash.digest('hex')
}

function filesUnder(place) {
  if (!existsSync(place)) {
    return []
  }
  const entries = (() => {
    try {
      return readdirSync(place, { withFileTypes: true })
    } catch {
      return undefined
    }
  })()
  if (!entries) {
    return [place]
  }
  return entries
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) =>
      entry.isDirectory() ? filesUnder(path.join(place, entry.name)) : [path.join(place, entry.name)],
    )
}

function fail(message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}
