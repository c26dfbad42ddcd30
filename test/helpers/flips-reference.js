/** Matrices under sign flips straight from their definition, in float64; shares no code with the package. */

import { entry } from './arithmetic-reference.js'

/** D_b of a head, [d, d]. */
export function flippedMatrix({ q, k, coefficients, units, flips, draws }, head, draw) {
  const [, rows, heads, d] = q.shape
  const keyHead = Math.floor(head / (heads / k.shape[2]))
  const words = Math.ceil(draws / 32)
  const out = new Float64Array(d * d)
  for (let r = 0; r < rows; r++) {
    const turned = (flips[units[r] * words + Math.floor(draw / 32)] >>> (draw % 32)) & 1
    const keys = Array.from({ length: d }, (_, j) => entry(k, r, keyHead, j))
    for (let i = 0; i < d; i++) {
      const x = (turned ? -1 : 1) * coefficients[r] * entry(q, r, head, i)
      for (let j = 0; j < d; j++) {
        out[i * d + j] += x * keys[j]
      }
    }
  }
  return out
}

/** (I - U U^T) A (I - V V^T) with columns u[c] and v[c]. */
export function projected(a, d, u, v) {
  const out = a.slice()
  u.forEach((x, c) => {
    for (let j = 0; j < d; j++) {
      let along = 0
      for (let i = 0; i < d; i++) {
        along += x[i] * out[i * d + j]
      }
      for (let i = 0; i < d; i++) {
        out[i * d + j] -= along * x[i]
      }
    }
    for (let i = 0; i < d; i++) {
      let along = 0
      for (let j = 0; j < d; j++) {
        along += v[c][j] * out[i * d + j]
      }
      for (let j = 0; j < d; j++) {
        out[i * d + j] -= along * v[c][j]
      }
    }
  })
  return out
}

/** A^T B of [d, d]. */
function transposedProduct(a, b, d) {
  const out = new Float64Array(d * d)
  for (let c = 0; c < d; c++) {
    for (let i = 0; i < d; i++) {
      for (let j = 0; j < d; j++) {
        out[i * d + j] += a[c * d + i] * b[c * d + j]
      }
    }
  }
  return out
}

/** The largest singular value of A [d, d], by squaring A^T A until one direction is left. */
export function largest(a, d) {
  const gram = transposedProduct(a, a, d)
  let power = gram
  for (let step = 0; step < 24; step++) {
    const norm = Math.sqrt(power.reduce((sum, x) => sum + x * x, 0))
    if (norm === 0) {
      return 0
    }
    // Symmetric, so that its square is its transpose times itself.
    const unit = power.map((x) => x / norm)
    power = transposedProduct(unit, unit, d)
  }
  // Now a multiple of v v^T: v^T G v / v^T v = trace(P G) / trace(P).
  let above = 0
  let below = 0
  for (let i = 0; i < d; i++) {
    below += power[i * d + i]
    for (let j = 0; j < d; j++) {
      above += power[i * d + j] * gram[j * d + i]
    }
  }
  return Math.sqrt(above / below)
}
