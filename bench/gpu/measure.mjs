/** Verifies a subject, then times it by the device's events and as a caller sees it. */

import { uploadTensor } from '../../dist/covariance/device-tensor.js'
import { statistics } from '../report.mjs'

/** A function after which no cache of the device holds what it held before. */
export function cacheFlush(backendName, mebibytes) {
  const rows = mebibytes * 2 ** 8
  const data = new Float32Array(new SharedArrayBuffer(mebibytes * 2 ** 20)).fill(1)
  const tensor = { data, shape: [1, rows, 8, 128] }
  return async () => (await uploadTensor(tensor, { backend: backendName })).release()
}

/** What the work is a second, at that many milliseconds. */
export function rates({ bytes, operations, matrices }, ms) {
  const rate = (amount) => amount && amount / (ms / 1e3)
  return {
    bytesPerSecond: rate(bytes),
    operationsPerSecond: rate(operations),
    matricesPerSecond: rate(matrices),
  }
}

/**
 * `fresh(seed)` makes inputs, `once(inputs)` is what is timed, `verify(inputs, output)` gives the error of the first,
 * untimed run, in units of which `allowed` are allowed; `release(inputs)` frees them. `work` is what one run does:
 * bytes, operations or matrices.
 */
export async function measure({ backend, repeats, flush }, work, { fresh, once, verify, allowed, release }) {
  const device = []
  const call = []
  const copies = []
  const rest = []
  let error
  for (let run = 0; run <= repeats; run++) {
    const inputs = await fresh(run + 1)
    try {
      await flush()
      await backend.timings()
      const start = process.hrtime.bigint()
      const output = await once(inputs)
      const took = Number(process.hrtime.bigint() - start) / 1e6
      const timings = await backend.timings()
      if (run === 0) {
        error = await verify(inputs, output)
        if (!(error <= allowed)) {
          throw new Error(`wrong by ${error}, allowed ${allowed}`)
        }
        continue
      }
      if (!(timings.arithmeticMs > 0)) {
        throw new Error('the backend did not say how long the device took')
      }
      device.push(timings.arithmeticMs)
      call.push(took)
      rest.push(took - timings.arithmeticMs)
      copies.push(timings.copyMs)
    } finally {
      release?.(inputs)
    }
  }
  const [deviceMs, callMs, copyMs, restMs] = [device, call, copies, rest].map(statistics)
  return {
    error,
    allowed,
    work,
    deviceMs,
    callMs,
    copyMs,
    // What the host does and waits for while the device computes nothing: planning, answers, copies not hidden.
    restMs,
    deviceRates: rates(work, deviceMs.median),
    callRates: rates(work, callMs.median),
  }
}
