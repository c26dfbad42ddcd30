/**
 * Sequential p-values: a test continues while it has fewer than ten exceedances, so clear cases need few draws
 * (docs/method.md, Rank 5 and 6).
 */

import { meanAndDeviation } from '../../math/moments.js'
import type { NullValues } from '../../store/rank-test.js'
import type { NullSource, Removed } from './exchange/null-source.js'

/** Numbers of draws after which a test may stop. */
const STAGES = [999, 9_999]
/** Number of exceedances after which more draws would change little. */
const ENOUGH = 10
/** Relative difference up to which two values are tied. A tie counts as an exceedance. */
const TIE = 1e-6
/**
 * The smallest possible p should be at most the level divided by this, so that a rank does not depend on one or two
 * draws.
 */
const FINE = 20
/** Draws per call of a backend, a multiple of 32. */
const AT_ONCE = 4_096

/** Numbers of draws after which p is evaluated: `first`, and the usual stages above it. */
export function stagesFrom(first: number, most: number): number[] {
  return [first, ...STAGES.filter((stage) => stage > first)].filter(
    (stage) => stage <= most || stage === first,
  )
}

/**
 * The stages until p-values are fine enough for one level. For components after the first, whose p is compared with
 * one level and not adjusted further.
 */
export function stagesForLevel(stages: readonly number[], level: number, most: number): number[] {
  const enough = stages.findIndex((stage) => 1 / (stage + 1) <= level / FINE)
  if (enough >= 0) {
    return stages.slice(0, enough + 1)
  }
  const needed = Math.ceil(FINE / level) - 1
  return needed <= most ? [...stages, needed] : [...stages]
}

/** One statistic and its null draws so far. */
export class Tally {
  draws = 0
  exceedances = 0
  observed = Number.NaN
  /** The first null values, at most as many as requested. */
  readonly kept: Float64Array

  /** `resolution`: an observed value up to it is rounding error, and every null value counts as an exceedance. */
  constructor(
    private readonly resolution: number,
    keep = 0,
  ) {
    this.kept = new Float64Array(keep)
  }

  get p(): number {
    return (1 + this.exceedances) / (1 + this.draws)
  }

  get settled(): boolean {
    return this.exceedances >= ENOUGH
  }

  /** Summary of the kept values. */
  get nullValues(): NullValues {
    const sorted = this.kept.slice(0, this.draws).sort()
    const p95 = sorted[Math.min(sorted.length - 1, Math.ceil(0.95 * sorted.length) - 1)]
    return { ...meanAndDeviation(sorted), p95 }
  }

  /** Adds the value of the next draw. */
  take(value: number): void {
    if (this.draws < this.kept.length) {
      this.kept[this.draws] = value
    }
    this.draws += 1
    if (this.observed <= this.resolution || value >= this.observed * (1 - TIE)) {
      this.exceedances += 1
    }
  }
}

/**
 * Draws until `to`, for heads whose tallies have `had` draws: tallies [heads][components]. Tallies that are settled at
 * the start take no more.
 */
export async function drawUntil(
  source: NullSource,
  heads: readonly number[],
  tallies: readonly (readonly Tally[])[],
  to: number,
  options: { removed?: Removed; signal?: AbortSignal; had: number },
): Promise<void> {
  const { removed, signal, had } = options
  const components = tallies[0].length
  const active = new Set(tallies.flat().filter((tally) => !tally.settled))
  // Draw 0 is the observed one. Bits come in words of 32 draws, so some draws are repeated and skipped.
  const begin = had === 0 ? 0 : had + 1
  for (let next = begin; next <= to; ) {
    const from = next - (next % 32)
    const end = Math.min(to + 1, from + AT_ONCE)
    const values = await source.values({ heads, from, to: end, removed, components, signal })
    const draws = end - from
    tallies.forEach((row, h) => {
      row.forEach((tally, c) => {
        const value = (draw: number) => values[(h * draws + draw - from) * components + c]
        if (next === 0) {
          tally.observed = value(0)
        }
        if (!active.has(tally)) {
          return
        }
        for (let draw = Math.max(1, next); draw < end; draw++) {
          tally.take(value(draw) * source.nullFactor(heads[h]))
        }
      })
    })
    next = end
  }
}

/** Tallies of the first component of heads, each with as many draws as it needs. */
export async function screen(
  source: NullSource,
  heads: readonly number[],
  stages: readonly number[],
  signal?: AbortSignal,
): Promise<Tally[]> {
  const tallies = heads.map((head) => new Tally(source.resolution(head), stages[0]))
  let had = 0
  let open = [...heads.keys()]
  for (const stage of stages) {
    if (open.length === 0) {
      break
    }
    const rows = open.map((i) => [tallies[i]])
    await drawUntil(
      source,
      open.map((i) => heads[i]),
      rows,
      stage,
      { had, signal },
    )
    had = stage
    open = open.filter((i) => !tallies[i].settled)
  }
  return tallies
}
