/**
 * Prepares rows for sign flips: ΔC = sum_r c_r q_r k_r^T, sorted by unit, and centred as the hypothesis and the
 * estimator require (docs/method.md, Rank 1 and 4).
 */

import type { Estimator } from '../../../backend/backend.js'
import { cooperator } from '../../../backend/cooperate.js'
import type { TermRows } from '../../../covariance/kept/term-rows.js'
import { compareKeys, type UnitKey } from '../../../math/unit-hash.js'
import type { Hypothesis } from './null-source.js'

/** Rows of one contrast, and the unit of exchange of each. */
export interface UnitRows extends Omit<TermRows, 'term'> {
  /** Index into `unitKeys`, [rows]. */
  unit: Int32Array
  unitKeys: readonly UnitKey[]
  estimator: Estimator
  counterfactual: boolean
}

export interface FlipRows {
  /** [rows, heads, d] and [rows, kvHeads, d]; shared memory, which backends read in place. */
  q: Float32Array
  k: Float32Array
  rows: number
  coefficients: Float32Array
  /** Whether every key is the difference of a term's two sides. */
  differences: boolean
  /** Ascending from 0, [rows]. */
  units: Int32Array
  keys: UnitKey[]
  /** Factor of the null values of each head, [heads]. */
  nullFactors: Float64Array
  /** sum_r |c_r| |q_r| |k_r| of each head: the scale of rounding errors of D. */
  magnitude: Float64Array
}

/** The rows of the units for which `keep` is true. Under `interaction` the means are taken over these units. */
export async function flipRows(
  from: UnitRows,
  hypothesis: Hypothesis,
  keep: (unit: UnitKey) => boolean = () => true,
): Promise<FlipRows> {
  const { order, units, keys } = sortedRows(from, keep)
  const n = order.length
  const { heads, kvHeads, headDim: d } = from
  const [qWidth, kWidth] = [heads * d, kvHeads * d]
  const totals = sideTotals(from, order)
  const pause = cooperator()
  const centres = await centresOf(from, hypothesis, order)
  const q = new Float32Array(new SharedArrayBuffer(4 * n * qWidth))
  const k = new Float32Array(new SharedArrayBuffer(4 * n * kWidth))
  const coefficients = new Float32Array(n)
  const magnitude = new Float64Array(heads)
  const shares = new UnitShares(heads)
  for (const [i, row] of order.entries()) {
    const side = from.side[row]
    const { q: qCentre, k: kCentre } = centres[side < 0 ? 1 : 0]
    const total = totals[side < 0 ? 1 : 0]
    coefficients[i] = total > 0 ? ((side < 0 ? -1 : 1) * from.weight[row]) / total : 0
    subtract(q, i * qWidth, from.q, row * qWidth, qCentre, 1, qWidth)
    subtract(k, i * kWidth, from.k, row * kWidth, kCentre, from.keys[row], kWidth)
    const magnitudes = rowMagnitudes(Math.abs(coefficients[i]), q, i * qWidth, k, i * kWidth, from)
    for (let h = 0; h < heads; h++) {
      magnitude[h] += magnitudes[h]
    }
    shares.add(units[i], magnitudes)
    await pause()
  }
  const corrected = hypothesis === 'interaction' && !from.counterfactual && keys.length > 1
  return {
    q,
    k,
    rows: n,
    coefficients,
    differences: from.side.every((side) => side === 0),
    units,
    keys,
    magnitude,
    nullFactors: Float64Array.from({ length: heads }, (_, h) => {
      return corrected ? centringFactor(keys.length, shares.concentration(h)) : 1
    }),
  }
}

/**
 * Rows in ascending order of their units, and within a unit in their original order. Units without rows are dropped.
 */
function sortedRows({ unit, unitKeys, rows }: UnitRows, keep: (unit: UnitKey) => boolean) {
  const counts = new Int32Array(unitKeys.length)
  for (let row = 0; row < rows; row++) {
    counts[unit[row]] += 1
  }
  const used: number[] = []
  for (const [u, key] of unitKeys.entries()) {
    if (counts[u] > 0 && keep(key)) {
      used.push(u)
    }
  }
  used.sort((a, b) => compareKeys(unitKeys[a], unitKeys[b]))
  const total = used.reduce((sum, u) => sum + counts[u], 0)
  const order = new Int32Array(total)
  const units = new Int32Array(total)
  const next = new Int32Array(unitKeys.length).fill(-1)
  let at = 0
  for (const [place, u] of used.entries()) {
    next[u] = at
    units.fill(place, at, at + counts[u])
    at += counts[u]
  }
  for (let row = 0; row < rows; row++) {
    if (next[unit[row]] >= 0) {
      order[next[unit[row]]++] = row
    }
  }
  return { order, units, keys: used.map((u) => unitKeys[u]) }
}

/** Divisors of the weights of the positive and of the negative side. */
function sideTotals({ side, weight, keys, estimator }: UnitRows, order: Int32Array): [number, number] {
  const totals: [number, number] = [0, 0]
  for (const row of order) {
    totals[side[row] < 0 ? 1 : 0] += estimator === 'per-pair' ? weight[row] * keys[row] : weight[row]
  }
  return totals
}

