/** Commands on a GPU, end to end. */

import test from 'ava'
import { backends } from '../../dist/backend/select.js'
import { cliOnCuda } from '../helpers/cli-on-cuda.js'

const { reason } = backends().find(({ name }) => name === 'cuda')
if (reason && process.env.QKSPACE_REQUIRE === 'cuda') {
  test('cuda is required', (t) => t.fail(reason))
} else if (reason) {
  test.skip(`commands on cuda: ${reason}`, () => {})
} else {
  // An emulator that stands in the place of the GPU gets what it can do in a minute.
  const { device } = backends().find(({ name }) => name === 'cuda').description
  const emulated = /no GPU/.test(device.name)
  cliOnCuda(test, {
    backend: 'cuda',
    ...(emulated ? { prompts: 12, tested: 'L0H1,L2H0' } : { prompts: 200, tested: 'all' }),
  })
}
