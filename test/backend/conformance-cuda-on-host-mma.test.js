/** The kernels for compute capability 8.0, run on the processor; conformance-cuda-on-host.test.js has those for 9.0. */

import test from 'ava'
import { selectBackend } from '../../dist/backend/select.js'
import { conformance } from '../helpers/arithmetic-conformance.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'

const reason = noCompiler()
if (reason) {
  test.skip(`cuda on the host, 8.0: ${reason}`, () => {})
} else {
  process.env.QKSPACE_CUDA_LIBRARY = cudaOnHost()
  process.env.CUDA_ON_HOST_CAPABILITY = '8.0'
  // Larger matrices take the way of 160 x 160, which test/cuda-on-host/svd_test.cc goes.
  conformance('cuda', undefined, { largest: 128 })

  test('the device has compute capability 8.0', (t) => {
    t.is(selectBackend('cuda').describe().instructionSet, 'sm_80')
  })
}
