/** What a device refuses, the emulator refuses too: one planted fault a test, by test/cuda-on-host/launch_test.cc. */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { launchTest, noCompiler } from '../helpers/cuda-on-host.js'

const RESOURCES = fileURLToPath(new URL('../cuda-on-host/launch_test_resources.txt', import.meta.url))
const FINE = /^no error\n$/
const SIZES = 'invalid configuration argument'

/** What launches return, with the kernels of launch_test.cc. */
const RETURNED = {
  fine: FINE,
  'no blocks': new RegExp(`^${SIZES} .*a grid of 0 x 1 x 1 blocks`),
  'wide grid': new RegExp(`^${SIZES} .*a grid of 2147483648 x 1 x 1 blocks`),
  'deep grid': new RegExp(`^${SIZES} .*a grid of 1 x 65536 x 1 blocks`),
  'deeper grid': new RegExp(`^${SIZES} .*a grid of 1 x 1 x 65536 blocks`),
  'no threads': new RegExp(`^${SIZES} .*a block of 0 x 1 x 1 threads`),
  'large block': new RegExp(`^${SIZES} .*a block of 1025 x 1 x 1 threads`),
  'large block of two dimensions': new RegExp(`^${SIZES} .*a block of 64 x 17 x 1 threads`),
  'deep block': new RegExp(`^${SIZES} .*a block of 1 x 1 x 65 threads`),
  'threads within launch bounds': FINE,
  'threads above launch bounds': /^invalid argument \(bounded: 129 threads, above __launch_bounds__ of 128\)/,
  'registers that fit': FINE,
  'registers that do not fit': /^too many resources .*\(manyRegisters: 416 threads of 168 registers\)/,
  'not in the report': /^invalid device function \(unreported: .*npm run cuda:resources/,
  'dynamic shared memory within the default': FINE,
  'dynamic shared memory above the default':
    /^invalid argument .*0 bytes of static and 49153 of dynamic shared memory/,
  'static beside dynamic shared memory, within the default': FINE,
  'static beside dynamic shared memory, above the default':
    /^invalid argument .*128 bytes of static and 49025 of dynamic shared memory, 49024 of dynamic allowed/,
  'static beside dynamic shared memory, asked for': FINE,
  'more shared memory than was asked for':
    /^invalid argument .*49153 of dynamic .*, 49152 of dynamic allowed/,
  'asking for more shared memory than there is':
    /^invalid argument .*128 bytes of static and 232321 of dynamic shared memory/,
  'copies that are aligned': FINE,
  products: /^16\nno error\n$/,
  'products without a proxy fence': /^-?nan\nno error\n$/,
  'sums that are read too early': /^-?nan\nno error\n$/,
  'mbarrier at which all arrive': FINE,
}

/** What a kernel says on its way out. */
const ENDED = {
  'more static shared memory than reported':
    /withMoreThanReported: there are 136 bytes of static shared memory, but 128 in nvcc's report/,
  'copy of 4 bytes from between': /copies: the source of an asynchronous copy of 4 bytes is not aligned/,
  'copy of 8 bytes to between': /copies: the target of an asynchronous copy of 8 bytes is not aligned/,
  'copy of 16 bytes from between': /copies: the source of an asynchronous copy of 16 bytes is not aligned/,
  'copy of 16 bytes to between': /copies: the target of an asynchronous copy of 16 bytes is not aligned/,
  'copy of 12 bytes': /copies: an asynchronous copy has an impossible size/,
  'load from between': /loads: a load of 16 bytes is not aligned/,
  'store to between': /stores: a store of 16 bytes is not aligned/,
  'ldmatrix from between': /matrices: a row for ldmatrix of 16 bytes is not aligned/,
  'operands that are written too early':
    /products<3>: shared memory was written while an asynchronous product read it/,
  'products that are not committed':
    /products<4>: a thread ended with asynchronous products that were not waited for/,
  'products that are not waited for':
    /products<5>: a thread ended with asynchronous products that were not waited for/,
  'threads of a warpgroup with other operands':
    /products<6>: threads of a warpgroup issue different products/,
  'more registers than a thread can have': /products<7>: setmaxnreg takes multiples of 8 from 24 to 256/,
  'mbarrier at which one does not arrive': /barriers: threads wait at an mbarrier where too few arrive/,
  'mbarrier that nobody initialised':
    /unpreparedBarrier: a thread arrives at an mbarrier that was not initialised/,
}

const reason = noCompiler()
if (reason) {
  test.skip(`launches on the host: ${reason}`, () => {})
} else {
  const program = launchTest()
  const run = (name, env = {}) =>
    spawnSync(program, [name], { encoding: 'utf8', env: { ...process.env, ...env } })
  const planted = { CUDA_ON_HOST_RESOURCES: RESOURCES }

  for (const [name, expected] of Object.entries(RETURNED)) {
    test(name, (t) => t.regex(run(name, planted).stdout, expected))
  }
  for (const [name, expected] of Object.entries(ENDED)) {
    test(name, (t) => {
      const { signal, stderr } = run(name, planted)
      t.is(signal, 'SIGABRT')
      t.regex(stderr, expected)
    })
  }

  test('a kernel of the backend is refused more shared memory than it asked for, and takes what it needs', (t) => {
    t.regex(
      run('pairs as the default allows').stdout,
      /^invalid argument \(pairs16OnTensorCores<64, false>: 0 bytes of static and 49280 of dynamic/,
    )
    t.regex(run('pairs as they are launched').stdout, FINE)
  })
}
