/**
 * An index of the kept rows: their units, sides and label sequences. All groups of heads share one index, and each
 * group stores only its values.
 */

import type { Estimator, LabelSequence, TermBatch } from '../../backend/backend.js'
import { type UnitKey, unitKey } from '../../math/unit-hash.js'
import { rowsOfTerm } from './term-rows.js'

/** The kept terms of one contrast in one batch. */
export interface TermPiece {
  /** Number of the batch. */
  batch: number
  /** Indices of the kept terms in the batch. */
  chosen: Int32Array
  /** Unit of each row, as an index into `unitIds`. */
  unit: Int32Array
  rows: number
  /** Total weight of the keys in each row's sum. Absent if rows are means. */
  keys?: Float64Array
}

export interface ContrastIndex {
  pieces: TermPiece[]
  /** Label sequences; their rows are numbered over all kept sequences. */
  sequences: LabelSequence[]
  sequenceIds: string[]
  /** Batch number of each sequence. */
  sequenceBatches: number[]
  queries: number
  labelKeys: number
  /** Number of pairs of a query and a key, for each side, over all units, kept or not. */
  pairs: [number, number]
}

/** One batch, as input to the index. */
export interface IndexedBatch {
  /** Number of the batch. */
  index: number
  terms?: TermBatch
  termUnits: readonly string[]
  labels: readonly LabelSequence[]
  labelUnits: readonly string[]
}

/** The kept part of a batch: pieces by contrast, and label sequences by their index in the batch. */
export interface KeptPart {
  pieces: Map<number, TermPiece>
  labels: number[]
}

export class RowIndex {
  readonly contrasts: ContrastIndex[]
  /** Ids of units, by index. */
  readonly unitIds: string[] = []
  readonly #indices = new Map<string, number>()
  readonly #keys: UnitKey[] = []
  #last: { batch: number; part: KeptPart } | undefined

  /** `counterfactual`: one flag per contrast. `keeps`: whether a unit is kept. */
  constructor(
    readonly estimator: Estimator,
    readonly counterfactual: readonly boolean[],
    private readonly keeps: (unit: UnitKey) => boolean,
  ) {
    this.contrasts = counterfactual.map(() => ({
      pieces: [],
      sequences: [],
      sequenceIds: [],
      sequenceBatches: [],
      queries: 0,
      labelKeys: 0,
      pairs: [0, 0],
    }))
  }

  /** Adds a batch the first time that it is seen; all groups of heads pass the same batches. */
  enter(batch: IndexedBatch): KeptPart {
    if (this.#last?.batch === batch.index) {
      return this.#last.part
    }
    const part: KeptPart = { pieces: new Map(), labels: [] }
    this.#last = { batch: batch.index, part }
    if (batch.terms) {
      this.#enterTerms(batch.index, batch.terms, batch.termUnits, part)
    }
    batch.labels.forEach((sequence, i) => {
      if (!this.#keeps(this.#unit(batch.labelUnits[i]))) {
        return
      }
      part.labels.push(i)
      this.enterSequence(sequence, batch.labelUnits[i], batch.index)
    })
    return part
  }

  /** Adds terms that were kept earlier. The units of the piece are indices into `unitIds`. */
  enterPiece(contrast: number, piece: Omit<TermPiece, 'chosen'>, unitIds: readonly string[]): void {
    const unit = piece.unit.map((u) => this.#unit(unitIds[u]))
    this.contrasts[contrast].pieces.push({ ...piece, unit, chosen: new Int32Array() })
  }

  #enterTerms(index: number, terms: TermBatch, units: readonly string[], part: KeptPart): void {
    const { contrast, posOffsets, negOffsets, weights } = terms
    const chosen = new Map<number, number[]>()
    contrast.forEach((c, t) => {
      const { pairs } = this.contrasts[c]
      pairs[0] += (weights?.[t] ?? 1) * (posOffsets[t + 1] - posOffsets[t])
      pairs[1] += (weights?.[t] ?? 1) * (negOffsets[t + 1] - negOffsets[t])
      if (!this.#keeps(this.#unit(units[t]))) {
        return
      }
      const list = chosen.get(c) ?? []
      list.push(t)
      chosen.set(c, list)
    })
    for (const [c, list] of chosen) {
      const each = rowsOfTerm(this.estimator, this.counterfactual[c])
      const rows = list.length * each
      const piece: TermPiece = {
        batch: index,
        chosen: Int32Array.from(list),
        unit: Int32Array.from({ length: rows }, (_, row) => this.#unit(units[list[Math.floor(row / each)]])),
        rows,
      }
      if (this.estimator !== 'per-query') {
        piece.keys = Float64Array.from({ length: rows }, (_, row) => {
          const t = list[Math.floor(row / each)]
          const offsets = row % each === 0 ? posOffsets : negOffsets
          return offsets[t + 1] - offsets[t]
        })
      }
      part.pieces.set(c, piece)
      this.contrasts[c].pieces.push(piece)
    }
  }

  /** Adds a label sequence. Its rows are numbered after the existing ones. */
  enterSequence(sequence: LabelSequence, unit: string, batch: number): void {
    const index = this.contrasts[sequence.contrast]
    const { queryRows, keyRows } = sequence
    index.sequences.push({
      ...sequence,
      contrast: 0,
      queryRows: queryRows.map((_, i) => index.queries + i),
      keyRows: keyRows.map((_, i) => index.labelKeys + i),
    })
    index.sequenceIds.push(unit)
    index.sequenceBatches.push(batch)
    index.queries += queryRows.length
    index.labelKeys += keyRows.length
  }

  #unit(id: string): number {
    const known = this.#indices.get(id)
    if (known !== undefined) {
      return known
    }
    const index = this.unitIds.push(id) - 1
    this.#indices.set(id, index)
    this.#keys.push(unitKey(id))
    return index
  }

  #keeps(unit: number): boolean {
    return this.keeps(this.#keys[unit])
  }
}
