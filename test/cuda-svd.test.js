import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SOURCES = [
  'native/cuda/svd.cu',
  'native/cuda/spectral.cu',
  'native/cuda/device.cc',
  'native/cuda/transfer.cc',
  'native/common/pool.cc',
  'test/cuda-on-host/cuda_on_host.cc',
  'test/cuda-on-host/streams_on_host.cc',
  'test/cuda-on-host/svd_test.cc',
]
const run = promisify(execFile)
const hasCompiler = spawnSync('g++', ['--version']).status === 0
const compiled = hasCompiler ? test : test.skip

compiled('cuda: SVD kernels, run on the host, against a plain Jacobi', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'qkspace-cuda-svd-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const program = path.join(folder, 'svd_test')
  const options = ['-std=c++17', '-O1', '-Wall', '-Wextra', '-Werror', '-pthread']
  const includes = ['-I', 'test/cuda-on-host', '-I', 'native', '-x', 'c++']
  await run('g++', [...options, ...includes, ...SOURCES, '-o', program], { cwd: ROOT })
  const { stdout } = await run(program).catch((error) => error)
  const lines = stdout.trim().split('\n')
  t.deepEqual(
    lines.filter((line) => !line.startsWith('ok ')),
    [],
  )
  t.true(lines.length > 100, 'the program ran to its end')
})
