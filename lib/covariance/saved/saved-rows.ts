/**
 * Rows that the test of rank needs as tensors. With g the place of a group of heads over all sites, and c that of a contrast:
 *
 *   units          U8   JSON list of the ids that `unit` columns count into
 *   c<c>.pieces    I32  [pieces, 2]: batch, rows
 *   c<c>.unit      I32  [rows], c<c>.keys F64 [rows] unless rows are means
 *   c<c>.sequences I32  [sequences, 5]: batch, unit, key scope, queries, keys
 *   c<c>.queries   I32  [2, queries]: positions, labels; c<c>.labelKeys likewise
 *   g<g>.c<c>.terms.q, .k and .labels.q, .k  F32, the rows of the pieces and of the sequences
 */

import type { KeyScope, LabelSequence } from '../../backend/backend.js'
import { bytesOf, type PiecewiseTensor } from '../../store/safetensors.js'
import { type CheckedFile, wholeTensor } from '../../store/saving/checked-tensors.js'
import type { KeptRows, StoredRows } from '../kept/kept-rows.js'
import type { RowIndex } from '../kept/row-index.js'
import type { SavedRows, StoredPiece } from '../kept/row-store.js'
import { groupsOf, type Sums } from '../sums.js'
import { joined, rowIndexOf } from './saved-moments.js'

const SCOPES: readonly KeyScope[] = ['before', 'others', 'all']
const KINDS = ['terms', 'labels'] as const

/** How many pieces and label sequences of each contrast lie in earlier files. */
export interface RowMark {
  pieces: number[]
  sequences: number[]
}

/** Where the next file of rows begins. */
export function rowMark(sums: Sums): RowMark {
  const contrasts = rowIndexOf(sums)?.contrasts ?? []
  return {
    pieces: contrasts.map(({ pieces }) => pieces.length),
    sequences: contrasts.map(({ sequences }) => sequences.length),
  }
}

/** Before the first row. */
export function noRows(sums: Sums): RowMark {
  return { pieces: sums.contrasts.map(() => 0), sequences: sums.contrasts.map(() => 0) }
}

/** Tensors of the rows that were kept since `from`. */
export function rowTensors(sums: Sums, from: RowMark): PiecewiseTensor[] {
  const index = rowIndexOf(sums)
  if (!index) {
    return []
  }
  const units = new UnitTable(index)
  const described = index.contrasts.flatMap((_, c) => [
    ...pieceTensors(index, c, from.pieces[c], units),
    ...sequenceTensors(index, c, from.sequences[c], units),
  ])
  const numbers = groupsOf(sums).flatMap(({ kept }, g) =>
    index.contrasts.flatMap((_, c) =>
      KINDS.flatMap((kind) => {
        const begin = kind === 'terms' ? from.pieces[c] : from.sequences[c]
        return (['q', 'k'] as const).flatMap((side) => {
          const pieces = kept!.stored(c, kind)[side].slice(begin)
          return pieces.length > 0 ? [storedTensor(`g${g}.c${c}.${kind}.${side}`, kept!, pieces)] : []
        })
      }),
    ),
  )
  return [wholeTensor('units', Buffer.from(JSON.stringify(units.ids))), ...described, ...numbers]
}

/** Ids of the units of one file. */
class UnitTable {
  readonly ids: string[] = []
  readonly #places = new Map<string, number>()

  constructor(private readonly index: RowIndex) {}

  of(unit: number): number {
    return this.named(this.index.unitIds[unit])
  }

  named(id: string): number {
    const known = this.#places.get(id)
    if (known !== undefined) {
      return known
    }
    this.#places.set(id, this.ids.length)
    return this.ids.push(id) - 1
  }
}

function pieceTensors(index: RowIndex, c: number, from: number, units: UnitTable): PiecewiseTensor[] {
  const pieces = index.contrasts[c].pieces.slice(from)
  if (pieces.length === 0) {
    return []
  }
  const keys = pieces.map((piece) => piece.keys)
  return [
    wholeTensor(`c${c}.pieces`, Int32Array.from(pieces.flatMap(({ batch, rows }) => [batch, rows])), [
      pieces.length,
      2,
    ]),
    wholeTensor(
      `c${c}.unit`,
      Int32Array.from(pieces.flatMap(({ unit }) => Array.from(unit, (u) => units.of(u)))),
    ),
    ...(keys[0] ? [wholeTensor(`c${c}.keys`, joined(keys as Float64Array[]))] : []),
  ]
}

