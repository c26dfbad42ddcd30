/**
 * The conformance suite for one subject. The backend and its instruction set are chosen once per process, and AVA
 * gives each test file a process of its own: one small file a subject.
 */

import test from 'ava'
import { backends, selectBackend } from '../../dist/backend/select.js'
import { covarianceSuite } from './arithmetic-covariance-suite.js'
import { inputSuite } from './arithmetic-input-suite.js'
import { svdSuite } from './arithmetic-svd-suite.js'

/**
 * Where the machine lacks the instruction set, or has no GPU, one skipped test says why. QKSPACE_REQUIRE=cuda in the
 * environment makes a missing GPU a failure.
 */
export function conformance(backend, instructionSet) {
  if (instructionSet) process.env.QKSPACE_ISA = instructionSet
  const { reason } = backends().find((b) => b.name === backend)
  if (reason && backend === process.env.QKSPACE_REQUIRE) {
    test(`${backend} is required`, (t) => t.fail(reason))
    return
  }
  if (reason && (backend === 'cuda' || (instructionSet && /this processor does not have/.test(reason)))) {
    test.skip(`${[backend, instructionSet].filter(Boolean).join(', ')}: ${reason}`, () => {})
    return
  }
  test(`${backend}: is what runs here`, (t) => {
    t.is(reason, undefined)
    const description = selectBackend(backend).describe()
    t.is(description.name, backend)
    if (instructionSet) t.is(description.instructionSet, instructionSet)
  })
  covarianceSuite(test, backend)
  inputSuite(test, backend)
  svdSuite(test, backend)
}
