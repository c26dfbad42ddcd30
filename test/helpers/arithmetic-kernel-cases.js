/**
 * Small cases that launch every kernel of native/cuda, each compared with the processor: what compute-sanitizer runs, for
 * which the whole suite takes too long. A case names the kernels that it is there for.
 */

import { selectBackend } from '../../dist/backend/select.js'
import { QKCovariance } from '../../dist/covariance/qk-covariance.js'
import { svd } from '../../dist/spectrum/svd.js'
import { sequence, tensor, terms } from './arithmetic-batches.js'
import { normal } from './arithmetic-random.js'

/** @typedef {'cpu' | 'cuda' | `cuda:${string}`} Name */
/** @typedef {{ name: string, kernels: string[], compare: (backend: Name) => Promise<number>, allowed: number }} KernelCase */

/** Largest difference, relative to the largest value. */
function difference(found, expected) {
  const most = expected.reduce((largest, x) => Math.max(largest, Math.abs(x)), 0)
  return found.reduce((worst, x, i) => {
    const error = Math.abs(x - expected[i]) / most
    return error <= worst ? worst : error
  }, 0)
}

async function covariances(backend, spec, batch) {
  const covariance = new QKCovariance({ contrasts: ['a', 'b'], ...spec, backend })
  try {
    await covariance.add(batch)
    const { cPos, cNeg } = await covariance.read()
    return Float64Array.from([...cPos, ...cNeg])
  } finally {
    covariance.dispose()
  }
}

/** @returns {KernelCase} */
function covarianceCase(name, kernels, spec, batch) {
  return {
    name,
    kernels,
    allowed: 1e-5,
    compare: async (backend) =>
      difference(await covariances(backend, spec, batch()), await covariances('cpu', spec, batch())),
  }
}

const rows = (d, dtype, scale = 1) => {
  const [q, k] = [tensor([1, 150, 2, d], { seed: 1, dtype }), tensor([1, 150, 1, d], { seed: 2, dtype })]
  if (scale !== 1) {
    q.data.forEach((x, i) => {
      q.data[i] = x * scale
    })
  }
  return { q, k }
}
const heads = (headDim) => ({ heads: 2, kvHeads: 1, headDim })
const sets = (counterfactual = false) =>
  terms(140, 150, 150, { contrasts: 2, most: 3, weights: true, keyWeights: true, counterfactual })
const offsets = Int32Array.from({ length: 141 }, (_, i) => i)
const pairs = (counterfactual) => ({
  contrast: offsets.subarray(0, 140).map((i) => i % 2),
  query: offsets.subarray(0, 140),
  ...(counterfactual && { queryNeg: offsets.subarray(0, 140).map((i) => i + 5) }),
  posOffsets: offsets,
  pos: offsets.subarray(0, 140).map((i) => (7 * i) % 150),
  negOffsets: offsets,
  neg: offsets.subarray(0, 140).map((i) => (11 * i + 3) % 150),
})
const labels = () => [sequence(150, { seed: 3 })]

/** `rank` directions and some noise, unless there is but one. */
function matrix(m, n, rank, Type) {
  const next = normal(m + n)
  const [left, right] = [m, n].map((side) => Float64Array.from({ length: side * rank }, next))
  return Type.from({ length: m * n }, (_, i) => {
    const [row, column] = [Math.floor(i / n), i % n]
    let sum = rank > 1 ? 1e-3 * next() : 0
    for (let c = 0; c < rank; c++) {
      sum += left[row * rank + c] * right[column * rank + c]
    }
    return sum
  })
}

/** @returns {KernelCase} */
function svdCase(name, kernels, [m, n, rank], Type, options = {}) {
  const values = async (backend) =>
    (await svd(matrix(m, n, rank, Type), { n: 1, rows: m, cols: n, ...options, backend })).s
  return {
    name,
    kernels,
    allowed: 1e-5,
    compare: async (backend) => difference(await values(backend), await values('cpu')),
  }
}

