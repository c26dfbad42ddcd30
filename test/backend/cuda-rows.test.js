/** How rows reach the device, and what sums of a head depend on: the CUDA backend as it is written, on the processor. */

import test from 'ava'
import { selectBackend } from '../../dist/backend/select.js'
import { QKCovariance } from '../../dist/index.js'
import { tensor, terms } from '../helpers/arithmetic-batches.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'

const reason = noCompiler()
const onHost = reason ? (title) => test.skip(`${title}: ${reason}`, () => {}) : test.serial

const SPEC = { heads: 4, kvHeads: 2, headDim: 16, contrasts: ['a', 'b'] }
const ROWS = 3000
/** A device that may narrow rows, and one with too little memory for that. */
const [NARROWS, DOES_NOT] = /** @type {const} */ (['cuda:0', 'cuda:1'])
/** Bits of f16, as f32: any of them. */
const halves = new Float32Array(65536)

if (!reason) {
  process.env.QKSPACE_CUDA_LIBRARY = cudaOnHost()
  selectBackend(NARROWS)
  process.env.QKSPACE_CUDA_MEMORY = `${500 * 2 ** 20}`
  selectBackend(DOES_NOT)
  delete process.env.QKSPACE_CUDA_MEMORY
  for (let bits = 0; bits < 65536; bits++) {
    const [exponent, mantissa] = [(bits >> 10) & 31, bits & 1023]
    const size = exponent ? (1 + mantissa / 1024) * 2 ** (exponent - 15) : mantissa * 2 ** -24
    halves[bits] = (bits & 0x8000 ? -1 : 1) * (exponent === 31 ? (mantissa ? NaN : Infinity) : size)
  }
}

/** @param {(x: number, i: number) => number} change Of every number of f32 rows. */
function changed(rows, change) {
  return { ...rows, data: rows.data.map(change) }
}

const word = new Uint32Array(1)
const float = new Float32Array(word.buffer)
/** Cut off to bf16. */
function toBf16(x) {
  float[0] = x
  word[0] &= 0xffff0000
  return float[0]
}
/** The half that lies next below in magnitude, or a subnormal one. */
const toHalf = (x, i) => (i % 7 === 0 ? halves[i % 1024] : halves[Math.floor(Math.abs(x) * 10_000) % 0x7c00])

const rowsOf = () => ({ q: tensor([1, ROWS, 4, 16], { seed: 1 }), k: tensor([1, ROWS, 2, 16], { seed: 2 }) })
const list = () => terms(2000, ROWS, ROWS, { contrasts: 2, most: 2, weights: true })

async function momentsOn(backend, rows, spec = {}) {
  const cov = new QKCovariance({ ...SPEC, ...spec, backend })
  await cov.add({ ...rows, terms: list() })
  const moments = await cov.moments()
  cov.dispose()
  return moments
}

async function copiedBy(backend, rows, spec) {
  const used = /** @type {any} */ (selectBackend(backend))
  await used.timings()
  const moments = await momentsOn(backend, rows, spec)
  return { moments, bytes: (await used.timings()).copyBytes }
}

/** A number of the last query row that comes to the device. */
const LAST = reason ? 0 : list().query[1999] * 64 + 5

/**
 * How numbers are changed, and of which tensors all are exact in 16 bits.
 * @type {Record<string, { change: (x: number, i: number) => number, narrow: ('q' | 'k')[] }>}
 */
const TRAVELS = {
  'numbers of bf16': { change: toBf16, narrow: ['q', 'k'] },
  'numbers of f16, subnormal ones too': { change: toHalf, narrow: ['q', 'k'] },
  'zeros of both signs': { change: (_, i) => (i % 2 ? -0 : 0), narrow: ['q', 'k'] },
  'numbers of f32': { change: (x) => x, narrow: [] },
  'numbers of bf16, but for one of f16 in the queries': {
    change: (x, i) => (i === LAST ? 1 + 2 ** -10 : i % 64 < 32 ? 0 : Math.sign(toBf16(x))),
    narrow: ['q', 'k'],
  },
  'numbers of bf16, but for one in the queries': {
    change: (x, i) => (i === LAST ? 1 + 2 ** -20 : toBf16(x)),
    narrow: ['k'],
  },
  'numbers of f16, but for one below its range in the queries': {
    change: (x, i) => (i === LAST ? 2 ** -25 : toHalf(x, i)),
    narrow: ['k'],
  },
  'numbers of f16, but for one above its range in the queries': {
    change: (x, i) => (i === LAST ? 65536 * (1 + 1 / 512) : toHalf(x, i)),
    narrow: ['k'],
  },
}

