/** Square matrices of three kinds of spectrum. */

import { noise } from './data.mjs'

/**
 * low rank: rank 9 and noise with 0.5% of the energy; flat: noise alone; clustered: 32 nearly equal singular
 * values and noise with 0.5% of the energy.
 */
export function makeMatrix(d, spectrum, seed) {
  if (spectrum === 'flat') {
    return noise(d * d, seed + 1)
  }
  const rank = spectrum === 'clustered' ? 32 : 9
  const x = noise(d * rank, 2 * seed + 1)
  const y = noise(d * rank, 2 * seed + 2)
  if (spectrum === 'clustered') {
    orthonormalise(x, d, rank)
    orthonormalise(y, d, rank)
  }
  const out = new Float32Array(d * d)
  for (let i = 0; i < d; i++) {
    for (let r = 0; r < rank; r++) {
      const a = x[i * rank + r]
      for (let j = 0; j < d; j++) {
        out[i * d + j] += a * y[j * rank + r]
      }
    }
  }
  const energy = out.reduce((s, v) => s + v * v, 0)
  const amplitude = Math.sqrt((0.005 / 0.995) * (energy / (d * d)))
  const extra = noise(d * d, seed + 7_000_000)
  for (let i = 0; i < out.length; i++) {
    out[i] += amplitude * extra[i]
  }
  return out
}

/** Gram-Schmidt on the columns of [d, r]. */
function orthonormalise(a, d, r) {
  for (let c = 0; c < r; c++) {
    for (let before = 0; before < c; before++) {
      let dot = 0
      for (let i = 0; i < d; i++) {
        dot += a[i * r + c] * a[i * r + before]
      }
      for (let i = 0; i < d; i++) {
        a[i * r + c] -= dot * a[i * r + before]
      }
    }
    let norm = 0
    for (let i = 0; i < d; i++) {
      norm += a[i * r + c] ** 2
    }
    for (let i = 0; i < d; i++) {
      a[i * r + c] /= Math.sqrt(norm)
    }
  }
}
