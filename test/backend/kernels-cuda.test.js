/** Every kernel of the CUDA backend once, in small cases: what compute-sanitizer runs (scripts/gpu/test.mjs). */

import test from 'ava'
import { backends } from '../../dist/backend/select.js'
import { KERNEL_CASES } from '../helpers/arithmetic-kernel-cases.js'

const { reason } = backends().find(({ name }) => name === 'cuda')
if (reason && process.env.QKSPACE_REQUIRE === 'cuda') {
  test('cuda is required', (t) => t.fail(reason))
} else if (reason) {
  test.skip(`kernels of cuda: ${reason}`, () => {})
} else {
  for (const { name, kernels, compare, allowed } of KERNEL_CASES) {
    test.serial(`${name} (${kernels.join(', ')})`, async (t) => {
      const error = await compare('cuda')
      t.true(error <= allowed, `wrong by ${error}, allowed ${allowed}`)
    })
  }
}
