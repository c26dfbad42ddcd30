/** The kernels of the CUDA backend as they are written, run on the processor. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { conformance } from '../helpers/arithmetic-conformance.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'
import { cli } from '../helpers/files.js'

const reason = noCompiler()
if (reason) {
  test.skip(`cuda on the host: ${reason}`, () => {})
} else {
  process.env.QKSPACE_CUDA_LIBRARY = cudaOnHost()
  // Larger matrices take the way of 160 x 160, which test/cuda-on-host/svd_test.cc goes.
  conformance('cuda', undefined, { largest: 128 })

  test('doctor names the device, its memory and versions', async (t) => {
    const { stdout } = await promisify(execFile)(process.execPath, [cli, 'doctor'])
    for (const line of [
      /^cuda +ready +sm_90/m,
      /^GPU +CUDA on the host, device 0/m,
      /^uuid +GPU-0{8}-0000-0000-0000-0{11}1$/m,
      /^memory +4\.0 GiB, 4\.0 GiB free$/m,
      /^used at most +3\.6 GiB$/m,
      /^driver +for CUDA 13\.0$/m,
      /^runtime +CUDA 13\.0$/m,
    ]) {
      t.regex(stdout, line)
    }
  })
}
