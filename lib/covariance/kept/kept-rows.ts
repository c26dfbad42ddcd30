/** The rows of a group of heads for the rank test, stored batch by batch while covariances accumulate. */

import type { LabelSequence, RowTensor } from '../../backend/backend.js'
import { QkError } from '../../errors.js'
import type { KeepSizes } from './keep-plan.js'
import type { ContrastIndex, IndexedBatch, RowIndex } from './row-index.js'
import { RowStore, type StoredPiece } from './row-store.js'
import { type PlainRows, rowReader, rowsOfTerm, type TermRows, termRows } from './term-rows.js'

/** Rows of explicit terms, each with its unit. */
export interface KeptTerms extends Omit<TermRows, 'term'> {
  kind: 'terms'
  /** Index into `unitIds`, [rows]. */
  unit: Int32Array
  unitIds: readonly string[]
}

/** Rows of label sequences, and the sequences over them. */
export interface KeptLabels extends PlainRows {
  kind: 'labels'
  sequences: readonly LabelSequence[]
  /** Unit of each sequence. */
  unitIds: readonly string[]
}

/** Contribution of a batch to a group of heads. */
export interface KeptBatch extends IndexedBatch {
  q: RowTensor
  k: RowTensor
}

/** Pieces of queries and keys: one of each for every piece, or every label sequence, of the index. */
export interface StoredRows {
  q: StoredPiece[]
  k: StoredPiece[]
}

export class KeptRows {
  readonly #terms: StoredRows[]
  readonly #labels: StoredRows[]
  readonly #store: RowStore
  #disposed = false

  /**
   * `folder` is that of a temporary file; undefined for memory. All groups of heads share the index. In cross
   * attention (`cross`) the key scope of a query is all keys, since its position is on another axis.
   */
  constructor(
    readonly sizes: KeepSizes,
    readonly index: RowIndex,
    folder: string | undefined,
    private readonly cross = false,
  ) {
    this.#store = new RowStore(folder)
    this.#terms = index.contrasts.map(() => ({ q: [], k: [] }))
    this.#labels = index.contrasts.map(() => ({ q: [], k: [] }))
  }

  /** Errors: ERR_FILE. */
  async add(batch: KeptBatch): Promise<void> {
    const { q, k, terms } = batch
    const { estimator, counterfactual } = this.index
    const { pieces, labels } = this.index.enter(batch)
    for (const [contrast, { chosen }] of pieces) {
      const rows = await termRows(q, k, terms!, chosen, estimator, counterfactual[contrast])
      await this.#keep(this.#terms[contrast], rows.q, rows.k)
    }
    for (const i of labels) {
      const { contrast, queryRows, keyRows } = batch.labels[i]
      await this.#keep(this.#labels[contrast], gathered(q, queryRows), gathered(k, keyRows))
    }
  }

  /** Whether the contrast has units, and its label sequences if it has any. Reads no rows. */
  contrast(
    contrast: number,
  ): Pick<ContrastIndex, 'sequences' | 'sequenceIds' | 'pairs'> & { units: string[] } {
    const { pieces, sequenceIds, pairs } = this.index.contrasts[contrast]
    const sequences = this.#sequences(contrast)
    const units = new Set<number>()
    for (const { unit } of pieces) {
      for (const i of unit) {
        units.add(i)
      }
    }
    const ids =
      sequences.length > 0 ? [...new Set(sequenceIds)] : Array.from(units, (i) => this.index.unitIds[i])
    return { sequences, sequenceIds, pairs, units: ids }
  }

  /** Where the rows of a contrast are stored, in the order in which they were added. Saved rows may replace them. */
  stored(contrast: number, kind: 'terms' | 'labels'): StoredRows {
    return kind === 'terms' ? this.#terms[contrast] : this.#labels[contrast]
  }

  /** The values of some pieces. Errors: ERR_FILE. */
  readPieces(pieces: readonly StoredPiece[]): Promise<Float32Array> {
    return this.#store.read(pieces)
  }

  /** All rows of a contrast. */
  async read(contrast: number): Promise<KeptTerms | KeptLabels> {
    if (this.#disposed) {
      throw new QkError('ERR_ARGUMENT', 'the sums have been disposed of')
    }
    const { sequences } = this.index.contrasts[contrast]
    return sequences.length > 0 ? this.#readLabels(contrast) : this.#readTerms(contrast)
  }

  /** Frees memory and file. */
  dispose(): void {
    this.#disposed = true
    this.#store.dispose()
    for (const stored of [...this.#terms, ...this.#labels]) {
      stored.q = []
      stored.k = []
    }
  }

  #sequences(contrast: number): LabelSequence[] {
    return this.index.contrasts[contrast].sequences.map((sequence) => {
      return this.cross && sequence.keyScope === 'others' ? { ...sequence, keyScope: 'all' } : sequence
    })
  }

  async #keep(stored: StoredRows, q: Float32Array, k: Float32Array): Promise<void> {
    stored.q.push(await this.#store.append(q))
    stored.k.push(await this.#store.append(k))
  }

  async #readLabels(contrast: number): Promise<KeptLabels> {
    const { sequenceIds } = this.index.contrasts[contrast]
    const stored = this.#labels[contrast]
    return {
      kind: 'labels',
      ...this.sizes,
      estimator: this.index.estimator,
      q: await this.#store.read(stored.q),
      k: await this.#store.read(stored.k),
      sequences: this.#sequences(contrast),
      unitIds: sequenceIds,
    }
  }

  async #readTerms(contrast: number): Promise<KeptTerms> {
    const { estimator, counterfactual, contrasts, unitIds } = this.index
    const { pieces } = contrasts[contrast]
    const stored = this.#terms[contrast]
    const rows = pieces.reduce((sum, piece) => sum + piece.rows, 0)
    const each = rowsOfTerm(estimator, counterfactual[contrast])
    const unit = new Int32Array(rows)
    const keys = new Float64Array(rows).fill(1)
    let at = 0
    for (const piece of pieces) {
      unit.set(piece.unit, at)
      if (piece.keys) {
        keys.set(piece.keys, at)
      }
      at += piece.rows
    }
    return {
      kind: 'terms',
      ...this.sizes,
      rows,
      q: await this.#store.read(stored.q),
      k: await this.#store.read(stored.k),
      side: Int8Array.from({ length: rows }, (_, row) => (each === 1 ? 0 : row % 2 === 0 ? 1 : -1)),
      keys,
      weight: new Float64Array(rows).fill(1),
      unit,
      unitIds,
    }
  }
}

function gathered(tensor: RowTensor, rows: Int32Array): Float32Array {
  const [, , heads, d] = tensor.shape
  const out = new Float32Array(rows.length * heads * d)
  const read = rowReader(tensor)
  rows.forEach((row, i) => {
    read(row, out, i * heads * d)
  })
  return out
}
