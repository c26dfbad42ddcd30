/** Index functions that the CUDA kernels and their host share, by test/cuda-on-host/index_test.cc. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { indexTest, noCompiler } from '../helpers/cuda-on-host.js'

const CHECKS = {
  tiles: 'tiles of output cover every element of both sides once',
  blocks: 'blocks of sums lie one behind the other',
  pieces: 'the swizzle is a permutation, and neither copies nor ldmatrix meet a bank twice',
  range: 'what the safe range lets through cannot leave the range of f32',
  'slice-lengths': 'slices are whole chunks, short enough, and many enough',
  'slices-of-terms': 'slices of explicit terms cover them once, in order, contrast by contrast',
  'slices-of-runs': 'slices of label runs cover them once, in order',
  chunks: 'chunks have every term once, in order, within their limits, and every row that they read',
}

const reason = noCompiler()
if (reason) {
  test.skip(`indices of the CUDA backend: ${reason}`, () => {})
} else {
  const program = indexTest()
  for (const [check, title] of Object.entries(CHECKS)) {
    test(title, (t) => t.notThrowsAsync(promisify(execFile)(program, [check])))
  }
}
