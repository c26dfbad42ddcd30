/** SVD properties that every backend and instruction set must have, on matrices of prescribed spectrum. */

import { svd } from '../../dist/spectrum/svd.js'
import { normal, withSpectrum } from './arithmetic-random.js'

const fill = (n, value) => Array.from({ length: n }, (_, i) => value(i))

/** name -> spectrum of length k */
const SPECTRA = {
  flat: (k) => fill(k, () => 1),
  linear: (k) => fill(k, (i) => 1 - i / (2 * k)),
  'rank 1': (k) => fill(k, (i) => (i === 0 ? 3 : 0)),
  'rank deficient': (k) => fill(k, (i) => (i < k / 2 ? 1 / (i + 1) : 0)),
  clustered: (k) => fill(k, (i) => (i < k / 3 ? 1 : i < k / 2 ? 0.5 : 1e-3)),
  graded: (k) => fill(k, (i) => 10 ** ((-16 * i) / k)),
  'decaying fast': (k) => fill(k, (i) => 0.6 ** i),
  'low rank and noise': (k) => fill(k, (i) => (i < 5 ? 1 - 0.05 * i : 0.01)),
}

function residual(a, result, m, rows, cols) {
  const { u, s, v, maxRank: width } = result
  let left = 0
  let total = 0
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      let x = a[i * cols + j]
      total += x * x
      for (let c = 0; c < width; c++) {
        x -= u[(m * rows + i) * width + c] * s[m * width + c] * v[(m * cols + j) * width + c]
      }
      left += x * x
    }
  }
  return total > 0 ? Math.sqrt(left / total) : 0
}

function orthogonality(x, m, length, width, rank) {
  let worst = 0
  for (let a = 0; a < rank; a++) {
    for (let b = 0; b <= a; b++) {
      let dot = 0
      for (let i = 0; i < length; i++) {
        dot += x[(m * length + i) * width + a] * x[(m * length + i) * width + b]
      }
      worst = Math.max(worst, Math.abs(dot - +(a === b)))
    }
  }
  return Number.isNaN(worst) ? Infinity : worst
}

function signsFixed(u, m, rows, width, rank) {
  for (let c = 0; c < rank; c++) {
    let at = 0
    const x = (i) => u[(m * rows + i) * width + c]
    for (let i = 1; i < rows; i++) {
      if (Math.abs(x(i)) > Math.abs(x(at))) {
        at = i
      }
    }
    if (!(x(at) > 0)) {
      return false
    }
  }
  return true
}

const exactRank = (spectrum, energy) => {
  const total = spectrum.reduce((sum, s) => sum + s * s, 0)
  let sum = 0
  for (let r = 0; r < spectrum.length; r++) {
    sum += spectrum[r] ** 2
    if (sum >= energy * total) {
      return r + 1
    }
  }
  return spectrum.length
}

/** Singular values descend, are those expected up to the rank, and zero behind it. */
function checkValues(t, values, rank, expectedAt) {
  values.forEach((s, c) => {
    const expected = c < rank ? expectedAt(c) : 0
    t.true(Math.abs(s - expected) <= 1e-6, `s[${c}] ${s}, expected ${expected}`)
    t.true(c === 0 || s <= values[c - 1])
  })
}

