/** The rows of a group of heads that the test of rank needs, kept batch by batch while covariances accumulate. */

import type { Estimator, LabelSequence, RowTensor, TermBatch } from '../../backend/backend.js'
import { type UnitKey, unitKey } from '../../math/unit-hash.js'
import type { KeepPlan, KeepSizes } from './keep-plan.js'
import { RowStore, type StoredPiece } from './row-store.js'
import { type PlainRows, rowReader, type TermRows, termRows } from './term-rows.js'

/** Rows of explicit terms, each with its unit. */
export interface KeptTerms extends TermRows {
  kind: 'terms'
  /** Index into `unitIds`, [rows]. */
  unit: Int32Array
  unitIds: string[]
}

/** Rows of label sequences, and the sequences over them. */
export interface KeptLabels extends PlainRows {
  kind: 'labels'
  sequences: LabelSequence[]
  /** Of each sequence. */
  unitIds: string[]
}

/** What a batch gives to a group of heads. */
export interface KeptBatch {
  q: RowTensor
  k: RowTensor
  terms?: TermBatch
  termUnits: readonly string[]
  labels: readonly LabelSequence[]
  labelUnits: readonly string[]
}

type Piece = Omit<TermRows, 'q' | 'k' | 'heads' | 'kvHeads' | 'headDim'> & {
  q: StoredPiece
  k: StoredPiece
  units: string[]
}

interface ContrastPieces {
  terms: Piece[]
  labels: {
    q: StoredPiece[]
    k: StoredPiece[]
    queries: number
    keys: number
    sequences: LabelSequence[]
    units: string[]
  }
}

export class KeptRows {
  readonly #pieces: ContrastPieces[]
  readonly #store: RowStore
  readonly #known = new Map<string, UnitKey>()
  readonly #pairs: [number, number][]

  /** `counterfactual`: of each contrast. */
  constructor(
    private readonly sizes: KeepSizes,
    private readonly estimator: Estimator,
    private readonly counterfactual: readonly boolean[],
    private readonly plan: KeepPlan,
  ) {
    this.#store = new RowStore(plan.folder)
    this.#pairs = counterfactual.map(() => [0, 0])
    this.#pieces = counterfactual.map(() => ({
      terms: [],
      labels: { q: [], k: [], queries: 0, keys: 0, sequences: [], units: [] },
    }))
  }

  /** Part of the units that is kept. */
  get fraction(): number {
    return this.plan.fraction
  }

  /** Errors: ERR_FILE. */
  async add(batch: KeptBatch): Promise<void> {
    const { terms, termUnits } = batch
    if (terms) {
      this.#countPairs(terms)
      for (let c = 0; c < this.#pieces.length; c++) {
        const chosen = [...terms.contrast.keys()].filter(
          (t) => terms.contrast[t] === c && this.#keeps(termUnits[t]),
        )
        if (chosen.length > 0) await this.#addTerms(batch, terms, chosen, c)
      }
    }
    for (const [i, sequence] of batch.labels.entries()) {
      if (this.#keeps(batch.labelUnits[i])) await this.#addLabels(batch, sequence, batch.labelUnits[i])
    }
  }

  /** Pairs of a query and a key on the positive and on the negative side of a contrast, of all units. */
  pairs(contrast: number): readonly [number, number] {
    return this.#pairs[contrast]
  }

  /** Units of a contrast, each once, and its label sequences where it has such; without reading rows. */
  units(contrast: number): {
    ids: string[]
    sequences?: readonly LabelSequence[]
    sequenceIds?: readonly string[]
  } {
    const { terms, labels } = this.#pieces[contrast]
    if (labels.sequences.length === 0) return { ids: [...new Set(terms.flatMap(({ units }) => units))] }
    return { ids: [...new Set(labels.units)], sequences: labels.sequences, sequenceIds: labels.units }
  }

  /** All rows of a contrast; undefined where it has none. */
  async read(contrast: number): Promise<KeptTerms | KeptLabels | undefined> {
    const { terms, labels } = this.#pieces[contrast]
    if (terms.length > 0) return this.#readTerms(terms)
    if (labels.sequences.length === 0) return undefined
    return {
      kind: 'labels',
      ...this.sizes,
      estimator: this.estimator,
      q: await this.#store.read(labels.q),
      k: await this.#store.read(labels.k),
      sequences: labels.sequences,
      unitIds: labels.units,
    }
  }

  /** Frees memory and file. */
  dispose(): void {
    this.#store.dispose()
    for (const pieces of this.#pieces) {
      pieces.terms = []
      pieces.labels = { q: [], k: [], queries: 0, keys: 0, sequences: [], units: [] }
    }
  }

  async #addTerms(
    { q, k, termUnits }: KeptBatch,
    terms: TermBatch,
    chosen: number[],
    contrast: number,
  ): Promise<void> {
    const rows = termRows(q, k, terms, chosen, this.estimator, this.counterfactual[contrast])
    const { term, side, keys, weight } = rows
    this.#pieces[contrast].terms.push({
      rows: rows.rows,
      term,
      side,
      keys,
      weight,
      units: Array.from(term, (t) => termUnits[t]),
      q: await this.#store.append(rows.q),
      k: await this.#store.append(rows.k),
    })
  }

  async #addLabels({ q, k }: KeptBatch, sequence: LabelSequence, unit: string): Promise<void> {
    const { labels } = this.#pieces[sequence.contrast]
    const { queryRows, keyRows } = sequence
    labels.sequences.push({
      ...sequence,
      contrast: 0,
      queryRows: queryRows.map((_, i) => labels.queries + i),
      keyRows: keyRows.map((_, i) => labels.keys + i),
    })
    labels.units.push(unit)
    labels.queries += queryRows.length
    labels.keys += keyRows.length
    labels.q.push(await this.#store.append(gathered(q, queryRows)))
    labels.k.push(await this.#store.append(gathered(k, keyRows)))
  }

  async #readTerms(pieces: readonly Piece[]): Promise<KeptTerms> {
    const rows = pieces.reduce((sum, piece) => sum + piece.rows, 0)
    const unitIds = [...new Set(pieces.flatMap(({ units }) => units))]
    const index = new Map(unitIds.map((id, i) => [id, i]))
    const out: KeptTerms = {
      kind: 'terms',
      ...this.sizes,
      rows,
      q: await this.#store.read(pieces.map(({ q }) => q)),
      k: await this.#store.read(pieces.map(({ k }) => k)),
      term: new Int32Array(rows),
      side: new Int8Array(rows),
      keys: new Float64Array(rows),
      weight: new Float64Array(rows),
      unit: new Int32Array(rows),
      unitIds,
    }
    let at = 0
    for (const piece of pieces) {
      for (const name of ['term', 'side', 'keys', 'weight'] as const) out[name].set(piece[name], at)
      out.unit.set(
        piece.units.map((id) => index.get(id)!),
        at,
      )
      at += piece.rows
    }
    return out
  }

  #countPairs({ contrast, posOffsets, negOffsets, weights }: TermBatch): void {
    contrast.forEach((c, t) => {
      const weight = weights?.[t] ?? 1
      this.#pairs[c][0] += weight * (posOffsets[t + 1] - posOffsets[t])
      this.#pairs[c][1] += weight * (negOffsets[t + 1] - negOffsets[t])
    })
  }

  #keeps(unit: string): boolean {
    if (this.plan.fraction === 1) return true
    let key = this.#known.get(unit)
    if (!key) {
      key = unitKey(unit)
      this.#known.set(unit, key)
    }
    return this.plan.keeps(key)
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
