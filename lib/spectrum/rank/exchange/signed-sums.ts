/**
 * Sums of one number per unit with the signs of many draws. Eight units have 256 patterns of signs, whose sums form a
 * table. A draw adds one entry of each table instead of one number per unit (the method of four Russians).
 */

import { cooperator } from '../../../backend/cooperate.js'
import { compareKeys, STREAMS, type UnitKey } from '../../../math/unit-hash.js'
import { drawnFlips } from './signs.js'

/** Number of units per table. */
const TOGETHER = 8
/** Most sets of signs that are cached: two halves, in two stages. */
const KEPT = 4

/** The signs of each draw, one byte for every eight units. */
export interface GroupedSigns {
  draws: number
  /** [groups, draws]: bit i is set if the draw flips the sign of unit 8 g + i. */
  patterns: Uint8Array
}

/** From bits as `drawnFlips` gives them, [units, ceil(draws / 32)]. */
export async function groupedSigns(
  bits: Uint32Array,
  units: number,
  draws: number,
  signal?: AbortSignal,
): Promise<GroupedSigns> {
  const words = Math.ceil(draws / 32)
  const patterns = new Uint8Array(Math.ceil(units / TOGETHER) * draws)
  const pause = cooperator(signal)
  for (let first = 0; first < units; first += TOGETHER) {
    const at = (first / TOGETHER) * draws
    const word = (unit: number, w: number) => (unit < units ? bits[unit * words + w] : 0)
    for (let w = 0; w < words; w++) {
      const end = Math.min(draws - 32 * w, 32)
      const [a, b, c, d] = [word(first, w), word(first + 1, w), word(first + 2, w), word(first + 3, w)]
      const [e, f, g, h] = [word(first + 4, w), word(first + 5, w), word(first + 6, w), word(first + 7, w)]
      for (let bit = 0; bit < end; bit++) {
        patterns[at + 32 * w + bit] =
          ((a >>> bit) & 1) |
          (((b >>> bit) & 1) << 1) |
          (((c >>> bit) & 1) << 2) |
          (((d >>> bit) & 1) << 3) |
          (((e >>> bit) & 1) << 4) |
          (((f >>> bit) & 1) << 5) |
          (((g >>> bit) & 1) << 6) |
          (((h >>> bit) & 1) << 7)
      }
    }
    await pause()
  }
  return { draws, patterns }
}

/** The signs of one-sided tests, which the heads of all layers share on the same units. */
export class OneSidedSigns {
  readonly #known: { units: readonly UnitKey[]; signs: GroupedSigns }[] = []

  constructor(private readonly seed: number) {}

  async of(units: readonly UnitKey[], draws: number, signal?: AbortSignal): Promise<GroupedSigns> {
    const same = (other: readonly UnitKey[]) => {
      return other.length === units.length && other.every((key, i) => compareKeys(key, units[i]) === 0)
    }
    const known = this.#known.find((entry) => entry.signs.draws === draws && same(entry.units))
    if (known) {
      return known.signs
    }
    const bits = await drawnFlips(this.seed, units, [0, draws], STREAMS.oneSided, signal)
    const signs = await groupedSigns(bits, units.length, draws, signal)
    this.#known.push({ units, signs })
    if (this.#known.length > KEPT) {
      this.#known.shift()
    }
    return signs
  }
}

/** sum_u (+-) values[u] of every draw, [draws]. */
export async function signedSums(
  values: Float64Array,
  { draws, patterns }: GroupedSigns,
  signal?: AbortSignal,
): Promise<Float64Array> {
  const out = new Float64Array(draws)
  const table = new Float64Array(2 ** TOGETHER)
  const pause = cooperator(signal)
  for (let first = 0; first < values.length; first += TOGETHER) {
    const group = values.subarray(first, first + TOGETHER)
    table[0] = group.reduce((sum, x) => sum + x, 0)
    for (let pattern = 1; pattern < 2 ** group.length; pattern++) {
      // Without its lowest bit, the pattern is a smaller number whose sum is already known.
      const lowest = 31 - Math.clz32(pattern & -pattern)
      table[pattern] = table[pattern & (pattern - 1)] - 2 * group[lowest]
    }
    const at = (first / TOGETHER) * draws
    for (let draw = 0; draw < draws; draw++) {
      out[draw] += table[patterns[at + draw]]
    }
    await pause()
  }
  return out
}
