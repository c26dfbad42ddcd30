/** The CUDA backend built for the host (test/cuda-on-host), brought up to date. */

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const emulator = join(root, 'test', 'cuda-on-host')
const sources = ['native', 'native/common', 'native/cuda', 'test/cuda-on-host'].map((folder) =>
  join(root, folder),
)

/** Why C++ cannot be compiled here; undefined where it can. */
export function noCompiler() {
  return spawnSync('c++', ['--version']).error && 'there is no C++ compiler'
}

/** Runs `command`, which makes `file`, unless the file is newer than all sources; throws what it wrote if it fails. */
function makeFrom(file, command, args) {
  const changed = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
  const newest = Math.max(
    ...sources.flatMap((folder) => readdirSync(folder).map((name) => changed(join(folder, name)))),
  )
  if (changed(file) > newest) return
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} failed: ${error?.message ?? stdout + stderr}`)
}

/** Path of the library, as QKSPACE_CUDA_LIBRARY takes it. */
export function cudaOnHost() {
  const library = join(root, 'build', 'cuda-on-host', 'qkspace_cuda.so')
  makeFrom(library, 'sh', [join(emulator, 'build.sh'), library])
  return library
}

/** Path of the program that checks index functions. */
export function indexTest() {
  const program = join(root, 'build', 'cuda-on-host', 'index_test')
  mkdirSync(dirname(program), { recursive: true })
  makeFrom(program, 'c++', [
    ...[
      '-std=c++17',
      '-O1',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-pthread',
      '-I',
      emulator,
      '-I',
      join(root, 'native'),
    ],
    ...[
      join(emulator, 'index_test.cc'),
      join(emulator, 'cuda_on_host.cc'),
      join(emulator, 'streams_on_host.cc'),
      join(root, 'native/cuda/chunks.cc'),
      join(root, 'native/cuda/slices.cc'),
    ],
    ...['-o', program],
  ])
  return program
}
