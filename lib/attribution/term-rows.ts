/** Rows of scores of one head, one per term: its query with the chosen keys, from a captured batch. */

import type { CapturedPositions } from '../capture/terms/capture-term-runs.js'
import type { ChosenHead } from '../capture/terms/chosen-heads.js'
import type { TermRun } from '../capture/terms/term-runs.js'
import { QkError } from '../errors.js'
import { dotAt } from '../math/scores.js'
import type { WireTensor } from '../model/inference/session.js'
import { tensorValues } from '../model/inference/values.js'

/**
 * `term`: the positive and negative keys of the term. A counterfactual term has two pairs, each with the query of its
 * own run. `all`: every key that the query may attend to.
 */
export type RowKeys = 'term' | 'all'

export const ROW_KEYS: readonly RowKeys[] = ['term', 'all']

/** Scores q . k of one query with some keys. */
export interface RowSegment {
  /** [d] */
  q: Float64Array
  /** [keys, d], multiplied by the factors of their scores. */
  k: Float64Array
}

/** The row of scores of a term: one segment, or two for a counterfactual term. */
export type TermRow = readonly RowSegment[]

/** Captured queries and keys of one site as float64, read once for all its heads. */
export interface SiteRows {
  q: Float64Array
  k: Float64Array
  factors?: Float64Array
  dims: { q: readonly number[]; k: readonly number[]; factors?: readonly number[] }
}

export function siteRows({ q, k, factors }: CapturedPositions): SiteRows {
  return {
    q: tensorValues(q),
    k: tensorValues(k),
    ...(factors && { factors: tensorValues(factors) }),
    dims: { q: q.dims, k: k.dims, ...(factors && { factors: (factors as WireTensor).dims }) },
  }
}

/** Reads rows of one head; `place` is its index among the captured heads of its site. Errors: ERR_UNSUPPORTED_MODEL. */
export class RowReader {
  constructor(
    private readonly head: ChosenHead,
    private readonly rows: SiteRows,
    private readonly place: number,
  ) {}

  /** Number of positions, from 0, that the query of an item may attend to. */
  visible({ run, query }: TermRun): number {
    const { site } = this.head
    const length = this.rows.dims.k[1]
    const own = run.kind === 'tokens' && !site.cross ? run.ids.length : length
    return site.causal ? Math.min(own, query + 1) : own
  }

  /** The row of an item; `run` is its run in the batch, `donor` the run of its counterfactual, if there is one. */
  row(item: TermRun, run: number, donor: number | undefined, keys: RowKeys): TermRow {
    if (keys === 'all') {
      return [this.whole(item, run)]
    }
    const { positive, negative, query, queryNeg } = item.term
    if (donor === undefined) {
      return [this.segment(run, query, [...positive, ...negative])]
    }
    return [this.segment(run, query, positive), this.segment(donor, queryNeg, negative)]
  }

  /** The row with every key that the query may attend to. */
  whole(item: TermRun, run: number): RowSegment {
    return this.segment(run, item.query, [...Array(this.visible(item)).keys()])
  }

  private segment(run: number, query: number, keys: readonly number[]): RowSegment {
    const { q, k, dims } = this.rows
    const { place } = this
    const [, positions, heads, d] = dims.q
    const [, length, keyHeads] = dims.k
    const qAt = ((run * positions + query) * heads + place) * d
    const columns = new Float64Array(keys.length * d)
    keys.forEach((key, j) => {
      const kAt = ((run * length + key) * keyHeads + place) * d
      const factor = this.factor(run, query, key)
      for (let i = 0; i < d; i++) {
        columns[j * d + i] = factor * k[kAt + i]
      }
    })
    return { q: q.slice(qAt, qAt + d), k: columns }
  }

  /** The factor of the product of a query and a key, up to the softmax. */
  private factor(run: number, query: number, key: number): number {
    const { site, head, name } = this.head
    if (site.factors.kind === 'constant') {
      return site.operandScale * site.factors.byHead[head]
    }
    const { factors, dims } = this.rows
    if (!factors || !dims.factors) {
      throw new QkError(
        'ERR_UNSUPPORTED_MODEL',
        `the factors of the scores of ${name} could not be followed from product to softmax`,
        { hint: 'Leave the head out; its subspaces are those of q·k without the factors.' },
      )
    }
    const [, heads, queries, keys] = dims.factors
    return site.operandScale * factors[((run * heads + this.place) * queries + query) * keys + key]
  }
}

/** Scores of a row, with its queries as they are or replaced by T(q). The segments follow one another. */
export function rowScores(row: TermRow, query: (q: Float64Array) => Float64Array = (q) => q): Float64Array {
  const count = row.reduce((sum, { q, k }) => sum + k.length / q.length, 0)
  const scores = new Float64Array(count)
  let at = 0
  for (const { q, k } of row) {
    const d = q.length
    const own = query(q)
    for (let from = 0; from < k.length; from += d) {
      scores[at++] = dotAt(own, 0, k, from, d)
    }
  }
  return scores
}

export function meanOf(scores: Float64Array): number {
  return scores.reduce((sum, x) => sum + x, 0) / scores.length
}

/** K^T t of each segment, for one number t per key. */
export function weightedKeys(row: TermRow, t: Float64Array): Float64Array[] {
  let at = 0
  return row.map(({ q, k }) => {
    const d = q.length
    const sum = new Float64Array(d)
    for (let from = 0; from < k.length; from += d) {
      const weight = t[at++]
      for (let i = 0; i < d; i++) {
        sum[i] += weight * k[from + i]
      }
    }
    return sum
  })
}
