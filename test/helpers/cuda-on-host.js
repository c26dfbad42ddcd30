/** The CUDA backend, and programs that test parts of it, built for the host (test/cuda-on-host) and up to date. */

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const emulator = join(root, 'test', 'cuda-on-host')
const built = join(root, 'build', 'cuda-on-host')

/** Why C++ cannot be compiled here; undefined where it can. */
export function noCompiler() {
  return spawnSync('c++', ['--version']).error && 'there is no C++ compiler'
}

/** All files that anything here is built from. */
function sources() {
  const folders = [join(root, 'native', 'common'), join(root, 'native', 'cuda'), emulator]
  const inside = folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true }).map((name) => join(folder, name)),
  )
  return [join(root, 'native', 'abi.h'), ...inside]
}

/** Runs `command`, which makes `file`, unless the file is newer than all sources; throws what it wrote if it fails. */
function makeFrom(file, command, args) {
  const changed = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
  if (changed(file) > Math.max(...sources().map(changed))) {
    return
  }
  mkdirSync(dirname(file), { recursive: true })
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) {
    throw new Error(`${command} failed: ${error?.message ?? stdout + stderr}`)
  }
}

/** Path of the library, as QKSPACE_CUDA_LIBRARY takes it. Where it is used, JavaScript's thread must not wait for it. */
export function cudaOnHost() {
  process.env.CUDA_ON_HOST_MAIN_THREAD = 'free'
  const library = join(built, 'qkspace_cuda.so')
  makeFrom(library, 'sh', [join(emulator, 'build.sh'), library])
  return library
}

/** Path of the program test/cuda-on-host/NAME.cc, with the sources in native/ that it needs. */
function programOf(name, needed) {
  const program = join(built, name)
  const warnings = ['-Wall', '-Wextra', '-Werror']
  const includes = ['-I', emulator, '-I', join(root, 'native')]
  const emulated = readdirSync(emulator).filter((file) => file.endsWith('_on_host.cc'))
  makeFrom(program, 'c++', [
    '-std=c++17',
    '-O1',
    '-g',
    ...warnings,
    '-pthread',
    ...includes,
    '-x',
    'c++',
    ...[`${name}.cc`, ...emulated].map((file) => join(emulator, file)),
    ...needed.map((file) => join(root, 'native', file)),
    '-o',
    program,
  ])
  return program
}

/** Path of the program that checks index functions. */
export function indexTest() {
  return programOf('index_test', ['cuda/rows/chunks.cc', 'cuda/rows/slices.cc'])
}

/** Path of the program that compares decompositions with a plain Jacobi. */
export function svdTest() {
  return programOf('svd_test', [
    'common/pool.cc',
    'cuda/runtime/device.cc',
    'cuda/runtime/memory.cc',
    'cuda/runtime/stopwatch.cc',
    'cuda/runtime/copies/narrow.cc',
    'cuda/runtime/copies/transfer.cc',
    'cuda/runtime/copies/widen.cu',
    'cuda/svd/batch_plan.cc',
    'cuda/svd/choose_rank.cc',
    'cuda/svd/decomposition.cc',
    'cuda/svd/largest/lanczos.cu',
    'cuda/svd/svd.cu',
    'cuda/svd/workspace.cc',
  ])
}

/** Path of the program that plants faults in launches and kernels. */
export function launchTest() {
  return programOf('launch_test', [])
}
