/**
 * Random bits that depend only on a seed, the id of a unit and a number, and not on the order of units. Shards and
 * batches of any size therefore see the same signs, the same halves and the same samples.
 */

/** A unit's id as two words of 32 bits. */
export type UnitKey = readonly [number, number]

/** The finaliser of MurmurHash3 (Austin Appleby): every bit of the input changes about half of the output's. */
function mix(word: number): number {
  let h = word
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** Two hashes of the UTF-16 code units, FNV-1a with different starts, so that 2^32 ids hardly ever share both. */
export function unitKey(id: string): UnitKey {
  let low = 0x811c9dc5
  let high = 0x9747b28c
  for (let i = 0; i < id.length; i++) {
    const code = id.charCodeAt(i)
    low = Math.imul(low ^ code, 0x01000193)
    high = Math.imul(high ^ code, 0x01000193) + 0x7f4a7c15
  }
  return [mix(low ^ id.length), mix(high ^ low)]
}

/** 32 random bits of a unit. `stream` separates different uses of one seed. */
export function unitWord(seed: number, key: UnitKey, stream: number, index: number): number {
  let h = mix((seed >>> 0) ^ 0x9e3779b9)
  h = mix((h + Math.floor(seed / 2 ** 32)) ^ stream)
  h = mix((h + 0x9e3779b9) ^ key[0])
  h = mix((h + 0x9e3779b9) ^ key[1])
  return mix((h + 0x9e3779b9) ^ index)
}

/** Uses of random bits; each has its own stream. */
export const STREAMS = { signs: 1, halves: 2, sample: 3, labels: 4, sets: 5, oneSided: 6 } as const

/** Ascending order of keys, the same in every shard. */
export function compareKeys(a: UnitKey, b: UnitKey): number {
  return a[0] - b[0] || a[1] - b[1]
}
