/** Finds prompts without a group that have a common beginning, such as one text with different questions. */

import { seededRandom } from '../../math/random.js'

/** The beginning of one prompt. */
export interface Beginning {
  /** Token ids or UTF-16 units. */
  sequence: Int32Array
  /** Index of the first positive key; Infinity if there is none. */
  firstPositive: number
  where: string
}

export interface SharedMaterial {
  /** Number of prompts that were compared. */
  compared: number
  /** Number of prompts that share their beginning with another prompt. */
  sharing: number
  /** Number of different beginnings among those. */
  beginnings: number
  /**
   * Share of the contrast's prompts that are not separate units: `sharing - beginnings` over the prompts, scaled up if
   * prompts are sampled.
   */
  excess: number
  /** `excess` when the tokens after the common beginning are shuffled among prompts, position by position. */
  chance: number
  /** Number of positions at the beginning of all prompts, which are not counted. */
  template: number
  where: string[]
}

const SHUFFLES = 3

/**
 * Compares prompts by their sorted beginnings. Two prompts share material if they are equal over at least half of the
 * shorter one. The common beginning of all prompts is not counted, unless most positive keys lie in it: then it is
 * material, not a template.
 */
export function sharedMaterial(
  prompts: readonly Beginning[],
  total: number,
  template: number,
  seed: number,
): SharedMaterial | undefined {
  if (prompts.length < 2) {
    return undefined
  }
  const inTemplate = prompts.filter(({ firstPositive }) => firstPositive < template).length
  const skipped = 2 * inTemplate > prompts.length ? 0 : template
  const sequences = prompts.map(({ sequence }) => sequence.subarray(skipped))
  const excessOf = (extra: number) => Math.min(1, (extra * total) / prompts.length ** 2)
  const { links, sharing, example } = link(sequences)
  const random = seededRandom(seed)
  let chance = 0
  if (links > 0) {
    // Shuffling leaves the common beginning of all prompts in place, so it is no coincidence.
    const varying = prompts.map(({ sequence }) => sequence.subarray(template))
    for (let i = 0; i < SHUFFLES; i++) {
      chance += excessOf(link(shuffled(varying, random.below)).links) / SHUFFLES
    }
  }
  return {
    compared: prompts.length,
    sharing,
    beginnings: sharing - links,
    excess: excessOf(links),
    chance,
    template: skipped,
    where: example.map((i) => prompts[i].where),
  }
}

/** Length of the common beginning of two sequences. */
export function commonLength(a: Int32Array, b: Int32Array): number {
  const most = Math.min(a.length, b.length)
  let i = 0
  while (i < most && a[i] === b[i]) {
    i += 1
  }
  return i
}

function link(sequences: readonly Int32Array[]): { links: number; sharing: number; example: number[] } {
  const order = sequences.map((_, i) => i).sort((a, b) => compare(sequences[a], sequences[b]))
  const sharing = new Set<number>()
  let links = 0
  let example: number[] = []
  for (let i = 1; i < order.length; i++) {
    const [a, b] = [order[i - 1], order[i]]
    const shorter = Math.min(sequences[a].length, sequences[b].length)
    if (shorter > 0 && 2 * commonLength(sequences[a], sequences[b]) >= shorter) {
      links += 1
      sharing.add(a).add(b)
      example = example.length > 0 ? example : [a, b]
    }
  }
  return { links, sharing: sharing.size, example }
}

function compare(a: Int32Array, b: Int32Array): number {
  const at = commonLength(a, b)
  if (at < Math.min(a.length, b.length)) {
    return a[at] - b[at]
  }
  return a.length - b.length
}

/** The sequences with the tokens of every position shuffled among those that are long enough. */
function shuffled(sequences: readonly Int32Array[], below: (n: number) => number): Int32Array[] {
  const made = sequences.map((sequence) => sequence.slice())
  let left = made
  for (let at = 0; left.length > 1; at++) {
    left = left.filter(({ length }) => length > at)
    for (let i = left.length - 1; i > 0; i--) {
      const j = below(i + 1)
      const moved = left[i][at]
      left[i][at] = left[j][at]
      left[j][at] = moved
    }
  }
  return made
}
