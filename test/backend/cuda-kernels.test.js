/** The cases that compute-sanitizer runs launch every kernel there is, by the emulator's record of launches. */

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { KERNEL_CASES } from '../helpers/arithmetic-kernel-cases.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'
import { temporaryFolder } from '../helpers/files.js'

const SCRIPT = fileURLToPath(new URL('../helpers/kernel-launches.js', import.meta.url))
/** Written by `npm run cuda:resources`: a line a kernel and architecture, with the kernel's name at its end. */
const REPORT = fileURLToPath(new URL('../../bench/results/cuda-resources.txt', import.meta.url))

const reason = noCompiler()
if (reason) {
  test.skip(`kernels on the host: ${reason}`, () => {})
} else {
  const folder = temporaryFolder(test)
  test('every kernel is launched by a case, each case launches what it is there for, and is right', async (t) => {
    const env = {
      ...process.env,
      QKSPACE_CUDA_LIBRARY: cudaOnHost(),
      CUDA_ON_HOST_LAUNCHES: path.join(folder, 'launches'),
    }
    const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT], { env })
    const found = JSON.parse(stdout)
    for (const { name, kernels, allowed } of KERNEL_CASES) {
      const { error, launched } = found[name]
      t.deepEqual(
        kernels.filter((kernel) => !launched.includes(kernel)),
        [],
        `not launched by '${name}', but ${launched.join(', ')}`,
      )
      t.true(error <= allowed, `${name} is wrong by ${error}`)
    }
    const all = [...readFileSync(REPORT, 'utf8').matchAll(/^sm_90a(?: +\d+){6} +(.+)$/gm)].map(
      ([, name]) => name,
    )
    t.true(all.length > 20)
    const launched = new Set(KERNEL_CASES.flatMap(({ name }) => found[name].launched))
    t.deepEqual(
      all.filter((kernel) => !launched.has(kernel)),
      [],
      'launched by no case of test/helpers/arithmetic-kernel-cases.js',
    )
  })
}