function sequenceTensors(index: RowIndex, c: number, from: number, units: UnitTable): PiecewiseTensor[] {
  const { sequences, sequenceIds, sequenceBatches } = index.contrasts[c]
  const own = sequences.slice(from)
  if (own.length === 0) {
    return []
  }
  const rows = own.map(({ keyScope, queryRows, keyRows }, i) => [
    sequenceBatches[from + i],
    units.named(sequenceIds[from + i]),
    SCOPES.indexOf(keyScope),
    queryRows.length,
    keyRows.length,
  ])
  const both = (positions: 'queryPositions' | 'keyPositions', labels: 'queryLabels' | 'keyLabels') =>
    Int32Array.from([
      ...own.flatMap((sequence) => Array.from(sequence[positions])),
      ...own.flatMap((sequence) => Array.from(sequence[labels])),
    ])
  return [
    wholeTensor(`c${c}.sequences`, Int32Array.from(rows.flat()), [own.length, 5]),
    wholeTensor(`c${c}.queries`, both('queryPositions', 'queryLabels')),
    wholeTensor(`c${c}.labelKeys`, both('keyPositions', 'keyLabels')),
  ]
}

function storedTensor(name: string, kept: KeptRows, stored: readonly StoredPiece[]): PiecewiseTensor {
  async function* pieces() {
    for (const together of readTogether(stored)) {
      yield bytesOf(await kept.readPieces(together))
    }
  }
  return { name, dtype: 'F32', shape: [stored.reduce((sum, { length }) => sum + length, 0)], pieces }
}

/** Runs of pieces that lie in one saved tensor, which is read as a whole; other pieces one by one. */
function* readTogether(stored: readonly StoredPiece[]): Generator<StoredPiece[]> {
  let run: StoredPiece[] = []
  for (const piece of stored) {
    if (run.length > 0 && (piece.saved === undefined || piece.saved !== run[0].saved)) {
      yield run
      run = []
    }
    run.push(piece)
  }
  if (run.length > 0) {
    yield run
  }
}

/** Rows of one batch in a file, with what it takes to enter them. */
interface SavedPiece {
  batch: number
  enter(): void
}

/**
 * Enters the rows of files, in the order of their batches, whichever file they are in. Their numbers stay there, and are
 * read when they are needed. Errors: ERR_FORMAT, ERR_FILE.
 */
export async function enterSavedRows(sums: Sums, files: readonly CheckedFile[]): Promise<void> {
  const index = rowIndexOf(sums)
  if (!index) {
    return
  }
  const found: SavedPiece[][] = []
  for (const file of files) {
    const unitIds = JSON.parse(Buffer.from(await file.read('units', 'U8')).toString()) as string[]
    for (const c of index.contrasts.keys()) {
      const from = { sums, index, file, c, unitIds }
      found.push(await savedPieces(from), await savedSequences(from))
    }
  }
  for (const piece of found.flat().sort((a, b) => a.batch - b.batch)) {
    piece.enter()
  }
}

/** One contrast in a file of rows. */
interface SavedContrast {
  sums: Sums
  index: RowIndex
  file: CheckedFile
  c: number
  unitIds: readonly string[]
}

async function savedPieces({ sums, index, file, c, unitIds }: SavedContrast): Promise<SavedPiece[]> {
  if (!file.has(`c${c}.pieces`)) {
    return []
  }
  const table = new Int32Array(await file.read(`c${c}.pieces`, 'I32'))
  const unit = new Int32Array(await file.read(`c${c}.unit`, 'I32'))
  const keys = file.has(`c${c}.keys`) ? new Float64Array(await file.read(`c${c}.keys`, 'F64')) : undefined
  const places = groupsOf(sums).map(({ kept }, g) => new Places(kept!, file, `g${g}.c${c}.terms`))
  const found: SavedPiece[] = []
  for (let i = 0, at = 0; i < table.length; i += 2) {
    const [batch, rows] = [table[i], table[i + 1]]
    const [from, to] = [at, at + rows]
    at = to
    const own = {
      batch,
      rows,
      unit: unit.subarray(from, to),
      ...(keys && { keys: keys.subarray(from, to) }),
    }
    found.push({
      batch,
      enter: () => {
        index.enterPiece(c, own, unitIds)
        for (const place of places) {
          place.enter(c, 'terms', [from, rows], [from, rows])
        }
      },
    })
  }
  return found
}

