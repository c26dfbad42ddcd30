/** Commands on the CUDA backend, end to end, by the emulator: on one device and on two. */

import test from 'ava'
import { cliOnCuda } from '../helpers/cli-on-cuda.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'

const reason = noCompiler()
if (reason) {
  test.skip(`commands on the host: ${reason}`, () => {})
} else {
  process.env.QKSPACE_CUDA_LIBRARY = cudaOnHost()
  cliOnCuda(test, { backend: 'cuda:0,1', prompts: 12, tested: 'L0H1,L2H0' })
}
