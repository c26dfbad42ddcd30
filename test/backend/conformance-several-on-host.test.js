/** The conformance suite on two devices as one backend, by the emulator, which has two. */

import test from 'ava'
import { conformance } from '../helpers/arithmetic-conformance.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'

const reason = noCompiler()
if (reason) {
  test.skip(`several devices on the host: ${reason}`, () => {})
} else {
  process.env.QKSPACE_CUDA_LIBRARY = cudaOnHost()
  conformance('cuda:0,1', undefined, { largest: 64 })
}
