/** The boundary of the native addon in front of the CUDA backend, which runs on the processor here. */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { addon, openOptions } from '../helpers/addon-calls.js'
import { flipsBoundary } from '../helpers/boundary-flips.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'

const reason = noCompiler()
if (reason) {
  test.skip(`cuda on the host: ${reason}`, () => {})
} else {
  const library = cudaOnHost()
  const context = addon.open(openOptions({ backend: 'cuda', library }))

  test('flips: sizes are those of what was uploaded', (t) => flipsBoundary(t, context))

  test('a few hundred calls with arguments at random: refused, or harmless', (t) => {
    const script = fileURLToPath(new URL('../helpers/boundary-fuzz.js', import.meta.url))
    const args = ['--expose-gc', script, '2', '400', library]
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    t.is(signal, null)
    t.is(status, 0, stderr + stdout)
    t.true(JSON.parse(stdout).refusals > 200, stdout)
  })
}