async function largest(name, d, rank) {
  const backend = selectBackend(name)
  const [q, k] = [tensor([1, 40, 2, d], { seed: 4 }), tensor([1, 40, 1, d], { seed: 5 })]
  const uploads = [await backend.upload(/** @type {any} */ (q)), await backend.upload(/** @type {any} */ (k))]
  const resident = (rows, handle) => ({ ...rows, data: rows.data.slice(0, 0), resident: handle })
  const axis = Float64Array.from({ length: 2 * d * rank }, (_, i) => (i % (d * rank) === 0 ? 1 : 0))
  try {
    return await backend.largestOfFlips({
      q: resident(q, uploads[0]),
      k: resident(k, uploads[1]),
      heads: Int32Array.of(0, 1),
      coefficients: new Float32Array(40).fill(0.5),
      units: Int32Array.from({ length: 40 }, (_, i) => i),
      unitCount: 40,
      flips: Uint32Array.from({ length: 40 }, (_, i) => i * 2654435761),
      draws: 3,
      ...(rank > 0 && { removed: { u: axis, v: axis, rank } }),
    })
  } finally {
    for (const handle of uploads) {
      backend.release(handle)
    }
  }
}

/** @returns {KernelCase} */
const flipsCase = (name, kernels, d, rank) => ({
  name,
  kernels,
  allowed: 1e-3,
  compare: async (backend) => difference(await largest(backend, d, rank), await largest('cpu', d, rank)),
})

/**
 * Kernels that the device does not choose by itself: a context of its own, which reads the variable when it is opened.
 * Not to run beside others.
 * @param {'plain' | 'mma'} wanted
 * @param {string} device Index or UUID, one for each `wanted`, since an open context is used again.
 * @returns {(kernelCase: KernelCase) => KernelCase}
 */
const withKernels =
  (wanted, device) =>
  ({ compare, name, ...kernelCase }) => ({
    ...kernelCase,
    name: `${name}, by ${wanted} kernels`,
    compare: async () => {
      process.env.QKSPACE_CUDA_KERNELS = wanted
      try {
        const { uuid } = selectBackend('cuda').describe().device
        return await compare(`cuda:${device === 'UUID' ? uuid : device}`)
      } finally {
        delete process.env.QKSPACE_CUDA_KERNELS
      }
    },
  })
const plainly = withKernels('plain', '0')
/** Those of compute capability 8.0, on a device that has faster ones. */
const byMma = withKernels('mma', 'UUID')

const WIDE = ['addPartialKernel', 'findNonFiniteKernel', 'addSumsKernel']
/** Products that leave the range of float32. */
const HUGE = 3e37

/** Numbers that bf16 holds, in f32: they travel as bf16. */
function exactRows(d) {
  const { q, k } = rows(d)
  const bits = new Uint32Array(q.data.buffer, q.data.byteOffset, q.data.length)
  bits.forEach((x, i) => {
    bits[i] = x & 0xffff0000
  })
  return { q, k }
}

/** Number of a type of queries in the names of kernels. */
const CODES = { f32: 0, f16: 1, bf16: 2 }
const SIDES = [64, 128]

const pairCases = SIDES.flatMap((d) =>
  [false, true].flatMap((counterfactual) => {
    const what = `d = ${d}, ${counterfactual ? 'two queries' : 'one query'} a pair`
    return [
      .../** @type {const} */ (['f16', 'bf16']).map((dtype) =>
        covarianceCase(
          `pairs of ${dtype}, ${what}`,
          [`pairs16OnHopper<${d}, ${dtype === 'bf16'}, ${!counterfactual}>`],
          heads(d),
          () => ({ ...rows(d, dtype), terms: pairs(counterfactual) }),
        ),
      ),
      .../** @type {const} */ (['f32', 'f16', 'bf16']).map((dtype) =>
        covarianceCase(
          `sets of keys of ${dtype}, ${what}`,
          [`pairs32OnHopper<${d}, ${CODES[dtype]}, ${!counterfactual}>`, 'keySetsKernel'],
          heads(d),
          () => ({ ...rows(d, dtype), terms: sets(counterfactual) }),
        ),
      ),
    ]
  }),
)

