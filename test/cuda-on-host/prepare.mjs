/** Builds what several test files load, once, before they start side by side. */

import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'

if (!noCompiler()) {
  process.stderr.write('building the CUDA backend for the host, where it has changed\n')
  cudaOnHost()
}
