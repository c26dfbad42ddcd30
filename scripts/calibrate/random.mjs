/**
 * Random numbers for simulated data: xoshiro128** (Blackman and Vigna), seeded by the package's own generator. A full
 * calibration draws more numbers than that generator has states (2^32), so its streams would repeat.
 */

import { seededRandom } from '../../dist/math/random.js'

export function simulationRandom(seed) {
  const source = seededRandom(seed)
  const word = () => (source.next() * 2 ** 32) >>> 0
  let [a, b, c, d] = [word(), word(), word(), word() | 1]
  let spare = Number.NaN
  const bits = () => {
    const by5 = Math.imul(b, 5)
    const out = Math.imul((by5 << 7) | (by5 >>> 25), 9)
    const shifted = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = (d << 11) | (d >>> 21)
    return out >>> 0
  }
  const next = () => bits() / 2 ** 32
  /** Standard normal, by Box and Muller's method. */
  const normal = () => {
    if (!Number.isNaN(spare)) {
      const value = spare
      spare = Number.NaN
      return value
    }
    const radius = Math.sqrt(-2 * Math.log((bits() + 0.5) / 2 ** 32))
    const angle = 2 * Math.PI * next()
    spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }
  return {
    next,
    normal,
    below: (n) => Math.floor(next() * n),
    /** Student's t with three degrees of freedom. */
    t3: () => normal() / Math.sqrt((normal() ** 2 + normal() ** 2 + normal() ** 2) / 3),
    exponential: () => -Math.log((bits() + 0.5) / 2 ** 32),
  }
}

/** A seed that differs between cells and between the calls of one: 32-bit FNV-1a of a text. */
export function seedOf(text) {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  }
  return hash >>> 0
}
