/** Batched SVD of 128 x 128 matrices: to 99% of the energy, to a rank, and in full. */

import { svd } from '../../dist/index.js'
import { read, relativeError, save } from '../data.mjs'
import { makeMatrix } from '../matrices.mjs'

export default {
  title: 'svd: batches of square matrices',
  variants: (quick) => {
    const spectra = quick ? ['low rank'] : ['low rank', 'flat', 'clustered']
    const goals = { energy: 'to 99% of the energy', rank: 'rank 9', full: 'in full' }
    return spectra.flatMap((spectrum) => {
      const n = quick ? 64 : spectrum === 'low rank' ? 1024 : 256
      const modes = spectrum === 'low rank' ? ['energy', 'rank', 'full'] : ['energy', 'full']
      return modes.map((mode) => ({
        label: `${n} matrices of 128 x 128, ${spectrum}, ${goals[mode]}`,
        params: { n, side: 128, spectrum, mode },
      }))
    })
  },
  subjects: ({ mode, spectrum }) => {
    if (spectrum !== 'low rank') {
      return ['cpu', 'numpy-1', 'torch-1']
    }
    const peers = ['cpu', 'js', 'ml-matrix', 'numpy-1', 'numpy-2', 'torch-1', 'torch-2']
    // svd_lowrank gives neither a rank nor a bound, and no full decomposition.
    return mode === 'full' ? peers : [...peers, 'torch-lowrank-1', 'torch-lowrank-2']
  },
  work: ({ n, side }) => ({ bytes: n * side * side * 4 }),
  prepare: ({ n, side, spectrum, mode }, folder) => {
    const matrices = new Float32Array(n * side * side)
    for (let m = 0; m < n; m++) {
      matrices.set(makeMatrix(side, spectrum, m), m * side * side)
    }
    save(folder, 'matrices', matrices)
    return { n, side, mode }
  },
  load,
}

/** Matrices that are compared with the float64 reference. */
const CHECKED = 4

async function load(subject, { n, side, mode }, folder) {
  const all = read(folder, 'matrices', Float32Array)
  const want = await svd(Float64Array.from(all.subarray(0, CHECKED * side * side)), {
    n: CHECKED,
    rows: side,
    cols: side,
    backend: 'js',
    ...goal(mode),
  })
  const verify = (found) => {
    const compare = []
    for (let m = 0; m < CHECKED; m++) {
      const rank = want.ranks[m]
      if (mode === 'energy' && found.ranks[m] !== rank) {
        return Number.POSITIVE_INFINITY
      }
      const s = found.s.subarray(m * found.maxRank, m * found.maxRank + rank)
      compare.push(relativeError(s, want.s.subarray(m * want.maxRank, m * want.maxRank + rank)))
    }
    return Math.max(...compare)
  }
  if (subject === 'ml-matrix') {
    return mlMatrix(all, { n, side, mode }, verify)
  }
  // The pure-JavaScript reference takes a share of the batch; its time is scaled in proportion.
  const share = subject === 'js' ? Math.max(CHECKED, n >> 5) : n
  const part = all.subarray(0, share * side * side)
  const once = () => svd(part, { n: share, rows: side, cols: side, backend: subject, ...goal(mode) })
  return {
    tolerance: 1e-5,
    once,
    verify,
    scale: n / share,
    note: share < n ? `timed on ${share}` : undefined,
  }
}

function goal(mode) {
  return mode === 'energy' ? { energy: 0.99 } : mode === 'rank' ? { rank: 9 } : {}
}

async function mlMatrix(all, { n, side, mode }, verify) {
  const { Matrix, SVD } = await import('ml-matrix')
  const share = Math.max(CHECKED, n >> 5)
  const once = () => {
    const s = new Float64Array(share * side)
    const ranks = new Int32Array(share)
    for (let m = 0; m < share; m++) {
      const matrix = Matrix.from1DArray(side, side, all.subarray(m * side * side, (m + 1) * side * side))
      const found = new SVD(matrix, { autoTranspose: true }).diagonal
      s.set(found, m * side)
      const total = found.reduce((sum, v) => sum + v * v, 0)
      let reached = 0
      while (mode === 'energy' && reached < 0.99 * total) {
        reached += found[ranks[m]++] ** 2
      }
    }
    return { s, ranks, maxRank: side }
  }
  return { tolerance: 1e-5, once, verify, scale: n / share, note: `timed on ${share}` }
}
