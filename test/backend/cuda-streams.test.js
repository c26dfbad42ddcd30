/** Copies beside arithmetic: the CUDA backend on the processor, with streams that work as late or early as they may. */

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'

const SCRIPT = fileURLToPath(new URL('../helpers/cuda-digests.js', import.meta.url))
/** Rows of the first batch come in several chunks that take each other's place; those of the second stay. */
const NARROW = 6 * 2 ** 20

async function digests(schedule, memory) {
  const env = {
    ...process.env,
    QKSPACE_CUDA_LIBRARY: cudaOnHost(),
    CUDA_ON_HOST_SCHEDULE: schedule,
    ...(memory && { QKSPACE_CUDA_MEMORY: `${memory}` }),
  }
  const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT], { env })
  return JSON.parse(stdout)
}

const reason = noCompiler()
if (reason) {
  test.skip(`cuda streams: ${reason}`, () => {})
} else {
  const wanted = digests('early')
  for (const schedule of ['early', 'late', 'copies-early', 'kernels-early']) {
    test.serial(`same bits in little memory as in much: streams ${schedule}`, async (t) => {
      t.deepEqual(await digests(schedule, NARROW), await wanted)
    })
  }
}
