/**
 * The conformance suite, the calls of the raw addon and the worker tests with the addon under sanitizers: addresses and
 * undefined behaviour first, then threads. `node scripts/test-sanitize.mjs [address|thread]`.
 *
 * Node itself is not built with a sanitizer: its runtime library is loaded before everything else. Linux and GCC only.
 */

import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const suppressions = path.join(root, 'test', 'backend', 'sanitizers')

const SANITIZERS = {
  address: {
    flags: 'address,undefined',
    runtimes: ['libasan.so', 'libubsan.so'],
    env: {
      // Node ends without freeing what lasts as long as the process; a suppression would match any function in the
      // stack, and below all that the addon does there is Node. Reports are read instead (ownLeaks).
      LSAN_OPTIONS: 'exitcode=0',
      // What is too large is refused, as without a sanitizer: the tests ask for it.
      ASAN_OPTIONS:
        'log_path=sanitizer:allocator_may_return_null=1:abort_on_error=1:detect_stack_use_after_return=1',
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1:abort_on_error=1',
    },
  },
  thread: {
    flags: 'thread',
    runtimes: ['libtsan.so'],
    env: {
      // Node's own locks are not seen: only what the addon does counts.
      TSAN_OPTIONS: `log_path=sanitizer:allocator_may_return_null=1:ignore_noninstrumented_modules=1:abort_on_error=1:suppressions=${path.join(suppressions, 'threads.txt')}`,
    },
  },
}

/** What runs: everything that reaches the addon without onnxruntime or a tokenizer, which are not ours to check. */
const TESTS = ['conformance-baseline', 'conformance-avx2', 'conformance-avx512', 'boundary', 'worker-threads']

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(SANITIZERS)
const unknown = names.find((name) => !(name in SANITIZERS))
if (unknown) {
  fail(`there is no sanitizer ${unknown}; there are ${Object.keys(SANITIZERS).join(', ')}`)
}
const absent = ['cmake', 'g++'].find((tool) => spawnSync(tool, ['--version']).error)
if (process.platform !== 'linux' || absent) {
  fail(`the sanitizers need Linux, CMake and GCC${absent ? `: ${absent} was not found` : ''}`)
}
for (const name of names) {
  const { flags, runtimes, env } = SANITIZERS[name]
  process.stderr.write(`sanitizers ${flags}: building the addon\n`)
  const checkout = stage(name, build(name, flags))
  process.stderr.write(`sanitizers ${flags}: ${TESTS.join(', ')}\n`)
  const preloaded = runtimes.map(runtimeFile).join(' ')
  const [command, ...args] = withoutRandomAddresses([
    process.execPath,
    path.join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs'),
    '--timeout=20m',
    ...TESTS.map((test) => `test/backend/${test}.test.js`),
  ])
  const { status, signal } = spawnSync(command, args, {
    cwd: checkout,
    stdio: 'inherit',
    env: { ...process.env, ...env, LD_PRELOAD: preloaded },
  })
  const reports = reportsIn(checkout)
  process.stderr.write(reports.map((report) => `${report}\n`).join(''))
  if (status !== 0) {
    fail(`sanitizers ${flags}: the tests ended with ${signal ?? `status ${status}`}`)
  }
  if (reports.length > 0) {
    fail(`sanitizers ${flags}: ${reports.length} reports`)
  }
}

/** The addon, built with the sanitizers. */
function build(name, flags) {
  const folder = path.join(root, 'build', 'sanitize', name)
  const options = [
    ['CMAKE_BUILD_TYPE', 'Release'],
    ['CMAKE_CXX_COMPILER', 'g++'],
    ['QKSPACE_CUDA', 'OFF'],
    ['QKSPACE_SANITIZE', flags],
  ].map(([option, value]) => `-D${option}=${value}`)
  run('cmake', ['-S', root, '-B', folder, ...options])
  run('cmake', ['--build', folder, '--parallel', '2'])
  return path.join(folder, 'qkspace.node')
}

/** A copy of what was compiled and of the tests, in which this addon is the one that was built. */
function stage(name, addon) {
  const folder = path.join(root, 'build', 'sanitize', `${name}-checkout`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(path.join(folder, 'build', 'Release'), { recursive: true })
  cpSync(addon, path.join(folder, 'build', 'Release', 'qkspace.node'))
  for (const part of ['package.json', 'ava.config.js', 'dist', 'test/backend', 'test/helpers']) {
    cpSync(path.join(root, part), path.join(folder, part), { recursive: true })
  }
  symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'))
  return folder
}

/** What the sanitizers found: reports, of leaks those of memory that the addon took. */
function reportsIn(folder) {
  return readdirSync(folder)
    .filter((name) => name.startsWith('sanitizer.'))
    .map((name) => readFileSync(path.join(folder, name), 'utf8'))
    .map(withoutRefusals)
    .filter((text) => text.trim() !== '')
    .flatMap((text) => (text.includes('LeakSanitizer') ? ownLeaks(text) : [text]))
}

/** The sanitizer tells of every allocation that failed; tests ask for what no machine has, and see that it is refused. */
function withoutRefusals(text) {
  return text.replace(/^==\d+==WARNING: \w+Sanitizer failed to allocate .*\n?/gm, '')
}

/**
 * The first function of a stack that is not the sanitizer's own says who took the memory. The addon is an unknown module
 * where a worker thread has unloaded it.
 */
function ownLeaks(text) {
  return text.split(/\n\n/).filter((block) => {
    if (!/^(?:Direct|Indirect) leak/.test(block)) {
      return false
    }
    const taker = block
      .split('\n')
      .find((line) => /^ +#\d/.test(line) && !/libsanitizer|_interceptor_/.test(line))
    return /qkspace\.node|<unknown module>/.test(taker ?? '')
  })
}

function runtimeFile(library) {
  const { stdout } = spawnSync('g++', [`-print-file-name=${library}`], { encoding: 'utf8' })
  const file = stdout.trim()
  if (!existsSync(file)) {
    fail(`${library} was not found; it comes with GCC`)
  }
  return file
}

/** The thread sanitizer of GCC 12 needs addresses where it expects them. */
function withoutRandomAddresses(command) {
  const works = spawnSync('setarch', ['-R', 'true']).status === 0
  return works ? ['setarch', '-R', ...command] : command
}

function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8' })
  if (status !== 0) {
    fail(`${stdout}${stderr}`)
  }
}

function fail(message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}
