/**
 * Holds the native code to `.clang-format` and `.clang-tidy`, or formats it (`--write`). A tool that is not installed
 * is named, and what it would have checked is left out. `--require` makes that an error.
 */

import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

// Other versions of clang-format break lines elsewhere.
const FORMAT = 'clang-format-19'
const TIDY = 'clang-tidy-19'

const root = fileURLToPath(new URL('../..', import.meta.url))
const require = createRequire(import.meta.url)
const emulator = 'test/cuda-on-host'
const write = process.argv.includes('--write')
const required = process.argv.includes('--require')

const formatted = [...sourcesUnder('native'), ...sourcesUnder(emulator)]
const compiled = sourcesUnder('native').filter((file) => /\.(?:cc|cu)$/.test(file))

if (available(FORMAT, write ? 'formatted' : 'checked for its format')) {
  format()
}
if (!write && available(TIDY, 'checked for bugs')) {
  await tidy()
}

function sourcesUnder(folder) {
  return readdirSync(path.join(root, folder), { recursive: true })
    .filter((name) => /\.(?:cc|cu|h|cuh)$/.test(name))
    .map((name) => path.posix.join(folder, name.split(path.sep).join('/')))
    .sort()
}

function available(tool, what) {
  if (!spawnSync(tool, ['--version']).error) {
    return true
  }
  process.stderr.write(`${tool} was not found: native/ is not ${what} (Debian: apt-get install ${tool})\n`)
  if (required) {
    process.exit(1)
  }
  return false
}

function format() {
  const mode = write ? ['-i'] : ['--dry-run', '--Werror']
  const { status } = spawnSync(FORMAT, [...mode, ...formatted], { cwd: root, stdio: 'inherit' })
  if (status !== 0) {
    process.stderr.write('npm run format formats the native code\n')
    process.exit(1)
  }
}

/** Checks the sources that have changed since they last passed, as many at once as there are processors. */
async function tidy() {
  const stamps = path.join(root, 'build', 'lint')
  mkdirSync(stamps, { recursive: true })
  const shared = digest(
    ['.clang-tidy', 'native/cuda/.clang-tidy', 'package-lock.json', 'scripts/lint/native.mjs'].concat(
      formatted.filter((file) => /\.(?:h|cuh)$/.test(file)),
    ),
  )
  const waiting = compiled
    .map((file) => ({
      file,
      stamp: path.join(stamps, file.replaceAll('/', '-')),
      wanted: shared + digest([file]),
    }))
    .filter(({ stamp, wanted }) => !existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted)
  if (waiting.length > 0) {
    process.stderr.write(`${TIDY}: ${waiting.length} of ${compiled.length} sources\n`)
  }
  let failed = 0
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { status, output } = await run(TIDY, ['--quiet', next.file, '--', ...flagsOf(next.file)])
      if (status === 0) {
        writeFileSync(next.stamp, next.wanted)
      } else {
        failed++
        process.stderr.write(output)
      }
    }
  }
  await Promise.all(Array.from({ length: os.availableParallelism() }, work))
  if (failed > 0) {
    process.stderr.write(`${TIDY}: ${failed} sources have findings\n`)
    process.exit(1)
  }
}

/** As the addon is compiled (CMakeLists.txt); the CUDA backend as it is compiled for the host. */
function flagsOf(file) {
  const common = ['-x', 'c++', '-std=c++17', '-pthread', '-Wall', '-Wextra', '-I', 'native']
  if (file.startsWith('native/cuda/')) {
    return [...common, '-I', emulator]
  }
  const defined = [
    'NAPI_VERSION=8',
    'NODE_ADDON_API_CPP_EXCEPTIONS',
    'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
  ]
  return [
    ...common,
    ...['node-addon-api', 'node-api-headers'].flatMap((name) => [
      '-isystem',
      path.resolve(root, require(name).include_dir),
    ]),
    ...defined.map((name) => `-D${name}`),
  ]
}

function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root })
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    child.stderr.on('data', (chunk) => {
      output += chunk
    })
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, output }))
  })
}

function digest(files) {
  const hash = createHash('sha256')
  for (const file of files) {
    hash.update(file).update(readFileSync(path.join(root, file)))
  }
  return hash.digest('hex')
}
