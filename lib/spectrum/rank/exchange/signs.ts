/** The signs of units in the draws of a test, as bits. */

import { cooperator } from '../../../backend/cooperate.js'
import { STREAMS, type UnitKey, unitWord } from '../../../math/unit-hash.js'

/**
 * Flips of draws [from, to), [units, ceil((to - from) / 32)]: bit b % 32 of word floor(b / 32) of a unit is set if
 * draw `from + b` flips its sign. Draw 0 is the observed one, without flips. `from` is a multiple of 32.
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
    writeWords(bits, unit * words, words, (w) => unitWord(seed, key, stream, from / 32 + w), from === 0)
  })
  return bits
}

/** Number of units after which the event loop may run. */
const UNITS_AT_ONCE = 64

/** As `flipBits`, for many units and draws; the event loop may run in between. Errors: ERR_ABORTED. */
export async function drawnFlips(
  seed: number,
  keys: readonly UnitKey[],
  [from, to]: readonly [from: number, to: number],
  stream: number = STREAMS.signs,
  signal?: AbortSignal,
): Promise<Uint32Array> {
  const words = Math.ceil((to - from) / 32)
  const bits = new Uint32Array(keys.length * words)
  const pause = cooperator(signal)
  for (const [unit, key] of keys.entries()) {
    if (unit % UNITS_AT_ONCE === 0) {
      await pause()
    }
    writeWords(bits, unit * words, words, (w) => unitWord(seed, key, stream, from / 32 + w), from === 0)
  }
  return bits
}

function writeWords(
  bits: Uint32Array,
  at: number,
  words: number,
  word: (index: number) => number,
  isFirst: boolean,
): void {
  for (let w = 0; w < words; w++) {
    bits[at + w] = word(w)
  }
  if (isFirst) {
    bits[at] &= ~1
  }
}

/** Half of a unit, 0 or 1, the same for all heads and contrasts. */
export function halfOf(seed: number, key: UnitKey): 0 | 1 {
  return (unitWord(seed, key, STREAMS.halves, 0) & 1) as 0 | 1
}
