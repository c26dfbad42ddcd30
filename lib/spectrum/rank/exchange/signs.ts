/** The signs of units in the draws of a test, as bits. */

import { STREAMS, type UnitKey, unitWord } from '../../../math/unit-hash.js'

/**
 * Draws [from, to) of units: bit b % 32 of word floor(b / 32) of a unit is set where draw `from + b` turns its sign,
 * [units, ceil((to - from) / 32)]. Draw 0 is what was observed: no sign is turned. `from` is a multiple of 32.
 */
export function flipBits(
  seed: number,
  keys: readonly UnitKey[],
  from: number,
  to: number,
  stream: number = STREAMS.signs,
): Uint32Array {
  const words = Math.ceil((to - from) / 32)
  const bits = new Uint32Array(keys.length * words)
  keys.forEach((key, unit) => {
    for (let w = 0; w < words; w++) {
      bits[unit * words + w] = unitWord(seed, key, stream, from / 32 + w)
    }
    if (from === 0) {
      bits[unit * words] &= ~1
    }
  })
  return bits
}

/** Half of a unit, 0 or 1, the same for all heads and contrasts. */
export function halfOf(seed: number, key: UnitKey): 0 | 1 {
  return (unitWord(seed, key, STREAMS.halves, 0) & 1) as 0 | 1
}