async function savedSequences({ sums, index, file, c, unitIds }: SavedContrast): Promise<SavedPiece[]> {
  if (!file.has(`c${c}.sequences`)) {
    return []
  }
  const table = new Int32Array(await file.read(`c${c}.sequences`, 'I32'))
  const queries = new Int32Array(await file.read(`c${c}.queries`, 'I32'))
  const keys = new Int32Array(await file.read(`c${c}.labelKeys`, 'I32'))
  const places = groupsOf(sums).map(({ kept }, g) => new Places(kept!, file, `g${g}.c${c}.labels`))
  const found: SavedPiece[] = []
  let [query, key] = [0, 0]
  for (let i = 0; i < table.length; i += 5) {
    const [batch, unit, scope, queryCount, keyCount] = table.subarray(i, i + 5)
    const [firstQuery, firstKey] = [query, key]
    query += queryCount
    key += keyCount
    const part = (from: Int32Array, column: number, first: number, count: number) => {
      const begin = (column * from.length) / 2 + first
      return from.slice(begin, begin + count)
    }
    const sequence: LabelSequence = {
      contrast: c,
      keyScope: SCOPES[scope],
      queryRows: new Int32Array(queryCount),
      queryPositions: part(queries, 0, firstQuery, queryCount),
      queryLabels: part(queries, 1, firstQuery, queryCount),
      keyRows: new Int32Array(keyCount),
      keyPositions: part(keys, 0, firstKey, keyCount),
      keyLabels: part(keys, 1, firstKey, keyCount),
    }
    found.push({
      batch,
      enter: () => {
        index.enterSequence(sequence, unitIds[unit], batch)
        for (const place of places) {
          place.enter(c, 'labels', [firstQuery, queryCount], [firstKey, keyCount])
        }
      },
    })
  }
  return found
}

/** Rows of one group of heads and one contrast in a file. */
class Places {
  readonly #q: SavedRows
  readonly #k: SavedRows

  constructor(
    private readonly kept: KeptRows,
    file: CheckedFile,
    name: string,
  ) {
    this.#q = savedTensor(file, `${name}.q`)
    this.#k = savedTensor(file, `${name}.k`)
  }

  /** Rows [first, count] of queries and of keys. */
  enter(c: number, kind: 'terms' | 'labels', q: [number, number], k: [number, number]): void {
    const { heads, kvHeads, headDim } = this.kept.sizes
    const stored = this.kept.stored(c, kind)
    stored.q.push(pieceOf(this.#q, q, heads * headDim))
    stored.k.push(pieceOf(this.#k, k, kvHeads * headDim))
  }
}

function pieceOf(saved: SavedRows, [first, count]: [number, number], width: number): StoredPiece {
  return { saved, offset: first * width, length: count * width }
}

function savedTensor(file: CheckedFile, name: string): SavedRows {
  return { read: async () => new Float32Array(await file.read(name, 'F32')) }
}

/** Lets go of rows in memory that lie in a file now: those since `from`. */
export function releaseSavedRows(sums: Sums, file: CheckedFile, from: RowMark): void {
  for (const [g, { kept }] of groupsOf(sums).entries()) {
    if (!kept) {
      continue
    }
    for (const c of sums.contrasts.keys()) {
      for (const kind of KINDS) {
        const begin = kind === 'terms' ? from.pieces[c] : from.sequences[c]
        release(kept.stored(c, kind), begin, file, `g${g}.c${c}.${kind}`)
      }
    }
  }
}

function release(stored: StoredRows, begin: number, file: CheckedFile, name: string): void {
  for (const side of ['q', 'k'] as const) {
    const saved = savedTensor(file, `${name}.${side}`)
    let offset = 0
    for (let i = begin; i < stored[side].length; i++) {
      const { length } = stored[side][i]
      stored[side][i] = { saved, offset, length }
      offset += length
    }
  }
}
