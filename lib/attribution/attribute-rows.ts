/** Splits the scores of one head on a batch of captured terms. */

import type { CapturedPositions } from '../capture/terms/capture-term-runs.js'
import type { ChosenHead } from '../capture/terms/chosen-heads.js'
import type { TermRun } from '../capture/terms/term-runs.js'
import { QkError } from '../errors.js'
import type { WireTensor } from '../model/inference/session.js'
import { tensorValues } from '../model/inference/values.js'
import {
  type AttributionFeature,
  type AttributionSides,
  attributeArrays,
  type TableAttribution,
} from './attribute-arrays.js'
import type { SplitMethod } from './split.js'

/** As in `AttributeOptions`. */
export interface SplitSettings {
  method: SplitMethod
  sides: AttributionSides
  centered: boolean
  seed: number
}

/** The split scores of one head on a batch of terms, [rows, keys]. */
export interface AttributedRows {
  total: Float64Array
  rest: Float64Array
  parts: Record<string, Float64Array>
  table?: TableAttribution['table']
  explained: Float64Array
  mask: Uint8Array
  keys: number
}

/** All items of a batch for one head; `place` is its index among the captured heads. */
export function attributeRows(
  { site, head, name }: ChosenHead,
  features: readonly AttributionFeature[],
  items: readonly TermRun[],
  { q, k, factors }: CapturedPositions,
  place: number,
  { method, sides, centered, seed }: SplitSettings,
): AttributedRows {
  const [queries, keys] = [tensorValues(q), tensorValues(k)]
  const [, positions, heads, d] = q.dims
  const [, length, keyHeads] = k.dims
  const n = items.length
  const constant = site.factors.kind === 'constant' ? site.factors.byHead[head] : 1
  const factor = site.factors.kind === 'constant' ? undefined : factorReader(name, factors)
  const rows = new Float64Array(n * d)
  const columns = new Float64Array(n * length * d)
  const mask = new Uint8Array(n * length)
  items.forEach(({ run, query }, r) => {
    const qAt = ((r * positions + query) * heads + place) * d
    rows.set(queries.subarray(qAt, qAt + d), r * d)
    const own = run.kind === 'tokens' && !site.cross ? run.ids.length : length
    const visible = site.causal ? Math.min(own, query + 1) : own
    for (let j = 0; j < length; j++) {
      const kAt = ((r * length + j) * keyHeads + place) * d
      columns.set(keys.subarray(kAt, kAt + d), (r * length + j) * d)
      if (factor) scaleRow(columns, (r * length + j) * d, d, factor(r, place, query, j))
      mask[r * length + j] = Number(j < visible)
    }
  })
  const input = {
    q: { data: rows, shape: [n, d] },
    k: { data: columns, shape: [n, length, d] },
    ...{ scale: site.operandScale * constant, features, method, centered, mask, seed },
  }
  if (sides !== 'both') return { ...attributeArrays({ ...input, sides }), mask, keys: length }
  const found = attributeArrays({ ...input, sides })
  return { ...found, parts: queryParts(found.table, n * length), mask, keys: length }
}

/** Factors [runs, heads, queries, keys] of a head's scores. Errors: ERR_UNSUPPORTED_MODEL. */
function factorReader(name: string, factors: WireTensor | undefined) {
  if (!factors) {
    throw new QkError(
      'ERR_UNSUPPORTED_MODEL',
      `the factors of the scores of ${name} could not be followed from product to softmax`,
      { hint: 'Leave the head out; its subspaces are those of q·k without the factors.' },
    )
  }
  const values = tensorValues(factors)
  const [, heads, queries, keys] = factors.dims
  return (run: number, head: number, query: number, key: number): number =>
    values[((run * heads + head) * queries + query) * keys + key]
}

function scaleRow(rows: Float64Array, from: number, d: number, factor: number): void {
  for (let i = from; i < from + d; i++) rows[i] *= factor
}

/** Each query feature's part over all key features: the table's row sums. */
function queryParts({ names, parts }: TableAttribution['table'], cell: number): Record<string, Float64Array> {
  const count = names.length
  return Object.fromEntries(
    names.slice(0, -1).map((name, f) => {
      const sum = new Float64Array(cell)
      for (let g = 0; g < count; g++) {
        const from = (f * count + g) * cell
        for (let i = 0; i < cell; i++) sum[i] += parts[from + i]
      }
      return [name, sum]
    }),
  )
}
