/** Where no package brings the addon: the line that says so, every attempt with its reason, and `qkspace build`. */

import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { temporaryFolder } from '../helpers/files.js'
import { bareEnvironment, packPackages, root, runProgram } from '../helpers/packages.js'

const folder = temporaryFolder(test)
const modules = path.join(folder, 'app', 'node_modules')
const installed = path.join(modules, 'qkspace')
const hasCompiler = ['cmake', 'c++'].every((tool) => !spawnSync(tool, ['--version']).error)
const compilerTest = hasCompiler
  ? test.serial
  : (title, run) => test.serial.skip(`${title} (needs CMake and a C++ compiler)`, run)

const readJson = (place) => JSON.parse(readFileSync(path.join(place, 'package.json'), 'utf8'))

/** The dependencies of the package, and theirs: what builds a checkout is not there. */
function linkDependencies({ dependencies = {} }) {
  for (const name of Object.keys(dependencies)) {
    const place = path.join(root, 'node_modules', name)
    const link = path.join(modules, name)
    // One that lies inside of the package that needs it comes with it.
    if (existsSync(link) || !existsSync(place)) {
      continue
    }
    mkdirSync(path.dirname(link), { recursive: true })
    symlinkSync(place, link)
    linkDependencies(readJson(place))
  }
}

test.before(async (t) => {
  t.timeout(300_000)
  const packed = (await packPackages(folder, ['qkspace'])).get('qkspace')
  mkdirSync(modules, { recursive: true })
  cpSync(path.join(packed.staged, 'qkspace'), installed, { recursive: true })
  linkDependencies(readJson(installed))
})

const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('QKSPACE_'))
const env = Object.fromEntries(kept)
const qkspace = (args, more = {}) =>
  runProgram(process.execPath, [path.join(installed, 'dist', 'cli', 'main.js'), ...args], {
    cwd: path.join(folder, 'app'),
    env: { ...env, ...more },
  })
const script = (code, more = {}) =>
  runProgram(process.execPath, ['--input-type=module', '-e', code], {
    cwd: path.join(folder, 'app'),
    env: { ...env, ...more },
  })

const SVD_TWICE = `
import { svd } from 'qkspace/arrays'
for (const seed of [0, 1]) {
  const { s } = await svd(Float64Array.of(0, 2, 1, 0), { n: 1, rows: 2, cols: 2, seed })
  console.log([...s].join())
}`

test.serial("'auto' computes in JavaScript, and one line says so, with the ratio and the fix", async (t) => {
  const { stdout, stderr, status } = await script(SVD_TWICE)
  t.is(status, 0)
  t.is(stdout, '2,1\n2,1\n')
  t.is(stderr.trimEnd().split('\n').length, 1, stderr)
  t.regex(stderr, /JavaScript computes, some 100 times as long/)
  t.regex(stderr, /npx qkspace build/)
})

test.serial('whoever asks for JavaScript is told nothing', async (t) => {
  const { stdout, stderr } = await script(SVD_TWICE, { QKSPACE_BACKEND: 'js' })
  t.is(stdout, '2,1\n2,1\n')
  t.is(stderr, '')
})

test.serial('a backend that is asked for and absent lists every attempt with its reason', async (t) => {
  const { stderr, status } = await script(`
    import { svd } from 'qkspace/arrays'
    try { await svd(new Float64Array(4), { n: 1, rows: 2, cols: 2, backend: 'cpu' }) } catch (error) {
      console.error(error.code, error.message, error.hint)
    }`)
  t.is(status, 0)
  t.regex(stderr, /^ERR_ADDON_LOAD/)
  t.regex(stderr, /build\/Release\/qkspace\.node: not built/)
  t.regex(stderr, /@qkspace\/[a-z]+-[a-z0-9]+: not installed/)
  t.regex(stderr, /npx qkspace build/)
})

const platform = `${process.platform}-${process.arch}`
function installAddon(version, file) {
  const place = path.join(modules, '@qkspace', platform)
  rmSync(place, { recursive: true, force: true })
  mkdirSync(place, { recursive: true })
  writeFileSync(path.join(place, 'package.json'), JSON.stringify({ name: `@qkspace/${platform}`, version }))
  if (file) {
    cpSync(file, path.join(place, 'qkspace.node'))
  }
  return place
}

test.serial(
  'a package of another version, without its file, or with a damaged one is refused by its reason',
  async (t) => {
    const { version } = JSON.parse(readFileSync(path.join(installed, 'package.json'), 'utf8'))
    const reason = async () => {
      const { stdout } = await qkspace(['doctor', '--json'])
      return JSON.parse(stdout).backends.find(({ name }) => name === 'cpu').reason
    }
    installAddon('9.9.9', path.join(root, 'build', 'Release', 'qkspace.node'))
    t.regex(await reason(), new RegExp(`version 9\\.9\\.9 in .*, expected ${version.replaceAll('.', '\\.')}`))
    installAddon(version)
    t.regex(await reason(), /qkspace\.node is not there/)
    installAddon(version, path.join(installed, 'LICENSE'))
    t.regex(await reason(), /@qkspace\/.*: .*(invalid ELF header|not a mach-o|not a valid Win32)/)
    rmSync(path.join(modules, '@qkspace'), { recursive: true })
  },
)

test.serial('qkspace build without CMake says what to install', async (t) => {
  const bare = path.join(folder, 'bare')
  mkdirSync(bare)
  const { status, stderr } = await qkspace(['build'], { PATH: bareEnvironment(bare).PATH })
  t.is(status, 1)
  t.regex(stderr, /CMake was not found/)
  t.regex(stderr, /apt-get install cmake g\+\+/)
})

compilerTest('qkspace build names what the compiler said when it fails', async (t) => {
  t.timeout(300_000)
  const file = path.join(installed, 'native', 'abi.h')
  const text = readFileSync(file, 'utf8')
  writeFileSync(file, `#error planted\n${text}`)
  t.teardown(() => writeFileSync(file, text))
  const { status, stderr } = await qkspace(['build', '--jobs', '2'])
  t.is(status, 1)
  t.regex(stderr, /#error planted/)
  t.regex(stderr, /--verbose/)
})

compilerTest(
  'qkspace build compiles with no dependency but CMake and a compiler, and the addon is used',
  async (t) => {
    t.timeout(600_000)
    const { status, stdout, stderr } = await qkspace(['build', '--jobs', '2', '--json'])
    t.is(status, 0, stderr)
    const { folder: built, backends } = JSON.parse(stdout)
    t.is(built, path.join(installed, 'build', 'Release'))
    t.true(backends.find(({ name }) => name === 'cpu').available)
    const used = await script(`
    import { backends, svd } from 'qkspace/arrays'
    const { s } = await svd(Float64Array.of(0, 2, 1, 0), { n: 1, rows: 2, cols: 2 })
    console.log(backends()[0].available, [...s].join())`)
    t.is(used.stdout, 'true 2,1\n')
    t.is(used.stderr, '')
  },
)

const unprivileged = process.getuid?.() === 0 ? test.serial.skip : test.serial
unprivileged('qkspace build in a folder of somebody else (needs a user who is not root)', async (t) => {
  renameSync(path.join(installed, 'build'), path.join(folder, 'build-before'))
  chmodSync(installed, 0o500)
  t.teardown(() => chmodSync(installed, 0o700))
  const { status, stderr } = await qkspace(['build'])
  t.is(status, 1)
  t.regex(stderr, /cannot be written to/)
})
