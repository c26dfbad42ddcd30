/** The model of cost by which 'auto' takes a GPU: pure, monotone, and what its edges are. */

import test from 'ava'
import {
  cpuSeconds,
  deviceBytes,
  edge,
  gpuPays,
  gpuSeconds,
  labelDraws,
} from '../../dist/backend/cost/cost.js'
import { MEASURED } from '../../dist/backend/cost/rates.js'

/** @import { Work } from '../../dist/backend/cost/cost.js' */

const TWO = { cores: 2 }
const sizes = { heads: 32, kvHeads: 8, headDim: 128 }

/** @type {Record<string, (size: number) => Work[]>} */
const KINDS = {
  terms: (terms) => [{ kind: 'terms', ...sizes, terms }],
  'terms in batches': (terms) => [{ kind: 'terms', ...sizes, terms, batches: Math.ceil(terms / 16) }],
  '16-bit terms': (terms) => [{ kind: 'terms', ...sizes, terms, dtype: 'bf16' }],
  'categories of 25': (terms) => [{ kind: 'terms', ...sizes, terms, keys: 25 * terms }],
  'full SVDs': (n) => [{ kind: 'svd', n, rows: 128, cols: 128, full: true }],
  'truncated SVDs': (n) => [{ kind: 'svd', n, rows: 128, cols: 96, full: false }],
  'draws of signs': (draws) => [{ kind: 'flips', ...sizes, rows: 3000, draws }],
  'draws of labels': (draws) => labelDraws(sizes, 2000, draws),
}

for (const [name, work] of Object.entries(KINDS)) {
  test(`${name}: the GPU pays from an edge on, and takes longer for more`, (t) => {
    const from = edge(work, TWO)
    if (from === undefined) {
      t.false(gpuPays(work(2 ** 30), TWO))
      return
    }
    t.true(from > 1)
    t.false(gpuPays(work(Math.floor(0.9 * from)), TWO))
    for (const times of [1.1, 2, 10, 1000]) {
      t.true(gpuPays(work(Math.ceil(times * from)), TWO), `${times}`)
    }
    let before = { cpu: 0, gpu: 0 }
    for (const size of [1, 10, 1000, 1e6, 1e9]) {
      const now = { cpu: cpuSeconds(work(size), TWO), gpu: gpuSeconds(work(size), TWO) }
      t.true(now.cpu > before.cpu && now.gpu > before.gpu)
      before = now
    }
  })
}

test('the model gives what was measured, at the sizes that were measured', (t) => {
  const near = (found, measured, part) => t.true(Math.abs(found / measured - 1) < part, `${found}`)
  near(cpuSeconds([{ kind: 'terms', heads: 1, kvHeads: 1, headDim: 128, terms: 200_000 }], TWO), 0.1093, 0.01)
  near(cpuSeconds([{ kind: 'terms', heads: 32, kvHeads: 32, headDim: 64, terms: 20_000 }], TWO), 0.0745, 0.01)
  near(cpuSeconds([{ kind: 'svd', n: 1024, rows: 128, cols: 128, full: true }], TWO), 0.752, 0.01)
  // The benchmark's call from host memory, without the start; the products are counted beside the copy.
  near(gpuSeconds([{ kind: 'terms', ...sizes, terms: 131_072 }], { cores: 2, gpuStart: 0 }), 0.1135, 0.25)
  near(
    gpuSeconds([{ kind: 'svd', n: 4096, rows: 128, cols: 128, full: true }], { cores: 2, gpuStart: 0 }),
    0.917,
    0.01,
  )
})

test('between measured dimensions the time of a term grows with the dimension', (t) => {
  const times = [4, 8, 16, 20, 32, 64, 80, 96, 128, 200, 256, 300, 512].map((headDim) =>
    cpuSeconds([{ kind: 'terms', heads: 4, kvHeads: 4, headDim, terms: 1000 }], TWO),
  )
  for (let i = 1; i < times.length; i++) {
    t.true(times[i] > times[i - 1], `${i}`)
  }
})

test('more cores raise the edge; a GPU that runs already, or is faster, lowers it', (t) => {
  for (const work of [KINDS.terms, KINDS['full SVDs']]) {
    const from = edge(work, TWO)
    t.true((edge(work, { cores: 4 }) ?? Number.POSITIVE_INFINITY) > from)
    t.true(edge(work, { cores: 2, gpuStart: 0 }) < from)
    const faster = { ...MEASURED, gpu: { ...MEASURED.gpu, start: MEASURED.gpu.start / 10 } }
    t.true(edge(work, TWO, faster) < from)
    t.true(edge(work, TWO, { ...MEASURED, margin: 1 }) < from)
  }
  t.is(edge(KINDS.terms, { cores: 10_000 }), undefined)
})

test('pieces of work add up, and the start counts once', (t) => {
  const one = KINDS.terms(1000)
  const two = [...one, ...KINDS['full SVDs'](100)]
  t.true(cpuSeconds(two, TWO) > cpuSeconds(one, TWO))
  const both = gpuSeconds(two, TWO)
  const apart = gpuSeconds(one, TWO) + gpuSeconds(KINDS['full SVDs'](100), TWO)
  t.true(Math.abs(apart - both - MEASURED.gpu.start) < 1e-9)
  t.is(deviceBytes(KINDS['draws of signs'](10)), 4 * 3000 * 40 * 128)
})
