/** Null matrices that are not signed sums: every draw is accumulated as a separate contrast. */

import type { CovarianceMoments } from '../../../backend/backend.js'
import { cooperator } from '../../../backend/cooperate.js'
import type { BackendChoice } from '../../../backend/select.js'
import { type DeviceTensor, uploadTensor } from '../../../covariance/device-tensor.js'
import type { PlainRows } from '../../../covariance/kept/term-rows.js'
import { type BatchInput, QKCovariance } from '../../../covariance/qk-covariance.js'
import { pickHeads } from '../../../math/pick-heads.js'
import { svd } from '../../svd.js'
import { type Hypothesis, ROUNDING, type ValuesRequest } from './null-source.js'
import { removeDirections } from './remove-directions.js'
import { type SideMoments, sideMoments } from './side-moments.js'

/** Workspace in bytes: most memory of the matrices of the draws in one step. */
const ROOM = 128 * 2 ** 20

export abstract class CovarianceSource {
  readonly heads: number
  readonly headDim: number
  #gathered: { heads: string; q: DeviceTensor; k: DeviceTensor } | undefined

  protected constructor(
    protected readonly backend: BackendChoice,
    protected readonly rows: PlainRows,
  ) {
    this.heads = rows.heads
    this.headDim = rows.headDim
  }

  /** The matrices of draws [from, to), [draws, heads, d, d]. */
  abstract matrices(
    heads: readonly number[],
    from: number,
    to: number,
    signal?: AbortSignal,
  ): Promise<Float64Array>

  resolution(head: number): number {
    const { q, k, heads, kvHeads, headDim: d } = this.rows
    return (
      ROUNDING *
      rootMeanSquare(q, heads, head, d) *
      rootMeanSquare(k, kvHeads, Math.floor(head / (heads / kvHeads)), d)
    )
  }

  /** Here, every row is a single key. */
  sides(head: number): Promise<SideMoments> {
    return sideMoments(this.rows, head, true)
  }

  observed(heads: readonly number[], signal?: AbortSignal): Promise<Float64Array> {
    return this.matrices(heads, 0, 1, signal)
  }

  async values({ heads, from, to, removed, components, signal }: ValuesRequest): Promise<Float64Array> {
    const d = this.headDim
    const together = Math.max(1, Math.floor(ROOM / (64 * heads.length * d * d)))
    const out = new Float64Array(heads.length * (to - from) * components)
    for (let begin = from; begin < to; begin += together) {
      const end = Math.min(to, begin + together)
      const n = (end - begin) * heads.length
      const matrices = await this.matrices(heads, begin, end, signal)
      const pause = cooperator(signal)
      for (let c = 0; c < components; c++) {
        const work = removed ? matrices.slice() : matrices
        for (let i = 0; removed && i < n; i++) {
          removeDirections(work, i, i % heads.length, d, removed, removed.rank - (components - 1) + c)
          await pause()
        }
        const { s } = await svd(work, { n, rows: d, cols: d, rank: 1, backend: this.backend, signal })
        for (let i = 0; i < n; i++) {
          const [draw, head] = [begin + Math.floor(i / heads.length), i % heads.length]
          out[(head * (to - from) + draw - from) * components + c] = s[i]
        }
      }
    }
    return out
  }

  release(): void {
    this.#gathered?.q.release()
    this.#gathered?.k.release()
    this.#gathered = undefined
  }

  /** Moments of batches of terms or label sequences of heads, whose contrasts are numbered. */
  protected async moments(
    heads: readonly number[],
    batches: Iterable<Pick<BatchInput, 'terms' | 'labels'>>,
    contrasts: number,
    signal?: AbortSignal,
  ): Promise<CovarianceMoments> {
    const { q, k } = await this.#gather(heads)
    const { estimator, headDim } = this.rows
    const covariance = new QKCovariance({
      heads: heads.length,
      kvHeads: k.shape[2],
      headDim,
      estimator,
      backend: this.backend,
      contrasts: Array.from({ length: contrasts }, (_, c) => `${c}`),
    })
    try {
      for (const { terms, labels } of batches) {
        await covariance.add({ q, k, terms, labels, signal })
      }
      return await covariance.moments()
    } finally {
      covariance.dispose()
    }
  }

  /** Rows of heads, uploaded; each head with its key head where only some are asked for. */
  async #gather(heads: readonly number[]): Promise<{ q: DeviceTensor; k: DeviceTensor }> {
    const name = heads.join(' ')
    if (this.#gathered?.heads === name) {
      return this.#gathered
    }
    this.release()
    const { q, k, heads: all, kvHeads, headDim: d } = this.rows
    const complete = heads.length === all && heads.every((head, i) => head === i)
    const upload = (data: Float32Array, count: number, wanted: readonly number[]) => {
      const rows = data.length / (count * d)
      const picked = complete ? data : pickHeads(data, rows, count, d, wanted)
      const shape = [1, rows, picked.length / (rows * d), d]
      const groups = complete ? kvHeads : heads.length
      return uploadTensor({ data: picked, shape }, { backend: this.backend, keyHeads: groups })
    }
    const keyHeads = heads.map((head) => Math.floor(head / (all / kvHeads)))
    const queries = await upload(q, all, heads)
    try {
      this.#gathered = { heads: name, q: queries, k: await upload(k, kvHeads, keyHeads) }
    } catch (error) {
      queries.release()
      throw error
    }
    return this.#gathered
  }
}

/** Root mean square of the norms of a head's rows. */
function rootMeanSquare(data: Float32Array, heads: number, head: number, d: number): number {
  const rows = data.length / (heads * d)
  let square = 0
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < d; i++) {
      square += data[(row * heads + head) * d + i] ** 2
    }
  }
  return rows > 0 ? Math.sqrt(square / rows) : 0
}

/**
 * Rows less their means over the used rows, which no exchange changes. Both sides are centred if the interaction is
 * tested. Keys are also centred if they are sums of pairs.
 */
export function centredRows(
  rows: PlainRows,
  hypothesis: Hypothesis,
  queries: Iterable<number>,
  keys: Iterable<number>,
): PlainRows {
  const { heads, kvHeads, headDim: d, estimator, q, k } = rows
  const interaction = hypothesis === 'interaction'
  return {
    ...rows,
    q: interaction ? lessMean(q, heads * d, queries) : q,
    k: interaction || estimator !== 'per-query' ? lessMean(k, kvHeads * d, keys) : k,
  }
}

/** Rows [rows, width] less their mean over the used rows. */
function lessMean(data: Float32Array, width: number, used: Iterable<number>): Float32Array {
  const mean = new Float64Array(width)
  const list = [...used]
  for (const row of list) {
    for (let i = 0; i < width; i++) {
      mean[i] += data[row * width + i] / list.length
    }
  }
  return data.map((x, i) => x - mean[i % width])
}
