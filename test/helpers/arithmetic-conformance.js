/**
 * The conformance suite for one subject. The instruction set is chosen once per process, and AVA gives each
 * test file a process of its own: one small file a subject.
 */

import test from 'ava'
import { backends, selectBackend } from '../../dist/backend/select.js'
import { covarianceSuite } from './arithmetic-covariance-suite.js'
import { inputSuite } from './arithmetic-input-suite.js'
import { nullSuite } from './arithmetic-null-suite.js'
import { svdSuite } from './arithmetic-svd-suite.js'

export function conformance(backend, instructionSet) {
  if (instructionSet) process.env.QKSPACE_ISA = instructionSet
  const report = backends().find((b) => b.name === backend)
  if (instructionSet && /this processor does not have/.test(report.reason ?? '')) {
    test.skip(`${backend}, ${instructionSet}: ${report.reason}`, () => {})
    return
  }
  test(`${backend}: is what runs here`, (t) => {
    t.is(report.reason, undefined)
    t.is(selectBackend(backend).describe().instructionSet, instructionSet ?? 'scalar')
  })
  covarianceSuite(test, backend)
  inputSuite(test, backend)
  svdSuite(test, backend)
  nullSuite(test, backend)
}
