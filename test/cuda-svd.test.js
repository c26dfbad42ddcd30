import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { noCompiler, svdTest } from './helpers/cuda-on-host.js'

const compiled = noCompiler() ? test.skip : test

compiled('cuda: SVD kernels, run on the host, against a plain Jacobi', async (t) => {
  const { stdout } = await promisify(execFile)(svdTest()).catch((error) => error)
  const lines = stdout.trim().split('\n')
  t.deepEqual(
    lines.filter((line) => !line.startsWith('ok ')),
    [],
  )
  t.true(lines.length > 100, 'the program ran to its end')
})
