/** Largest singular values under sign flips that every backend must give. */

import { selectBackend } from '../../dist/backend/select.js'
import { tensor } from './arithmetic-batches.js'
import { normal, orthonormal, uniform } from './arithmetic-random.js'
import { flippedMatrix, largest, projected } from './flips-reference.js'

/** @import { Dtype } from '../../dist/math/tensor.js' */
/** @import { Layout } from './arithmetic-batches.js' */

/**
 * A problem on the host; `sizes` are numbers of rows of the units.
 * @param {{ heads?: number, kvHeads?: number, d: number, sizes: number[], draws: number, seed?: number, dtype?: Dtype,
 *   layout?: Layout }} sizes
 */
function problem({ heads = 1, kvHeads = 1, d, sizes, draws, seed = 1, dtype = 'f32', layout = 'BTHd' }) {
  const rows = sizes.reduce((sum, n) => sum + n, 0)
  const next = normal(seed)
  const bits = uniform(seed + 7)
  return {
    q: tensor([1, rows, heads, d], { seed: seed + 1, dtype, layout }),
    k: tensor([1, rows, kvHeads, d], { seed: seed + 2, dtype, mean: 0.25 }),
    heads: Int32Array.from({ length: heads }, (_, h) => h),
    coefficients: Float32Array.from({ length: rows }, next),
    units: Int32Array.from(sizes.flatMap((n, unit) => new Array(n).fill(unit))),
    unitCount: sizes.length,
    draws,
    flips: Uint32Array.from({ length: sizes.length * Math.ceil(draws / 32) }, () => bits() * 2 ** 32),
  }
}

/** What the searches of cpu and js start from. */
const STARTS = [
  (i) => {
    let x = Math.imul(i + 1, 2654435761)
    x = Math.imul(x ^ (x >>> 15), 2246822519)
    x ^= x >>> 13
    return (x & 1 ? -1 : 1) * (0.5 + (x >>> 9) / 2 ** 23)
  },
  (i) => Math.sign(Math.sin(12.9898 * (i + 1))) * (0.5 + Math.abs(Math.sin(12.9898 * (i + 1)))),
]

const ones = (count) => new Array(count).fill(1)

/** Of every head, the first `rank` of d orthonormal directions: as columns, and as the request takes them. */
function directions(heads, d, rank, seed) {
  const columns = Array.from({ length: heads }, (_, h) => orthonormal(d, rank, seed + h))
  const flat = new Float64Array(heads * d * rank)
  columns.forEach((set, h) => {
    set.forEach((column, c) => {
      column.forEach((x, i) => {
        flat[(h * d + i) * rank + c] = x
      })
    })
  })
  return { columns, flat }
}

/** The draws [from, to) of a problem. */
function drawsOf(p, from, to) {
  const words = Math.ceil(p.draws / 32)
  const here = Math.ceil((to - from) / 32)
  const flips = new Uint32Array(p.unitCount * here)
  for (let unit = 0; unit < p.unitCount; unit++) {
    for (let b = from; b < to; b++) {
      const bit = (p.flips[unit * words + (b >>> 5)] >>> (b & 31)) & 1
      flips[unit * here + ((b - from) >>> 5)] |= bit << ((b - from) & 31)
    }
  }
  return { ...p, draws: to - from, flips }
}

