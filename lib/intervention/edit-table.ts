/** The figures of one variant, term by term (means over its draws), and the mean effect of every draw. */

import type { TermRun } from '../capture/terms/term-runs.js'
import { exceedsNull, nullP95 } from '../math/null-limit.js'
import { changeOf, movesOf, type RowChange, type RowMove } from './edit-measure.js'

/** The patterns and outputs of one run of a batch. */
export interface Measured {
  /** By site, [items, heads, keys]. */
  patterns: readonly Float32Array[]
  /** Log-probabilities by item. */
  output?: readonly Float32Array[]
}

/** If the origin has less of the attention on average, there is nothing to move. */
export const LEAST_ATTENTION = 0.05

/** Sizes of mean effects on the attention of a head. Null if there is nothing to move. */
export interface MoveEffects {
  /** Change of the attention on the origin. */
  origin: number
  /** Fraction of the origin's attention that went to the target. */
  moved: number | null
  /** Change of p = a_target / (a_target + a_origin). */
  deltaP: number
  /** Fraction of terms in which the most attended key changed from the origin to the target. */
  flipRate: number
}

/** Sizes of mean effects on the output. NaN without a known answer or other token. */
export interface OutputEffects {
  /** KL divergence KL(before || after) of the output, nats. */
  kl: number
  /** Change of the log-probability of the answer, nats. */
  answerLogProb: number
  /** Change of the log-probability of the token at the target, nats. */
  targetLogProb: number
  /** Change of the fraction of terms where the answer is the likeliest. */
  accuracy: number
  /** Change of the fraction of terms where the token at the target is the likeliest. */
  targetRate: number
}

export class EditTable {
  readonly prompts: number[] = []
  /** [heads][terms] */
  readonly moves: RowMove[][]
  readonly changes: RowChange[] = []
  targets = true
  /** Sums over terms, [draws][heads] and [draws]. */
  private readonly moveSums: MoveSums[][] = []
  private readonly outputSums: OutputEffects[] = []

  /** `heads`: number of heads of each site. */
  constructor(private readonly heads: readonly number[]) {
    this.moves = heads.flatMap((count) => Array.from({ length: count }, () => []))
  }

  /** Adds one draw of a batch. All draws of a batch follow one another. */
  add(
    items: readonly TermRun[],
    before: Measured,
    after: Measured,
    { draw, draws }: { draw: number; draws: number },
  ): void {
    const start = this.prompts.length - (draw === 0 ? 0 : items.length)
    /** The mean over draws: the first draw stores a term, and the others are added to it. */
    const keep = <T extends object>(rows: T[], r: number, row: T) => {
      if (draw === 0) {
        rows.push(scaled(row, 1 / draws))
      } else {
        addScaled(rows[start + r], row, 1 / draws)
      }
    }
    this.moveSums[draw] ??= this.moves.map(noMoves)
    let first = 0
    this.heads.forEach((count, site) => {
      const pattern = before.patterns[site]
      const keys = pattern.length / (items.length * count)
      movesOf(items, pattern, after.patterns[site], count, keys).forEach((moves, h) => {
        moves.forEach((move, r) => {
          keep(this.moves[first + h], r, move)
          addMove(this.moveSums[draw][first + h], move)
        })
      })
      first += count
    })
    items.forEach((item, r) => {
      if (draw === 0) {
        this.prompts.push(item.prompt)
      }
      if (item.target === undefined) {
        this.targets = false
      }
      if (!before.output || !after.output) {
        return
      }
      const change = changeOf(item, before.output[r], after.output[r])
      keep(this.changes, r, change)
      this.outputSums[draw] ??= { kl: 0, answerLogProb: 0, targetLogProb: 0, accuracy: 0, targetRate: 0 }
      addChange(this.outputSums[draw], change)
    })
  }

  /** Whether the origin has enough attention in a head to be moved. */
  hasAttention(head: number): boolean {
    const own = this.moves[head]
    return own.reduce((sum, m) => sum + m.origin.before, 0) >= LEAST_ATTENTION * own.length
  }

  /** Of one head, by draw. */
  moveEffects(head: number): MoveEffects[] {
    const terms = this.prompts.length
    const able = this.hasAttention(head)
    return this.moveSums.map((draw) => {
      const { origin, weight, moved, deltaP, flipped } = draw[head]
      return {
        origin: Math.abs(origin / terms),
        moved: able ? Math.abs(moved / weight) : null,
        deltaP: Math.abs(deltaP / terms),
        flipRate: flipped / terms,
      }
    })
  }

  /** By draw. */
  outputEffects(): OutputEffects[] {
    const terms = this.prompts.length
    const entries = (sums: OutputEffects) =>
      Object.entries(sums).map(([name, sum]) => [name, Math.abs(sum / terms)])
    return this.outputSums.map((sums) => Object.fromEntries(entries(sums)) as unknown as OutputEffects)
  }
}

/** The 95th percentile over draws of each effect. Null for unknown ones. */
export function p95Of<T extends object>(draws: readonly T[]): { [K in keyof T]: number | null } {
  const of = (name: keyof T) => {
    const values = draws.map((draw) => draw[name] as number | null)
    const known = values.every((x) => x !== null && !Number.isNaN(x))
    return known ? nullP95(values as number[]) : null
  }
  return Object.fromEntries(Object.keys(draws[0]).map((name) => [name, of(name as keyof T)])) as {
    [K in keyof T]: number | null
  }
}

/** Whether each effect is above the 95th percentile of the nulls. Null for unknown ones, and with too few nulls. */
export function exceedingNulls<T extends object>(
  effects: T,
  nulls: readonly T[],
): { [K in keyof T]: boolean | null } {
  const p95 = p95Of(nulls)
  const of = (name: keyof T) => {
    return exceedsNull(effects[name] as number | null, p95[name], nulls.length)
  }
  return Object.fromEntries(Object.keys(effects).map((name) => [name, of(name as keyof T)])) as {
    [K in keyof T]: boolean | null
  }
}

interface MoveSums {
  origin: number
  weight: number
  moved: number
  deltaP: number
  flipped: number
}

const noMoves = (): MoveSums => ({ origin: 0, weight: 0, moved: 0, deltaP: 0, flipped: 0 })

function addMove(sums: MoveSums, { origin, moved, deltaP, flipped }: RowMove): void {
  sums.origin += origin.after - origin.before
  sums.weight += origin.before
  sums.moved += moved * origin.before
  sums.deltaP += deltaP
  sums.flipped += flipped
}

function addChange(sums: OutputEffects, { kl, answer, other, right, turned }: RowChange): void {
  sums.kl += kl
  sums.answerLogProb += answer.after - answer.before
  sums.targetLogProb += other.after - other.before
  sums.accuracy += right.after - right.before
  sums.targetRate += turned.after - turned.before
}

/** Multiplies a record of numbers, or of such records, by a factor. */
function scaled<T extends object>(record: T, factor: number): T {
  return Object.fromEntries(
    Object.entries(record).map(([key, value]) => [
      key,
      typeof value === 'number' ? factor * value : scaled(value, factor),
    ]),
  ) as T
}

function addScaled<T extends object>(to: T, record: T, factor: number): void {
  const sums = to as Record<string, number | object>
  for (const [key, value] of Object.entries(record)) {
    if (typeof value === 'number') {
      sums[key] = (sums[key] as number) + factor * value
    } else {
      addScaled(sums[key] as object, value, factor)
    }
  }
}
