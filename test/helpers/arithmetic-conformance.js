/**
 * The conformance suite for one subject. The backend and its instruction set are chosen once per process, and AVA
 * gives each test file a process of its own: one small file a subject.
 */

import test from 'ava'
import { backends, selectBackend } from '../../dist/backend/select.js'
import { uploadTensor } from '../../dist/covariance/device-tensor.js'
import { QKCovariance } from '../../dist/covariance/qk-covariance.js'
import { terms } from './arithmetic-batches.js'
import { covarianceSuite } from './arithmetic-covariance-suite.js'
import { flipsSuite } from './arithmetic-flips-suite.js'
import { inputSuite } from './arithmetic-input-suite.js'
import { svdSuite } from './arithmetic-svd-suite.js'

/**
 * Where the machine lacks the instruction set, or has no GPU, one skipped test says why. QKSPACE_REQUIRE=cuda in the
 * environment makes a missing GPU a failure.
 */
export function conformance(backend, instructionSet, sizes) {
  // Of a device, or several: cuda:0,1.
  const name = backend.split(':')[0]
  if (instructionSet) {
    process.env.QKSPACE_ISA = instructionSet
  }
  const { reason } = backends().find((b) => b.name === name)
  if (reason && name === process.env.QKSPACE_REQUIRE) {
    test(`${backend} is required`, (t) => t.fail(reason))
    return
  }
  if (reason && (name === 'cuda' || (instructionSet && /this processor does not have/.test(reason)))) {
    test.skip(`${[backend, instructionSet].filter(Boolean).join(', ')}: ${reason}`, () => {})
    return
  }
  test(`${backend}: is what runs here`, (t) => {
    t.is(reason, undefined)
    const description = selectBackend(backend).describe()
    t.is(description.name, name)
    t.is(description.choice, backend)
    if (instructionSet) {
      t.is(description.instructionSet, instructionSet)
    }
  })
  if (backend !== 'js') {
    timingsTest(backend)
  }
  covarianceSuite(test, backend)
  inputSuite(test, backend)
  svdSuite(test, backend, sizes)
  flipsSuite(test, backend)
}

/** Serial: no other test may use the backend between two readings. */
function timingsTest(backend) {
  test.serial(`${backend}: says what the device did since it was last asked`, async (t) => {
    const nothing = { arithmeticMs: 0, copyMs: 0, copyBytes: 0 }
    const used = /** @type {import('../../dist/backend/native.js').NativeBackend} */ (selectBackend(backend))
    await used.timings()
    // Of numbers that need all of f32: others travel in fewer bytes.
    const tensor = { data: new Float32Array(4 * 8).fill(0.1), shape: [1, 4, 1, 8] }
    const rows = await uploadTensor(tensor, { backend })
    const onDevice = backend.startsWith('cuda')
    t.is((await used.timings()).copyBytes, onDevice ? tensor.data.byteLength : 0)
    const covariance = new QKCovariance({ heads: 1, headDim: 8, contrasts: ['c'], backend })
    await covariance.add({ q: rows, k: rows, terms: { ...terms(5, 4, 4), contrast: 'c' } })
    t.is((await used.timings()).arithmeticMs > 0, onDevice)
    t.deepEqual(await used.timings(), nothing)
    rows.release()
  })
}
