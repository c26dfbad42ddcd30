/** The highest and lowest of any number of values, and their distance from the mean of all in standard deviations. */

/** The stored form of a value. */
export interface Named {
  /** Index of its prompt. Of equal values the one with the lower index is kept, whatever the order of arrival. */
  prompt: number
  position: number
  /** Its text. Of several values with the same text, only the most extreme is kept. */
  text: string
}

/** Uses constant memory: running moments, and the ends of the list. */
export class Extremes<T extends Named> {
  private readonly high: End<T>
  private readonly low: End<T>
  private count = 0
  /** Sums are of differences from the first value, so that a large mean does not lose precision. */
  private shift = 0
  private sum = 0
  private squares = 0

  /** Keeps `size` at each end; with `oncePerPrompt` at most one value of a prompt at each. */
  constructor(size: number, options: { oncePerPrompt?: boolean } = {}) {
    this.high = new End(size, 1, options.oncePerPrompt ?? false)
    this.low = new End(size, -1, options.oncePerPrompt ?? false)
  }

  /** Adds a value; `describe` is called only if it may be kept. NaN is skipped. */
  take(value: number, describe: () => T): void {
    if (!Number.isFinite(value)) {
      return
    }
    if (this.count === 0) {
      this.shift = value
    }
    this.count += 1
    const above = value - this.shift
    this.sum += above
    this.squares += above * above
    if (this.high.admits(value)) {
      this.high.offer(value, describe())
    }
    if (this.low.admits(value)) {
      this.low.offer(value, describe())
    }
  }

  /** What is kept, at both ends. */
  get kept(): T[] {
    return [...this.high.kept, ...this.low.kept].map(({ item }) => item)
  }

  /** From the most extreme; values in standard deviations from the mean of all that was taken. */
  get ends(): { top: { item: T; value: number }[]; bottom: { item: T; value: number }[] } {
    const mean = this.sum / this.count
    const variance = Math.max(0, (this.squares - this.sum * mean) / Math.max(1, this.count - 1))
    // Values that differ only by rounding count as equal.
    const sd = Math.sqrt(variance)
    const size = Math.max(Math.abs(this.shift), Math.abs(this.shift + mean))
    const alike = !(sd > ROUNDING * size)
    const scaled = ({ kept }: End<T>) =>
      kept.map(({ item, value }) => ({ item, value: alike ? 0 : (value - this.shift - mean) / sd }))
    return { top: scaled(this.high), bottom: scaled(this.low) }
  }
}

/** Relative rounding error of float32, in which models compute. */
const ROUNDING = 2 ** -22

class End<T extends Named> {
  readonly kept: { value: number; item: T }[] = []

  /** `sign` is 1 for the highest values, -1 for the lowest. */
  constructor(
    private readonly size: number,
    private readonly sign: 1 | -1,
    private readonly oncePerPrompt: boolean,
  ) {}

  admits(value: number): boolean {
    const { kept, size, sign } = this
    return kept.length < size || sign * value >= sign * kept[size - 1].value
  }

  offer(value: number, item: T): void {
    const own = { value, item }
    const rivals = this.kept.filter((other) => this.excludes(other.item, item))
    if (rivals.some((other) => this.order(other, own) <= 0)) {
      return
    }
    for (const rival of rivals) {
      this.kept.splice(this.kept.indexOf(rival), 1)
    }
    const after = this.kept.findIndex((other) => this.order(own, other) < 0)
    this.kept.splice(after < 0 ? this.kept.length : after, 0, own)
    if (this.kept.length > this.size) {
      this.kept.pop()
    }
  }

  private excludes(a: T, b: T): boolean {
    return a.text === b.text || (this.oncePerPrompt && a.prompt === b.prompt)
  }

  /** Below 0 where `a` comes first. */
  private order(a: { value: number; item: T }, b: { value: number; item: T }): number {
    const apart = this.sign * (b.value - a.value)
    return apart || a.item.prompt - b.item.prompt || a.item.position - b.item.position
  }
}
