/** A worker thread that loads the addon: computes once, or keeps it busy until it is terminated. */

import { parentPort, workerData } from 'node:worker_threads'
import { QKCovariance } from '../../dist/covariance/qk-covariance.js'
import { svd } from '../../dist/spectrum/svd.js'
import { tensor, terms } from './arithmetic-batches.js'

const matrices = Float32Array.from({ length: 40 * 96 * 96 }, (_, i) => Math.sin(i * i))

async function once() {
  const cov = new QKCovariance({ heads: 4, headDim: 32, contrasts: ['a'], backend: 'cpu' })
  const q = tensor([1, 200, 4, 32], { seed: 1 })
  const k = tensor([1, 200, 4, 32], { seed: 2 })
  await cov.add({ q, k, terms: terms(3000, 200, 200, { most: 8 }) })
  const { s } = await svd(matrices, { n: 40, rows: 96, cols: 96, energy: 0.9, backend: 'cpu' })
  const { cPos } = await cov.read()
  return { cPos, s }
}

if (workerData.forever) {
  for (let i = 0; ; i++) {
    // Several at a time, so that some are queued and one runs whenever the end comes.
    await Promise.all([once(), once(), once()])
    if (i === 0) {
      parentPort.postMessage('busy')
    }
  }
} else {
  parentPort.postMessage(await once())
}