/** Matrices up to `largest` x `largest`. */
export function svdSuite(test, backend, { largest = 256 } = {}) {
  /** Decomposes matrices with known spectra and checks everything that is promised. */
  async function check(t, shape, matrices, spectra, request = {}) {
    const [rows, cols] = shape
    const n = spectra.length
    const result = await svd(matrices, { n, rows, cols, backend, ...request })
    const width = result.maxRank
    t.is(result.u.length, n * rows * width)
    t.is(result.v.length, n * cols * width)
    spectra.forEach((spectrum, m) => {
      const a = matrices.subarray(m * rows * cols, (m + 1) * rows * cols)
      const rank = result.ranks[m]
      const top = spectrum[0] || 1
      const norm = Math.sqrt(spectrum.reduce((sum, s) => sum + (s / top) ** 2, 0)) || 1
      const best = Math.sqrt(spectrum.slice(rank).reduce((sum, s) => sum + (s / top) ** 2, 0)) / norm
      const scaled = Float64Array.from(a, (x) => x / top)
      const own = { ...result, s: result.s.map((s) => s / top) }
      const left = residual(scaled, own, m, rows, cols)
      t.true(left <= best + 1e-5, `residual ${left}, best ${best}`)
      t.true(left <= result.errorBound[m] + 1e-15, `residual ${left}, bound ${result.errorBound[m]}`)
      t.true(result.errorBound[m] <= best + 1e-5, `bound ${result.errorBound[m]}, best ${best}`)
      const values = own.s.subarray(m * width, (m + 1) * width)
      checkValues(t, values, rank, (c) => spectrum[c] / top)
      t.true(orthogonality(result.u, m, rows, width, rank) <= 1e-11, 'u')
      t.true(orthogonality(result.v, m, cols, width, rank) <= 1e-11, 'v')
      t.true(signsFixed(result.u, m, rows, width, rank), 'signs')
      t.is(result.converged[m], 1)
      const energy = (norm * top) ** 2
      if (energy > 1e-290 && energy < 1e290) {
        t.true(Math.abs(result.totalEnergy[m] / (spectrum[0] ? energy : 1) - +!!spectrum[0]) <= 1e-5)
      }
    })
    return result
  }

  const large = (backend === 'js' ? [64] : [64, 128, 256]).filter((side) => side <= largest)
  const shapes = [
    [1, 1],
    [2, 2],
    [3, 3],
    [16, 16],
    [5, 1],
    [1, 7],
    [12, 40],
    [70, 50],
    ...large.map((d) => [d, d]),
  ]
  for (const [rows, cols] of shapes) {
    test(`svd: ${rows} x ${cols}, every spectrum, full, by energy and by rank`, async (t) => {
      const k = Math.min(rows, cols)
      const spectra = Object.values(SPECTRA).map((make) => make(k))
      const matrices = new Float64Array(spectra.length * rows * cols)
      spectra.forEach((s, m) => {
        matrices.set(withSpectrum(rows, cols, s, m + 1), m * rows * cols)
      })
      const full = await check(t, [rows, cols], matrices, spectra)
      t.is(full.maxRank, k)
      await check(t, [rows, cols], matrices, spectra, { rank: Math.ceil(k / 5) })
      for (const energy of [0.5, 0.9, 0.9901]) {
        const cut = await check(t, [rows, cols], matrices, spectra, { energy })
        // Thresholds that fall exactly on a flat spectrum's sums are left to rounding.
        spectra.forEach((s, m) => {
          const [low, high] = [energy - 1e-12, energy + 1e-12].map((e) => exactRank(s, e))
          t.true(cut.ranks[m] === low || cut.ranks[m] === high, `rank ${cut.ranks[m]}, exact ${low}`)
        })
      }
      const capped = await check(t, [rows, cols], matrices, spectra, { energy: 0.9901, maxRank: 2 })
      spectra.forEach((s, m) => {
        t.is(capped.ranks[m], Math.min(2, exactRank(s, 0.9901)))
      })
    })
  }

  test('svd: f32, entries of 1e-30 and 1e30, subnormals, f64 extremes', async (t) => {
    /** @type {[Float32ArrayConstructor | Float64ArrayConstructor, number, number][]} */
    const cases = [
      [Float32Array, 1, 20],
      [Float32Array, 1e-30, 20],
      [Float32Array, 1e30, 64],
      [Float32Array, 1e-30, 64],
      [Float32Array, 1e-37, 20],
      [Float64Array, 1e-300, 64],
      [Float64Array, 1e300, 64],
      [Float64Array, 1e-160, 20],
    ]
    for (const [Type, scale, size] of cases) {
      const spectrum = fill(size, (i) => 0.7 ** i)
      const matrix = new Type(withSpectrum(size, size, spectrum, 3).map((x) => x * scale))
      const scaled = spectrum.map((s) => s * scale)
      for (const request of [{}, { energy: 0.99 }, { rank: 3 }]) {
        await check(t, [size, size], matrix, [scaled], request)
      }
    }
  })

  test('svd: zero matrices', async (t) => {
    const energy = await svd(new Float32Array(2 * 60 * 50), {
      n: 2,
      rows: 60,
      cols: 50,
      energy: 0.99,
      backend,
    })
    t.is(energy.maxRank, 0)
    t.deepEqual([...energy.ranks], [0, 0])
    t.deepEqual([...energy.errorBound], [0, 0])
    for (const request of [{}, { rank: 4 }]) {
      const result = await check(t, [60, 50], new Float64Array(3000), [fill(50, () => 0)], request)
      t.is(result.maxRank, request.rank ?? 50)
    }
    const none = await svd(new Float32Array(0), { n: 0, rows: 3, cols: 3, backend })
    t.is(none.maxRank, 0)
  })

  test('svd: many random matrices, ranks by energy equal those of the full spectrum', async (t) => {
    const [n, d] = backend === 'js' ? [6, 20] : [60, 64]
    const next = normal(77)
    const matrices = new Float32Array(n * d * d)
    for (let m = 0; m < n; m++) {
      const spectrum = fill(d, (i) => (0.5 + 0.008 * m) ** i + 0.001)
      matrices.set(withSpectrum(d, d, spectrum, 1000 + m), m * d * d)
    }
    for (let i = 0; i < matrices.length; i++) {
      matrices[i] += 1e-3 * next()
    }
    const full = await svd(matrices, { n, rows: d, cols: d, backend })
    for (const energy of [0.8, 0.99, 0.999]) {
      const cut = await svd(matrices, { n, rows: d, cols: d, energy, backend })
      for (let m = 0; m < n; m++) {
        t.is(cut.ranks[m], exactRank([...full.s.subarray(m * d, (m + 1) * d)], energy))
      }
    }
  })

  test('svd: same bits for any number of threads and for the same seed', async (t) => {
    const matrices = new Float64Array(5 * 64 * 64)
    for (let m = 0; m < 5; m++) {
      matrices.set(withSpectrum(64, 64, SPECTRA['low rank and noise'](64), m), m * 64 * 64)
    }
    let first
    for (const threads of [1, 2, 3, 1]) {
      const result = await svd(matrices, {
        n: 5,
        rows: 64,
        cols: 64,
        energy: 0.99,
        seed: 3,
        threads,
        backend,
      })
      first ??= result
      t.deepEqual(result, first)
    }
  })

  /** Two matrices of different rank by energy, and the arrays of the widest result, longer than need be. */
  const two = () => {
    const matrices = new Float64Array(2 * 20 * 12)
    matrices.set(withSpectrum(20, 12, SPECTRA.linear(12), 1))
    matrices.set(withSpectrum(20, 12, SPECTRA['decaying fast'](12), 2), 240)
    return { matrices, options: { n: 2, rows: 20, cols: 12, backend } }
  }
  const arrays = (make) => ({ u: make(500), s: make(30), v: make(301) })
  const makers = [
    (length) => new Float32Array(length),
    (length) => new Float64Array(length),
    (length) => new Float32Array(new SharedArrayBuffer(4 * length)),
    (length) => new Float64Array(new SharedArrayBuffer(8 * length + 64), 64, length),
  ]

  function filled(t, out, found, wanted) {
    for (const key of ['u', 's', 'v']) {
      t.is(found[key].buffer, out[key].buffer)
      t.is(found[key].byteOffset, out[key].byteOffset)
      t.deepEqual([...found[key]], [...wanted[key]], key)
      const behind = out[key].subarray(wanted[key].length)
      t.true(
        behind.every((x) => x === 7),
        'nothing behind it is written',
      )
    }
  }

  test('svd: results in f32 and in arrays of the caller', async (t) => {
    const { matrices, options } = two()
    for (const request of [{}, { rank: 3 }, { rank: 0 }, { energy: 0.9 }, { energy: 0.99, maxRank: 4 }]) {
      const wanted = await svd(matrices, { ...options, ...request })
      const rounded = await svd(matrices, { ...options, ...request, dtype: 'f32' })
      for (const key of ['u', 's', 'v']) {
        t.true(rounded[key] instanceof Float32Array)
        t.deepEqual(rounded[key], Float32Array.from(wanted[key]), key)
      }
      t.deepEqual({ ...rounded, u: 0, s: 0, v: 0 }, { ...wanted, u: 0, s: 0, v: 0 })
      for (const make of makers) {
        const out = arrays((length) => make(length).fill(7))
        const dtype = out.u instanceof Float32Array ? 'f32' : 'f64'
        const found = await svd(matrices, { ...options, ...request, dtype, out })
        filled(t, out, found, dtype === 'f32' ? rounded : wanted)
      }
    }
    const none = await svd(new Float32Array(0), { ...options, n: 0, dtype: 'f32', out: arrays(makers[0]) })
    t.deepEqual([none.maxRank, none.u.length, none.s.length, none.v.length], [0, 0, 0, 0])
  })

  test('svd: arrays that cannot be filled have their own error', async (t) => {
    const { matrices, options } = two()
    const make = makers[1]
    const refusing = (out, more = {}) =>
      svd(matrices, { ...options, out: { ...arrays(make), ...out }, ...more })
    // @ts-expect-error an unknown type on purpose
    await t.throwsAsync(svd(matrices, { ...options, dtype: 'f16' }), {
      code: 'ERR_ARGUMENT',
      message: /dtype/,
    })
    for (const out of /** @type {any[]} */ ([null, 3, [], make(3)])) {
      await t.throwsAsync(svd(matrices, { ...options, out }), { code: 'ERR_TYPE', message: /^out/ })
    }
    await t.throwsAsync(refusing({ w: make(3) }), { code: 'ERR_ARGUMENT', message: /out has no "w"/ })
    await t.throwsAsync(refusing({ v: undefined }), { code: 'ERR_TYPE', message: /out\.v/ })
    await t.throwsAsync(refusing({ s: makers[0](30) }), {
      code: 'ERR_TYPE',
      message: /out\.s must be a Float64Array/,
    })
    await t.throwsAsync(refusing({}, { dtype: 'f32' }), {
      code: 'ERR_TYPE',
      message: /out\.u must be a Float32Array/,
    })
    await t.throwsAsync(refusing({ u: make(479) }), { code: 'ERR_SHAPE', message: /out\.u has 479 .* 480 / })
    await t.throwsAsync(refusing({ u: make(479) }, { energy: 0.5 }), { code: 'ERR_SHAPE' })
    await t.notThrowsAsync(refusing({ u: make(80) }, { energy: 0.5, maxRank: 2 }))
    await t.notThrowsAsync(refusing({ u: make(80) }, { rank: 2 }))
    const buffer = new SharedArrayBuffer(8000)
    const overlapping = { u: new Float64Array(buffer, 0, 480), v: new Float64Array(buffer, 8 * 479, 288) }
    await t.throwsAsync(refusing(overlapping), { code: 'ERR_ARGUMENT', message: /out\.v overlaps out\.u/ })
    await t.throwsAsync(refusing({ u: matrices }), {
      code: 'ERR_ARGUMENT',
      message: /out\.u overlaps matrices/,
    })
    const gone = make(480)
    structuredClone(gone.buffer, { transfer: [gone.buffer] })
    await t.throwsAsync(refusing({ u: gone }), {
      code: 'ERR_SHAPE',
      message: /buffer of out\.u was detached/,
    })
    for (const request of [{}, { energy: 0.9 }]) {
      const late = make(480)
      const running = refusing({ u: late }, request)
      structuredClone(late.buffer, { transfer: [late.buffer] })
      await t.throwsAsync(running, { code: 'ERR_SHAPE', message: /out\.u.*detached/ })
    }
  })

  test('svd: bad input has its own error', async (t) => {
    const m = new Float32Array(8)
    const options = { n: 2, rows: 2, cols: 2, backend }
    // @ts-expect-error an array of numbers on purpose
    await t.throwsAsync(svd([1, 2, 3, 4], options), { code: 'ERR_TYPE' })
    await t.throwsAsync(svd(m.subarray(1), options), { code: 'ERR_SHAPE' })
    await t.throwsAsync(svd(m, { ...options, n: 2 ** 31, rows: 2 ** 11, cols: 2 ** 12 }), {
      code: 'ERR_SHAPE',
    })
    await t.throwsAsync(svd(m, { ...options, rows: 1.5 }), { code: 'ERR_SHAPE' })
    await t.throwsAsync(svd(m, { ...options, energy: 1.5 }), { code: 'ERR_ARGUMENT' })
    await t.throwsAsync(svd(m, { ...options, energy: 0.5, rank: 1 }), { code: 'ERR_ARGUMENT' })
    await t.throwsAsync(svd(m, { ...options, maxRank: 0 }), { code: 'ERR_ARGUMENT' })
    m[5] = Number.NaN
    await t.throwsAsync(svd(m, options), { code: 'ERR_NON_FINITE', message: /matrix 1/ })
    m[1] = Number.POSITIVE_INFINITY
    await t.throwsAsync(svd(m, options), { code: 'ERR_NON_FINITE', message: /matrix 0/ })
    structuredClone(m.buffer, { transfer: [m.buffer] })
    await t.throwsAsync(svd(m, options), { code: 'ERR_SHAPE', message: /buffer of matrices was detached/ })
  })

  test('svd: an abort rejects, before and during', async (t) => {
    const n = backend === 'js' ? 300 : 1500
    const next = normal(5)
    const block = Float32Array.from({ length: 64 * 64 }, next)
    const matrices = Float32Array.from({ length: n * 64 * 64 }, (_, i) => block[i % 4096])
    const options = { n, rows: 64, cols: 64, backend }
    await t.throwsAsync(svd(matrices, { ...options, signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
    await t.throwsAsync(svd(matrices, { ...options, signal: AbortSignal.timeout(20) }), {
      code: 'ERR_ABORTED',
    })
  })
}