const mmaCases = SIDES.flatMap((d) =>
  [
    .../** @type {const} */ (['f16', 'bf16']).map((dtype) =>
      covarianceCase(
        `pairs of ${dtype}, d = ${d}`,
        [`pairs16OnTensorCores<${d}, ${dtype === 'bf16'}>`],
        heads(d),
        () => ({ ...rows(d, dtype), terms: pairs(true) }),
      ),
    ),
    covarianceCase(`sets of keys, d = ${d}`, [`pairs32OnTensorCores<${d}>`], heads(d), () => ({
      ...rows(d),
      terms: sets(true),
    })),
    flipsCase(`null values, d = ${d}`, [`nullsOnTensorCores<${d}>`], d, 1),
  ].map(byMma),
)

/** @type {KernelCase[]} */
export const KERNEL_CASES = [
  ...pairCases,
  ...mmaCases,
  covarianceCase('rows that travel in 16 bits', ['widenKernel', ...WIDE], heads(64), () => ({
    ...exactRows(64),
    terms: pairs(),
  })),
  covarianceCase('sets of keys in f64', ['termsExactly', 'magnitudesKernel'], heads(8), () => ({
    ...rows(8, 'f32', HUGE),
    terms: sets(),
  })),
  covarianceCase('labels', ['labelledKeysKernel'], heads(72), () => ({ ...rows(72), labels: labels() })),
  covarianceCase('labels in f64', ['labelsExactly'], heads(8), () => ({
    ...rows(8, 'f32', HUGE),
    labels: labels(),
  })),
  ...[
    { name: 'f32', kind: 'float', Type: Float32Array },
    { name: 'f64', kind: 'double', Type: Float64Array },
  ].flatMap(({ name, kind, Type }) => [
    ...[
      [24, 0],
      [64, 64],
      [128, 128],
    ].map(([side, variant]) =>
      svdCase(
        `a matrix of ${side} x ${side} in ${name}, in full`,
        [
          `prepareKernel<${kind}>`,
          `singleKernel<${kind}, ${variant}>`,
          `polishKernel<${kind}>`,
          `wideKernel<${kind}, ${variant}>`,
          'finishKernel<double>',
        ],
        [side, side, 9],
        Type,
      ),
    ),
    svdCase(`a matrix of 136 x 130 in ${name}, in full`, [`refineKernel<${kind}>`], [136, 130, 1], Type),
    svdCase(`a matrix of 260 x 258 in ${name}, in full`, [`blockPairKernel<${kind}>`], [260, 258, 1], Type),
    svdCase(`a matrix of 24 x 24 in ${name}, in full, in f32`, ['finishKernel<float>'], [24, 24, 9], Type, {
      dtype: 'f32',
    }),
    svdCase(
      `a matrix of 128 x 128 in ${name}, to a part of its energy`,
      [`panelKernel<${kind}>`],
      [128, 128, 3],
      Type,
      { energy: 0.99 },
    ),
  ]),
  flipsCase(
    'null values, d = 64',
    ['nullsOnHopper<64>', 'halfRowsKernel', 'signsKernel', 'spectralKernel'],
    64,
    0,
  ),
  flipsCase('null values without a direction, d = 128', ['nullsOnHopper<128>'], 128, 1),
  plainly(flipsCase('null values', ['nullsExactly'], 16, 0)),
  {
    name: 'rows on the device that are not finite are found',
    kernels: ['findRowKernel'],
    allowed: 0,
    compare: async (backend) => {
      const { q, k } = rows(16)
      q.data[3 * 32] = Number.NaN
      const used = selectBackend(backend)
      const handle = await used.upload(/** @type {any} */ (q))
      const covariance = used.covariance({
        ...heads(16),
        contrasts: 2,
        estimator: 'per-query',
        allowNonFinite: false,
        threads: 0,
      })
      const list = pairs()
      const batch = {
        q: { ...q, data: q.data.slice(0, 0), resident: handle },
        k,
        terms: { ...list, queryNeg: list.query },
      }
      try {
        return await covariance.add(/** @type {any} */ (batch)).then(
          () => 1,
          (error) => (error.message === 'q is not finite at head 0, row 3' ? 0 : 1),
        )
      } finally {
        covariance.dispose()
        used.release(handle)
      }
    },
  },
]
