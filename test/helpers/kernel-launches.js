/** Runs the kernel cases on the emulator; prints, as JSON, the kernels that each launched, and how wrong it was. */

import { existsSync, readFileSync, rmSync } from 'node:fs'
import { KERNEL_CASES } from './arithmetic-kernel-cases.js'

const log = process.env.CUDA_ON_HOST_LAUNCHES
const found = {}
for (const { name, compare } of KERNEL_CASES) {
  rmSync(log, { force: true })
  const error = await compare('cuda')
  const launched = existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []
  found[name] = { error, launched: [...new Set(launched)] }
}
process.stdout.write(JSON.stringify(found))
