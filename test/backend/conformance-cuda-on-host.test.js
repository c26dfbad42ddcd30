/** The kernels of the CUDA backend as they are written, run on the processor. */

import test from 'ava'
import { conformance } from '../helpers/arithmetic-conformance.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'

const reason = noCompiler()
if (reason) test.skip(`cuda on the host: ${reason}`, () => {})
else {
  process.env.QKSPACE_CUDA_LIBRARY = cudaOnHost()
  // Larger matrices take the way of 160 x 160, which test/cuda-on-host/svd_test.cc goes.
  conformance('cuda', undefined, { largest: 128 })
}
