/** The sources of the addon compile without a warning, with every compiler that is supported and here. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { temporaryFolder } from '../helpers/files.js'
import { root, runProgram } from '../helpers/packages.js'

const COMPILERS = ['g++-11', 'g++-12', 'clang++-14', 'clang++-19']
const folder = temporaryFolder(test)

for (const compiler of COMPILERS) {
  const absent = ['cmake', compiler].find((tool) => spawnSync(tool, ['--version']).error)
  const compilerTest = absent ? test.serial.skip : test.serial
  const title = `${compiler} compiles the addon, warnings being errors`
  compilerTest(absent ? `${title} (needs ${absent})` : title, async (t) => {
    t.timeout(600_000)
    const binaries = mkdtempSync(path.join(folder, 'build-'))
    const flags = [
      '-DCMAKE_BUILD_TYPE=Release',
      '-DQKSPACE_CUDA=OFF',
      `-DCMAKE_CXX_COMPILER=${compiler}`,
      '-DCMAKE_CXX_FLAGS=-Werror',
    ]
    const configured = await runProgram('cmake', ['-S', root, '-B', binaries, ...flags])
    t.is(configured.status, 0, configured.stderr)
    const { status, stdout, stderr } = await runProgram('cmake', ['--build', binaries, '--parallel', '2'])
    t.is(status, 0, `${stdout}${stderr}`)
    t.notRegex(stderr, /warning:/)
  })
}
