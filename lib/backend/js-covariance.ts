/**
 * Covariance accumulation in plain float64: the reference for native/cpu/covariance/kernel.h.
 *
 * A term adds  qk += w q kbar^T  with  kbar = sum_j a_j k_j / A  (per-query) or  sum_j a_j k_j  (otherwise). The
 * q-sum is weighted by w (per-query) or w A; the k-sum is w kbar. All in f64.
 */

import { QkError, throwIfAborted } from '../errors.js'
import { elementReader, isShared } from '../math/tensor.js'
import type {
  BackendCovariance,
  CovarianceBatch,
  CovarianceMoments,
  CovarianceSpec,
  LabelSequence,
  RowTensor,
  SideMoments,
  TermBatch,
} from './backend.js'
import { checkBatch } from './check.js'
import { cooperator } from './cooperate.js'
import { addMoments, emptyMoments } from './moments.js'
import { Slots } from './slots.js'

type RowReader = (row: number, head: number, out: Float64Array) => void

function rowReader(t: RowTensor): RowReader {
  const [, pos, , d] = t.shape
  const [sb, st, sh, sd] = t.strides
  const read = elementReader(t.data, t.dtype)
  return (row, head, out) => {
    const start = Math.floor(row / pos) * sb + (row % pos) * st + head * sh
    for (let i = 0; i < d; i++) {
      out[i] = read(start + i * sd)
    }
  }
}

/** The buffers of a batch: detached from the caller if `owned`, read in place if shared, otherwise copied. */
function keep(batch: CovarianceBatch, owned: boolean): CovarianceBatch {
  const taken = owned ? detached([batch.q, batch.k]) : undefined
  const tensor = (t: RowTensor): RowTensor => {
    if (t.resident) {
      return t.resident as RowTensor
    }
    if (isShared(t.data)) {
      return t
    }
    return { ...t, data: taken?.get(t.data) ?? t.data.slice() }
  }
  const arrays = <T extends object>(from: T): T =>
    Object.fromEntries(
      Object.entries(from).map(([key, x]) => [key, ArrayBuffer.isView(x) ? (x as Int32Array).slice() : x]),
    ) as T
  return {
    q: tensor(batch.q),
    k: tensor(batch.k),
    terms: batch.terms && arrays(batch.terms),
    labels: batch.labels?.map(arrays),
  }
}

/**
 * The same elements in detached buffers, by the original array. Undefined for a buffer that cannot be detached.
 */
function detached(tensors: readonly RowTensor[]): Map<RowTensor['data'], RowTensor['data']> | undefined {
  const own = tensors.filter(({ data, resident }) => !resident && !isShared(data)).map(({ data }) => data)
  try {
    const transfer = [...new Set(own.map((array) => array.buffer as ArrayBuffer))]
    const moved = structuredClone(own, { transfer })
    return new Map(own.map((array, i) => [array, moved[i]]))
  } catch {
    // For example the pool that Node's small Buffers share.
    return undefined
  }
}

export class JsCovariance implements BackendCovariance {
  readonly #spec: CovarianceSpec
  readonly #slots = new Slots()
  #sums: CovarianceMoments | undefined
  #queue: Promise<unknown> = Promise.resolve()

  constructor(spec: CovarianceSpec) {
    this.#spec = spec
    this.#sums = emptyMoments(spec.contrasts, spec.heads, spec.headDim)
  }

  add(batch: CovarianceBatch, options: { signal?: AbortSignal; owned?: boolean } = {}): Promise<void> {
    return this.#slots.hold(async () => {
      this.#live()
      throwIfAborted(options.signal)
      const resident = (t: RowTensor) => (t.resident as RowTensor | undefined) ?? t
      checkBatch(this.#spec, { ...batch, q: resident(batch.q), k: resident(batch.k) })
      const own = keep(batch, options.owned ?? false)
      await this.#enqueue(async () => {
        // Summed separately and added at the end, so that an error or an abort leaves the master sums unchanged.
        const added = await accumulate(this.#spec, own, options.signal)
        addMoments(this.#live(), added)
      })
    })
  }

  async merge(moments: CovarianceMoments): Promise<void> {
    await this.#enqueue(async () => addMoments(this.#live(), moments))
  }

  moments(heads?: readonly number[]): Promise<CovarianceMoments> {
    return this.#enqueue(async () => {
      const all = this.#live()
      const { contrasts, headDim: d } = this.#spec
      const wanted = heads ?? Array.from({ length: this.#spec.heads }, (_, h) => h)
      for (const [i, h] of wanted.entries()) {
        if (!(Number.isInteger(h) && h >= 0 && h < this.#spec.heads)) {
          throw new QkError('ERR_RANGE', `heads[${i}] is ${h}, expected 0 to ${this.#spec.heads - 1}`)
        }
      }
      const out = emptyMoments(contrasts, wanted.length, d)
      out.terms.set(all.terms)
      out.skipped.set(all.skipped)
      for (const side of ['positive', 'negative'] as const) {
        out[side].weight.set(all[side].weight)
        for (const [what, size] of [
          ['q', d],
          ['k', d],
          ['qk', d * d],
        ] as const) {
          for (let c = 0; c < contrasts; c++) {
            wanted.forEach((h, i) => {
              const from = (c * this.#spec.heads + h) * size
              out[side][what].set(all[side][what].subarray(from, from + size), (c * wanted.length + i) * size)
            })
          }
        }
      }
      return out
    })
  }

  dispose(): void {
    this.#sums = undefined
  }

  #live(): CovarianceMoments {
    if (!this.#sums) {
      throw new QkError('ERR_ARGUMENT', 'the covariance has been disposed of')
    }
    return this.#sums
  }

  /** Runs calls one after another, in order. A failed call does not stop the next one. */
  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work)
    this.#queue = result.catch(() => {})
    return result
  }
}