export function flipsSuite(test, backend) {
  const tolerance = backend.startsWith('cuda') ? 1e-3 : 1e-6
  const used = selectBackend(backend)
  /** What the backend answers, with q and k uploaded. */
  async function values(p, more = {}, signal = undefined) {
    const given = { ...p, ...more }
    const [q, k] = [given.q, given.k]
    const keyHeads = q.shape[2] % k.shape[2] === 0 ? k.shape[2] : undefined
    const uploads = [await used.upload(q, { keyHeads }), await used.upload(k)]
    const resident = (rows, handle) => ({ ...rows, data: rows.data.slice(0, 0), resident: handle })
    try {
      return await used.largestOfFlips(
        { ...given, q: resident(q, uploads[0]), k: resident(k, uploads[1]) },
        signal,
      )
    } finally {
      for (const handle of uploads) {
        used.release(handle)
      }
    }
  }
  /** Some draws of every head against the definition. */
  async function check(t, p, checked) {
    const found = await values(p)
    t.is(found.length, p.heads.length * p.draws)
    const [, , , d] = p.q.shape
    p.heads.forEach((head, h) => {
      for (const draw of checked) {
        const expected = largest(flippedMatrix(p, head, draw), d)
        const value = found[h * p.draws + draw]
        const message = `head ${head}, draw ${draw}: ${value}, expected ${expected}`
        t.true(Math.abs(value - expected) <= tolerance * expected, message)
      }
    })
    return found
  }

  test('flips: every head dimension, one unit to a thousand', async (t) => {
    /** @type {[number, number, number, number[]][]} */
    const cases = [
      [1, 1, 1, [0]],
      [1, 7, 31, [0, 30]],
      [5, 7, 32, [0, 31]],
      [16, 1, 33, [0, 32]],
      [16, 1000, 33, [1, 32]],
      [33, 100, 200, [0, 47, 199]],
      [64, 300, 33, [0, 31, 32]],
      [64, 1000, 64, [5, 63]],
      [128, 130, 31, [0, 30]],
    ]
    for (const [d, units, draws, checked] of cases) {
      await check(t, problem({ d, draws, seed: d + units, sizes: ones(units) }), checked)
    }
  })

  test('flips: units of several rows, fewer and more than the dimension', async (t) => {
    /** @type {[number, number[]][]} */
    const cases = [
      [16, [1, 2, 3, 4, 5]],
      [16, [40, 1, 17, 200]],
      [33, Array.from({ length: 60 }, (_, i) => 1 + (i % 4))],
      [8, [900]],
    ]
    for (const [d, sizes] of cases) {
      await check(t, problem({ d, sizes, draws: 40, seed: d }), [0, 1, 33, 39])
    }
  })

  test('flips: grouped heads, any of them in any order, in 16 bits and other layouts', async (t) => {
    const grouped = { heads: 4, kvHeads: 2, d: 12, sizes: ones(90), draws: 50 }
    /** @type {{ dtype?: Dtype, layout?: Layout }[]} */
    const kinds = [{}, { dtype: 'f16', layout: 'BHTd' }, { dtype: 'bf16', layout: 'BHdT' }]
    for (const more of kinds) {
      const p = problem({ ...grouped, ...more, seed: 21 })
      const all = await check(t, p, [0, 49])
      const some = await check(t, { ...p, heads: Int32Array.of(3, 0, 1) }, [7])
      t.deepEqual(
        [...some],
        [3, 0, 1].flatMap((h) => [...all.subarray(h * 50, (h + 1) * 50)]),
      )
    }
    t.is((await values(problem(grouped), { heads: new Int32Array(0) })).length, 0)
  })

  test('flips: removed directions, and values after each of the last of them', async (t) => {
    const d = 20
    const p = problem({ heads: 3, d, sizes: ones(70), draws: 35, seed: 31 })
    for (let rank = 0; rank <= 3; rank++) {
      const u = directions(3, d, rank, 41)
      const v = directions(3, d, rank, 51)
      const removed = { u: u.flat, v: v.flat, rank }
      for (let components = 1; components <= rank + 1; components++) {
        const found = await values(p, { removed, components })
        t.is(found.length, 3 * 35 * components)
        for (const head of [0, 2]) {
          for (const draw of [0, 34]) {
            for (let j = 0; j < components; j++) {
              const taken = rank - (components - 1) + j
              const [left, right] = [u, v].map(({ columns }) => columns[head].slice(0, taken))
              const expected = largest(projected(flippedMatrix(p, head, draw), d, left, right), d)
              const value = found[(head * 35 + draw) * components + j]
              t.true(Math.abs(value - expected) <= tolerance * expected, `${value}, expected ${expected}`)
            }
          }
        }
      }
    }
  })

  // Lanczos' method alone would settle on the second value.
  test('flips: the first singular vector is found where the search starts orthogonal to it', async (t) => {
    const d = 16
    for (const start of STARTS) {
      const x = Float64Array.from({ length: d }, (_, i) => start(i))
      // Three directions of queries, the first of them orthogonal to the start.
      const u = orthonormal(d, 3, 5)
      const along = (y) => y.reduce((sum, e, i) => sum + e * x[i], 0)
      const [a, b] = [along(u[0]), along(u[1])]
      const first = u[0].map((e, i) => (b * e - a * u[1][i]) / Math.hypot(a, b))
      const second = u[0].map((e, i) => (a * e + b * u[1][i]) / Math.hypot(a, b))
      const rows = (columns) => ({
        ...tensor([1, 3, 1, d]),
        data: Float32Array.from(columns.flatMap((column) => [...column])),
      })
      const p = {
        ...problem({ d, sizes: ones(3), draws: 8, seed: 57 }),
        q: rows([first, second, u[2]]),
        k: rows(orthonormal(d, 3, 6)),
        coefficients: Float32Array.of(3, 2, 1),
      }
      for (const value of await values(p)) {
        t.true(Math.abs(value - 3) <= 3 * tolerance, `${value}`)
      }
    }
  })

  test('flips: a complement gives the same bits', async (t) => {
    for (const more of [
      { d: 16, sizes: ones(400), draws: 60 },
      { d: 24, sizes: [3, 1, 9, 2, 1, 1, 4], draws: 31 },
    ]) {
      const p = problem({ ...more, seed: 61 })
      const u = directions(1, more.d, 1, 71).flat
      const options = { removed: { u, v: u, rank: 1 }, components: 2 }
      t.deepEqual(await values(p, { ...options, flips: p.flips.map((w) => ~w) }), await values(p, options))
    }
  })

  test('flips: a draw has the same bits wherever it stands, in any call, with any threads', async (t) => {
    const p = problem({ heads: 2, d: 18, sizes: ones(700), draws: 200, seed: 81 })
    const all = await values(p)
    for (const [from, to] of [
      [0, 1],
      [3, 130],
      [130, 200],
    ]) {
      const some = await values(drawsOf(p, from, to))
      for (const h of [0, 1]) {
        t.deepEqual(
          some.subarray(h * (to - from), (h + 1) * (to - from)),
          all.subarray(h * 200 + from, h * 200 + to),
        )
      }
    }
    for (const threads of [1, 2]) {
      t.deepEqual(await values(p, { threads }), all)
    }
  })

  test('flips: matrices of zeros, of rank 1, and of two equal singular values', async (t) => {
    const p = problem({ d: 24, sizes: ones(24), draws: 33, seed: 91 })
    const zeros = await values(p, { coefficients: new Float32Array(24) })
    t.deepEqual([...zeros], new Array(33).fill(0))
    await check(t, problem({ d: 24, sizes: [1], draws: 33, seed: 92 }), [0, 32])
    // Rows q_r = k_r = e_r: a diagonal matrix, with two entries of 3.
    const identity = { ...p.q, data: new Float32Array(24 * 24).map((_, i) => (i % 25 === 0 ? 1 : 0)) }
    const coefficients = new Float32Array(24).map((_, r) => (r < 2 ? 3 : 1 / (r + 1)))
    for (const value of await values(p, { q: identity, k: identity, coefficients })) {
      t.true(Math.abs(value - 3) <= 3 * tolerance, `${value}`)
    }
  })

  test('flips: magnitudes whose products leave the range of float32', async (t) => {
    const p = problem({ d: 10, sizes: ones(50), draws: 3, seed: 95 })
    const plain = await values(p)
    for (const exponent of [-100, -60, 90]) {
      const scaled = { ...p.q, data: p.q.data.map((x) => x * 2 ** exponent) }
      const far = await values(p, {
        q: scaled,
        k: { ...p.k, data: p.k.data.map((x) => x * 2 ** exponent) },
      })
      far.forEach((value, i) => {
        t.true(Math.abs(value / 2 ** (2 * exponent) - plain[i]) <= tolerance * plain[i])
      })
    }
  })

  test('flips: equal rows, whose sums round the same way each time', async (t) => {
    const p = problem({ d: 6, sizes: ones(5000), draws: 2, seed: 96 })
    const same = (rows) => ({ ...rows, data: rows.data.map((_, i) => rows.data[i % 6]) })
    const flips = p.flips.map((w) => w & ~1)
    const all = { ...p, q: same(p.q), k: same(p.k), coefficients: new Float32Array(5000).fill(0.7), flips }
    const [value] = await values(all)
    const length = (x) => Math.hypot(...x.data.subarray(0, 6))
    const expected = 5000 * Math.fround(0.7) * length(p.q) * length(p.k)
    t.true(Math.abs(value - expected) <= tolerance * expected, `${value}, expected ${expected}`)
  })

  test('flips: wrong input', async (t) => {
    const p = problem({ heads: 4, kvHeads: 2, d: 6, sizes: ones(30), draws: 40, seed: 99 })
    const narrow = tensor([1, 30, 2, 5], { seed: 1 })
    const nothing = { ...p.q, data: p.q.data.map((x, i) => (i === 29 * 24 + 7 ? Number.NaN : x)) }
    const basis = new Float64Array(4 * 6 * 2)
    for (const [more, code] of [
      [{ draws: 0 }, 'ERR_ARGUMENT'],
      [{ draws: 65536 }, 'ERR_ARGUMENT'],
      [{ draws: 65 }, 'ERR_SHAPE'],
      [{ heads: Int32Array.of(4) }, 'ERR_RANGE'],
      [{ heads: Int32Array.of(-1) }, 'ERR_RANGE'],
      [{ heads: [0] }, 'ERR_TYPE'],
      [{ coefficients: p.coefficients.with(3, Number.NaN) }, 'ERR_ARGUMENT'],
      [{ coefficients: p.coefficients.with(3, Number.POSITIVE_INFINITY) }, 'ERR_ARGUMENT'],
      [
        {
          coefficients: p.coefficients.subarray(1),
          units: p.units.subarray(0, 29),
          unitCount: 29,
          flips: p.flips.subarray(2),
        },
        'ERR_SHAPE',
      ],
      [{ units: p.units.subarray(1) }, 'ERR_SHAPE'],
      [{ units: p.units.with(0, 1) }, 'ERR_RANGE'],
      [{ units: p.units.with(0, -1) }, 'ERR_RANGE'],
      [{ units: p.units.with(9, 7) }, 'ERR_RANGE'],
      [{ units: p.units.with(9, 10) }, 'ERR_RANGE'],
      [{ units: p.units.with(29, 28) }, 'ERR_RANGE'],
      [{ unitCount: 0 }, 'ERR_ARGUMENT'],
      [{ unitCount: 31 }, 'ERR_ARGUMENT'],
      [{ unitCount: 29 }, 'ERR_SHAPE'],
      [{ flips: p.flips.subarray(1) }, 'ERR_SHAPE'],
      [{ flips: new Int32Array(60) }, 'ERR_TYPE'],
      [{ k: narrow }, 'ERR_SHAPE'],
      [{ k: tensor([1, 30, 3, 6]) }, 'ERR_SHAPE'],
      [{ k: tensor([1, 29, 2, 6]) }, 'ERR_SHAPE'],
      [{ q: nothing }, 'ERR_NON_FINITE'],
      [{ components: 2 }, 'ERR_ARGUMENT'],
      [{ components: 0 }, 'ERR_ARGUMENT'],
      [{ removed: { u: basis, v: basis, rank: 2 }, components: 4 }, 'ERR_ARGUMENT'],
      [{ removed: { u: basis, v: basis, rank: 7 } }, 'ERR_ARGUMENT'],
      [{ removed: { u: basis, v: basis, rank: -1 } }, 'ERR_ARGUMENT'],
      [{ removed: { u: basis, v: basis, rank: 1 } }, 'ERR_SHAPE'],
      [{ removed: { u: basis, v: basis.with(5, Number.NaN), rank: 2 } }, 'ERR_ARGUMENT'],
    ]) {
      await t.throwsAsync(values(p, more), { code }, JSON.stringify(more)?.slice(0, 100))
    }
    const { message } = await t.throwsAsync(values(p, { q: nothing }))
    t.regex(message, /^q is not finite at head 1, row 29/)
  })

  test('flips: can be aborted', async (t) => {
    // The emulator of a GPU takes a thousand times as long.
    const draws = backend.startsWith('cuda') ? 60 : 1000
    const p = problem({ heads: 8, kvHeads: 8, d: 24, sizes: ones(300), draws, seed: 101 })
    await t.throwsAsync(values(p, {}, AbortSignal.abort()), { code: 'ERR_ABORTED' })
    const controller = new AbortController()
    const running = values(p, {}, controller.signal)
    setImmediate(() => setImmediate(() => controller.abort()))
    await t.throwsAsync(running, { code: 'ERR_ABORTED' })
  })
}
