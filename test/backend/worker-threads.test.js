/** The one deliberate test of the addon in worker threads: contract 5, threads joined with their environment. */

import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import test from 'ava'

const file = new URL('../helpers/arithmetic-busy-worker.js', import.meta.url)
const start = (forever) => new Worker(file, { workerData: { forever } })

test('several worker threads at once, some terminated in the middle of their work', async (t) => {
  const finished = Array.from({ length: 3 }, async () => (await once(start(false), 'message'))[0])
  const doomed = Array.from({ length: 3 }, () => start(true))
  await Promise.all(doomed.map((worker) => once(worker, 'message')))
  await Promise.all(doomed.map((worker) => worker.terminate()))
  const results = await Promise.all(finished)
  for (const result of results) {
    t.deepEqual(result, results[0])
  }
  t.true(results[0].cPos.every(Number.isFinite))
})

test('the process may exit while the addon computes', async (t) => {
  const script = `
    const { svd } = await import(${JSON.stringify(new URL('../../dist/spectrum/svd.js', import.meta.url))})
    svd(new Float64Array(500 * 128 * 128).fill(1).map((_, i) => Math.sin(i)), { n: 500, rows: 128, cols: 128, backend: 'cpu' })
    setTimeout(() => process.exit(7), 30)`
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  await t.throwsAsync(run, { code: 7 })
})

test('an idle addon does not keep the process alive', async (t) => {
  const script = `
    const { svd } = await import(${JSON.stringify(new URL('../../dist/spectrum/svd.js', import.meta.url))})
    const { ranks } = await svd(Float32Array.of(1, 2, 3, 4), { n: 1, rows: 2, cols: 2, backend: 'cpu' })
    console.log(ranks[0])`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  t.is(stdout.trim(), '2')
})