for (const [title, { change, narrow }] of Object.entries(TRAVELS)) {
  onHost(`f32 rows of ${title} give the same bits, however they travel`, async (t) => {
    const { q, k } = rowsOf()
    // The exception is in the queries.
    const rows = { q: changed(q, change), k: changed(k, (x, i) => change(x, i === LAST ? i + 1 : i)) }
    const [here, there] = [await copiedBy(NARROWS, rows), await copiedBy(DOES_NOT, rows)]
    t.deepEqual(here.moments, there.moments)
    const { query, pos, neg } = list()
    const read = { q: 4 * new Set(query).size, k: 2 * new Set([...pos, ...neg]).size }
    t.is(
      there.bytes - here.bytes,
      narrow.reduce((sum, name) => sum + read[name] * 16 * 2, 0),
    )
  })
}

onHost('what is not finite travels as what it is', async (t) => {
  const { q, k } = rowsOf()
  for (const wrong of [Infinity, -Infinity, NaN]) {
    const rows = { q: changed(q, (x, i) => (i % 977 === 0 ? wrong : toBf16(x))), k: changed(k, toBf16) }
    const spec = { allowNonFinite: true }
    t.deepEqual(await momentsOn(NARROWS, rows, spec), await momentsOn(DOES_NOT, rows, spec))
    await t.throwsAsync(momentsOn(NARROWS, rows), {
      code: 'ERR_NON_FINITE',
      message: /q is not finite at head 0/,
    })
  }
})

/** Moments of the heads of one key head. */
const ofGroup = ({ q, k }, group) => {
  const part = (rows, first, count) => {
    const heads = rows.shape[2]
    const data = new Float32Array(ROWS * count * 16)
    for (let row = 0; row < ROWS; row++) {
      const from = (row * heads + first) * 16
      data.set(rows.data.subarray(from, from + count * 16), row * count * 16)
    }
    return { ...rows, data, shape: [1, ROWS, count, 16], strides: undefined }
  }
  return { q: part(q, 2 * group, 2), k: part(k, group, 1) }
}

function headsOf(moments, first, count) {
  const [d, heads] = [16, moments.positive.q.length / 32]
  return ['positive', 'negative'].flatMap((side) =>
    /** @type {const} */ ([
      ['q', d],
      ['k', d],
      ['qk', d * d],
    ]).flatMap(([what, size]) =>
      [0, 1].map((contrast) =>
        moments[side][what].subarray(
          (contrast * heads + first) * size,
          (contrast * heads + first + count) * size,
        ),
      ),
    ),
  )
}

onHost('a head has the same bits whatever other heads are summed beside it', async (t) => {
  const rows = rowsOf()
  const all = await momentsOn(NARROWS, rows)
  for (const group of [0, 1]) {
    const some = await momentsOn(NARROWS, ofGroup(rows, group), { heads: 2, kvHeads: 1 })
    t.deepEqual(headsOf(some, 0, 2), headsOf(all, 2 * group, 2))
  }
})

onHost(
  'heads whose products leave the range of f32 are summed in f64, and change no other head',
  async (t) => {
    const rows = rowsOf()
    const all = await momentsOn(NARROWS, rows)
    // Head 1: queries of 1e30. Key head 1: keys of 1e30, for heads 2 and 3.
    const huge = { ...rows, q: changed(rows.q, (x, i) => (Math.floor(i / 16) % 4 === 1 ? x * 1e30 : x)) }
    const found = await momentsOn(NARROWS, huge)
    for (const [first, count] of [
      [0, 1],
      [2, 2],
    ]) {
      t.deepEqual(headsOf(found, first, count), headsOf(all, first, count))
    }
    const expected = headsOf(await momentsOn('cpu', huge), 1, 1)
    headsOf(found, 1, 1).forEach((sums, i) => {
      const most = Math.max(...expected[i].map(Math.abs))
      sums.forEach((x, j) => {
        if (!(Math.abs(x - expected[i][j]) <= 1e-6 * most)) {
          t.fail(`${i} ${j}: ${x}, expected ${expected[i][j]}`)
        }
      })
    })
  },
)