async function accumulate(
  spec: CovarianceSpec,
  batch: CovarianceBatch,
  signal?: AbortSignal,
): Promise<CovarianceMoments> {
  const pause = cooperator(signal)
  const out = emptyMoments(spec.contrasts, spec.heads, spec.headDim)
  const readQ = rowReader(batch.q)
  const readK = rowReader(batch.k)
  for (let head = 0; head < spec.heads; head++) {
    const add = new HeadSums(spec, out, head, readQ, readK)
    if (batch.terms) {
      const { terms } = batch
      for (let t = 0; t < terms.contrast.length; t++) {
        add.term(terms, t)
        await pause()
      }
    }
    for (const labels of batch.labels ?? []) {
      add.sequence(labels)
      await pause()
    }
  }
  return out
}

/** Adds terms to the sums of one head. */
class HeadSums {
  readonly #spec: CovarianceSpec
  readonly #out: CovarianceMoments
  readonly #head: number
  readonly #kvHead: number
  readonly #readQ: RowReader
  readonly #readK: RowReader
  readonly #query: Float64Array
  readonly #key: Float64Array
  readonly #sum: Float64Array

  constructor(
    spec: CovarianceSpec,
    out: CovarianceMoments,
    head: number,
    readQ: RowReader,
    readK: RowReader,
  ) {
    this.#spec = spec
    this.#out = out
    this.#head = head
    this.#kvHead = Math.floor(head / (spec.heads / spec.kvHeads))
    this.#readQ = readQ
    this.#readK = readK
    this.#query = new Float64Array(spec.headDim)
    this.#key = new Float64Array(spec.headDim)
    this.#sum = new Float64Array(spec.headDim)
  }