interface Centre {
  /** [heads, d] */
  q: Float64Array
  /** [kvHeads, d], of one key. */
  k: Float64Array
}

/**
 * The centres to subtract: from rows of the positive side (or of the difference of both sides), and from those of the
 * negative side.
 */
async function centresOf(
  from: UnitRows,
  hypothesis: Hypothesis,
  order: Int32Array,
): Promise<[Centre, Centre]> {
  const { side, weight, keys, estimator, counterfactual } = from
  const [qWidth, kWidth] = [from.heads * from.headDim, from.kvHeads * from.headDim]
  const zero = (): Centre => ({ q: new Float64Array(qWidth), k: new Float64Array(kWidth) })
  const interaction = hypothesis === 'interaction'
  if (!interaction && estimator === 'per-query') {
    return [zero(), zero()]
  }
  const sums = [zero(), zero()]
  const pairs = [0, 0]
  const pause = cooperator()
  for (const row of order) {
    const s = side[row] < 0 ? 1 : 0
    const by = weight[row] * keys[row]
    pairs[s] += by
    add(sums[s].q, from.q, row * qWidth, by)
    add(sums[s].k, from.k, row * kWidth, weight[row])
    await pause()
  }
  const pooled = counterfactual || !interaction
  const mean = (of: 'q' | 'k', s: number): Float64Array => {
    const total = pooled ? pairs[0] + pairs[1] : pairs[s]
    if (total === 0) {
      return new Float64Array(sums[s][of].length)
    }
    return sums[s][of].map((x, i) => (pooled ? sums[0][of][i] + sums[1][of][i] : x) / total)
  }
  return [0, 1].map((s) => ({
    q: interaction ? mean('q', s) : new Float64Array(qWidth),
    k: mean('k', s),
  })) as [Centre, Centre]
}

/** |c| |q| |k| of a row, [heads]. */
function rowMagnitudes(
  weight: number,
  q: Float32Array,
  qAt: number,
  k: Float32Array,
  kAt: number,
  { heads, kvHeads, headDim: d }: UnitRows,
): Float64Array {
  const norm = (values: Float32Array, at: number) => {
    let square = 0
    for (let i = at; i < at + d; i++) {
      square += values[i] ** 2
    }
    return Math.sqrt(square)
  }
  const out = new Float64Array(heads)
  const group = heads / kvHeads
  for (let keyHead = 0; keyHead < kvHeads; keyHead++) {
    const key = weight * norm(k, kAt + keyHead * d)
    for (let h = keyHead * group; h < (keyHead + 1) * group; h++) {
      out[h] = key * norm(q, qAt + h * d)
    }
  }
  return out
}

/** Measures how unevenly a head's units contribute. The rows of a unit are adjacent. */
class UnitShares {
  readonly #unit: Float64Array
  readonly #second: Float64Array
  readonly #fourth: Float64Array
  #current = -1

  constructor(heads: number) {
    this.#unit = new Float64Array(heads)
    this.#second = new Float64Array(heads)
    this.#fourth = new Float64Array(heads)
  }

  add(unit: number, magnitudes: Float64Array): void {
    if (unit !== this.#current) {
      this.#close()
    }
    this.#current = unit
    for (let h = 0; h < magnitudes.length; h++) {
      this.#unit[h] += magnitudes[h]
    }
  }

  /**
   * sum_u m_u^4 / (sum_u m_u^2)^2, where m_u is the magnitude of unit u: 1 / k if k equal units outweigh all others.
   */
  concentration(head: number): number {
    this.#close()
    return this.#second[head] > 0 ? this.#fourth[head] / this.#second[head] ** 2 : 0
  }

  #close(): void {
    for (let h = 0; h < this.#unit.length; h++) {
      this.#second[h] += this.#unit[h] ** 2
      this.#fourth[h] += this.#unit[h] ** 4
      this.#unit[h] = 0
    }
  }
}

/** If this many units outweigh the others, sign flips can only act on them. */
const FEW_THAT_COUNT = 5

/**
 * Factor by which null values of centred rows are too small, for U units. Centring takes 1 / U of the variance from
 * both factors of every D_u, but only once from their sum. If many units contribute alike, the factor is sqrt(U / (U -
 * 1)). If few outweigh the others, centring changes a scale and not a variance, and the factor is U / (U - 1) itself:
 * with a single unit 30 times as large as 49 others, the square root gives 0.96 false positives in place of 0.05.
 */
function centringFactor(units: number, concentration: number): number {
  const exponent = 0.5 + 0.5 * Math.min(1, FEW_THAT_COUNT * concentration)
  return (units / (units - 1)) ** exponent
}

function add(sum: Float64Array, from: Float32Array, at: number, by: number): void {
  for (let i = 0; i < sum.length; i++) {
    sum[i] += by * from[at + i]
  }
}

function subtract(
  out: Float32Array,
  to: number,
  from: Float32Array,
  at: number,
  centre: Float64Array,
  times: number,
  width: number,
): void {
  for (let i = 0; i < width; i++) {
    out[to + i] = from[at + i] - times * centre[i]
  }
}
