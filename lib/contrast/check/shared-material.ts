/** Prompts without a group that begin alike: the same text with different questions. */

import { seededRandom } from '../../math/random.js'

/** The beginning of one prompt. */
export interface Beginning {
  /** Token ids or UTF-16 units. */
  sequence: Int32Array
  /** The first positive key; Infinity where there is none. */
  firstPositive: number
  where: string
}

export interface SharedMaterial {
  /** Prompts that were compared. */
  compared: number
  /** Prompts that begin as another one does. */
  sharing: number
  /** Different beginnings among those. */
  beginnings: number
  /**
   * Share of the contrast's prompts that are no units of their own: `sharing - beginnings` over the prompts,
   * scaled up where prompts are sampled.
   */
  excess: number
  /** The same when the tokens after the common beginning are shuffled among prompts, place by place. */
  chance: number
  /** Positions that all prompts begin with, which count for nothing. */
  template: number
  where: string[]
}

const SHUFFLES = 3

/**
 * Compares prompts by their sorted beginnings. Two share material where they are equal over at least half of the
 * shorter one, not counting what all prompts begin with. That counts as well where most positive keys lie in it:
 * then it is material, and not a template.
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
    // What all prompts begin with stays there when it is shuffled, and is no coincidence.
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

/** How much two sequences have in common from their beginnings. */
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

/** Every place's tokens shuffled among the sequences that have it. */
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