  term(terms: TermBatch, t: number): void {
    const c = terms.contrast[t]
    const weight = terms.weights?.[t] ?? 1
    const half = (
      side: SideMoments,
      query: number,
      offsets: Int32Array,
      keys: Int32Array,
      keyWeights: Float32Array | undefined,
    ) => {
      this.#loadQuery(query)
      this.#sum.fill(0)
      let total = 0
      for (let j = offsets[t]; j < offsets[t + 1]; j++) {
        const a = keyWeights?.[j] ?? 1
        const key = this.#loadKey(keys[j])
        for (let i = 0; i < key.length; i++) {
          this.#sum[i] += a * key[i]
        }
        total += a
      }
      this.#pair(side, c, weight, total, this.#sum)
    }
    half(this.#out.positive, terms.query[t], terms.posOffsets, terms.pos, terms.posWeights)
    half(this.#out.negative, terms.queryNeg[t], terms.negOffsets, terms.neg, terms.negWeights)
    if (this.#head === 0) {
      this.#out.terms[c]++
    }
  }

  /** Label-matched terms through running sums of keys, per label and in total: linear in the sequence. */
  sequence(l: LabelSequence): void {
    const d = this.#spec.headDim
    const seen = new LabelSums(d)
    const sides = { positive: new Float64Array(d), negative: new Float64Array(d) }
    let key = 0
    let self = 0
    for (let i = 0; i < l.queryRows.length; i++) {
      const at = l.queryPositions[i]
      for (; key < l.keyRows.length && (l.keyScope !== 'before' || l.keyPositions[key] < at); key++) {
        if (l.keyLabels[key] >= 0) {
          seen.add(l.keyLabels[key], this.#loadKey(l.keyRows[key]))
        }
      }
      while (self < l.keyRows.length && l.keyPositions[self] < at) {
        self++
      }
      const label = l.queryLabels[i]
      if (label < 0) {
        continue
      }
      const isOwn = l.keyScope === 'others' && l.keyPositions[self] === at && l.keyLabels[self] >= 0
      const own = isOwn ? { label: l.keyLabels[self], row: this.#loadKey(l.keyRows[self]) } : undefined
      const { positives, negatives } = seen.split(label, own, sides)
      this.#labelTerm(l, i, { ...sides, positives, negatives })
    }
  }

  /** Adds the query of a label term with the sums of its key sets. Skips it if a set is empty. */
  #labelTerm(
    { contrast, queryRows }: LabelSequence,
    i: number,
    sides: { positive: Float64Array; negative: Float64Array; positives: number; negatives: number },
  ): void {
    const counts = this.#head === 0
    if (sides.positives === 0 || sides.negatives === 0) {
      if (counts) {
        this.#out.skipped[contrast]++
      }
      return
    }
    this.#loadQuery(queryRows[i])
    this.#pair(this.#out.positive, contrast, 1, sides.positives, sides.positive)
    this.#pair(this.#out.negative, contrast, 1, sides.negatives, sides.negative)
    if (counts) {
      this.#out.terms[contrast]++
    }
  }

  /** Adds the product of the current query and a sum of keys whose weights sum to `total`. */
  #pair(side: SideMoments, c: number, weight: number, total: number, keySum: Float64Array): void {
    const { headDim: d, estimator, heads } = this.#spec
    const mean = estimator === 'per-query'
    const qWeight = mean ? weight : weight * total
    const kWeight = mean ? weight / total : weight
    const row = c * heads + this.#head
    if (this.#head === 0) {
      side.weight[c] += estimator === 'sum' ? weight : qWeight
    }
    for (let i = 0; i < d; i++) {
      const q = this.#query[i]
      side.q[row * d + i] += qWeight * q
      side.k[row * d + i] += kWeight * keySum[i]
      const to = (row * d + i) * d
      for (let j = 0; j < d; j++) {
        side.qk[to + j] += q * (kWeight * keySum[j])
      }
    }
  }

  #loadQuery(row: number): void {
    this.#readQ(row, this.#head, this.#query)
    this.#finite(this.#query, 'q', this.#head, row)
  }

  #loadKey(row: number): Float64Array {
    this.#readK(row, this.#kvHead, this.#key)
    this.#finite(this.#key, 'k', this.#kvHead, row)
    return this.#key
  }

  #finite(values: Float64Array, name: string, head: number, row: number): void {
    if (this.#spec.allowNonFinite || values.every(Number.isFinite)) {
      return
    }
    throw new QkError('ERR_NON_FINITE', `${name} is not finite at head ${head}, row ${row}`, {
      hint: 'find out why, or set allowNonFinite to accumulate it anyway',
    })
  }
}

/** Running sums of the visible keys: for each label, and in total. */
class LabelSums {
  readonly #byLabel = new Map<number, { sum: Float64Array; count: number }>()
  readonly #total: { sum: Float64Array; count: number }

  constructor(d: number) {
    this.#total = { sum: new Float64Array(d), count: 0 }
  }

  add(label: number, key: Float64Array): void {
    let own = this.#byLabel.get(label)
    if (!own) {
      own = { sum: new Float64Array(key.length), count: 0 }
      this.#byLabel.set(label, own)
    }
    for (const to of [own, this.#total]) {
      addTo(to.sum, key, 1)
      to.count++
    }
  }

  /**
   * Sums of the keys with the label and of all others. The query's own key is subtracted if the sums contain it.
   */
  split(
    label: number,
    own: { label: number; row: Float64Array } | undefined,
    out: { positive: Float64Array; negative: Float64Array },
  ): { positives: number; negatives: number } {
    const same = this.#byLabel.get(label)
    out.positive.fill(0)
    if (same) {
      out.positive.set(same.sum)
    }
    out.negative.set(this.#total.sum)
    addTo(out.negative, out.positive, -1)
    const positives = same?.count ?? 0
    const negatives = this.#total.count - positives
    if (!own) {
      return { positives, negatives }
    }
    const isSame = own.label === label
    addTo(isSame ? out.positive : out.negative, own.row, -1)
    return { positives: positives - Number(isSame), negatives: negatives - Number(!isSame) }
  }
}

function addTo(sum: Float64Array, row: Float64Array, factor: 1 | -1): void {
  for (let i = 0; i < sum.length; i++) {
    sum[i] += factor * row[i]
  }
}
