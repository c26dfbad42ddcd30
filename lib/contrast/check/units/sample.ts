/**
 * A uniform sample of units from a stream of prompts in which a unit may recur at any time. Each unit has a seeded
 * hash, and the units with the smallest hashes are kept. A dropped unit never returns, and the order of prompts does
 * not matter.
 */

interface Held<R> {
  hash: number
  name: string
  record: R
}

export class UnitSample<R> {
  private readonly held = new Map<string, Held<R>>()
  private threshold = Number.POSITIVE_INFINITY
  private readonly size: number
  private readonly seed: number
  private readonly make: () => R

  constructor(size: number, seed: number, make: () => R) {
    this.size = size
    this.seed = seed
    this.make = make
  }

  /** The unit's record. Undefined if the unit is not in the sample. */
  take(name: string): R | undefined {
    const known = this.held.get(name)
    if (known) {
      return known.record
    }
    const hash = hashOf(name, this.seed)
    if (hash > this.threshold) {
      return undefined
    }
    const added = { hash, name, record: this.make() }
    this.held.set(name, added)
    if (this.held.size >= 2 * this.size) {
      this.shrink()
    }
    return added.record
  }

  /** Records of the sample, at most `size`, in order of their hashes. */
  records(): R[] {
    this.shrink()
    return this.sorted().map(({ record }) => record)
  }

  private sorted(): Held<R>[] {
    return [...this.held.values()].sort((a, b) => a.hash - b.hash || (a.name < b.name ? -1 : 1))
  }

  private shrink(): void {
    if (this.held.size <= this.size) {
      return
    }
    const kept = this.sorted().slice(0, this.size)
    this.held.clear()
    for (const unit of kept) {
      this.held.set(unit.name, unit)
    }
    // Units with equal hashes are so few that dropping one of them is harmless.
    this.threshold = kept[kept.length - 1].hash
  }
}

/** FNV-1a with the final mixing of MurmurHash3, 32 bits. */
function hashOf(text: string, seed: number): number {
  let h = (0x811c9dc5 ^ seed) >>> 0
  for (let i = 0; i < text.length; i++) {
    h = Math.imul(h ^ text.charCodeAt(i), 0x01000193) >>> 0
  }
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
