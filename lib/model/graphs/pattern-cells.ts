/** Single entries of scores and of attention patterns, whatever the order of their axes. */

import type { GraphEditor } from '../onnx/graph-editor.js'
import { ElementType } from '../onnx/node-writer.js'
import type { OtherRows, ProductAxis, ResolvedSite } from '../sites/site.js'
import { timesHeads, withoutOthers } from './rows.js'

/** Input of the capture graph, int64 [n, 4]: batch, query position, key position, 0. */
export const ATTENTION_CELLS = 'qkspace.attention_cells'

/**
 * Indices into a tensor with the axes of scores, [cells, heads, axes]; `axes` may omit some at the end. `cells` are
 * int64 [n, 4]: batch, query position, key position, 0. `keysBefore` is the number of columns before the first
 * token's key.
 */
export function cellIndex(
  editor: GraphEditor,
  site: ResolvedSite,
  heads: readonly number[],
  cells: string,
  axes: readonly ProductAxis[],
  keysBefore = 0,
): string {
  const column: Partial<Record<ProductAxis, number>> = { batch: 0, fold: 0, queryPos: 1, keyPos: 2 }
  const groups = axes.includes('group') ? site.productGroups : 1
  const perCell = editor.node(
    'Gather',
    [cells, editor.int64Constant(axes.map((axis) => column[axis] ?? 3))],
    { axis: 1 },
  )
  const placed = timesHeads(editor, perCell, axes, site.heads)
  const wide = editor.node('Reshape', [placed, editor.int64Constant([-1, 1, axes.length])])
  const place: Partial<Record<ProductAxis, (head: number) => number>> = {
    head: (h) => Math.floor(h / groups),
    group: (h) => h % groups,
    fold: (h) => h,
    queryPos: () => site.query.others.before,
    keyPos: () => keysBefore,
  }
  const perHead = heads.flatMap((h) => axes.map((axis) => place[axis]?.(h) ?? 0))
  return editor.node('Add', [wide, editor.int64Constant(perHead, [1, heads.length, axes.length])])
}

/** A tensor with the axes of scores. */
export interface ScoreTensor {
  tensor: string
  axes: readonly ProductAxis[]
}

/**
 * Moves the keys of a tensor to the last axis and keeps only those of tokens. `sinks` and other rows around them are
 * cut off.
 */
export function tokenKeys(
  editor: GraphEditor,
  { key }: ResolvedSite,
  { tensor, axes }: ScoreTensor,
  sinks: OtherRows,
): ScoreTensor {
  let [found, own] = [tensor, [...axes]]
  const keyAxis = own.indexOf('keyPos')
  if (keyAxis !== own.length - 1) {
    const perm = [...own.keys()].filter((i) => i !== keyAxis)
    perm.push(keyAxis)
    found = editor.node('Transpose', [found], { perm })
    own = perm.map((i) => own[i])
  }
  const others = { before: sinks.before + key.others.before, after: sinks.after + key.others.after }
  return { tensor: withoutOthers(editor, found, own.length - 1, others), axes: own }
}

/** The softmax's output with keys as the last axis, only those of tokens. */
export function tokenPattern(
  editor: GraphEditor,
  site: ResolvedSite,
  patternAxes: readonly ProductAxis[],
): ScoreTensor {
  const tensor = site.candidate.fused?.pattern ?? site.candidate.softmax.output[0]
  return tokenKeys(editor, site, { tensor, axes: patternAxes }, site.sinks)
}

/**
 * Rows of a tensor with keys as the last axis, [rows, heads, keys]; `rows` are int64 [n, 3]: batch, query position,
 * 0.
 */
export function tokenRows(
  editor: GraphEditor,
  site: ResolvedSite,
  heads: readonly number[],
  { tensor, axes }: ScoreTensor,
  rows: string,
): string {
  // The same columns as in a cell's index, without the key.
  const cells = editor.node('Gather', [rows, editor.int64Constant([0, 1, 2, 2])], { axis: 1 })
  return editor.node('GatherND', [tensor, cellIndex(editor, site, heads, cells, axes.slice(0, -1))])
}

/**
 * Attention at the cells of `ATTENTION_CELLS`, float [cells, heads]. It is gathered in place, so that the pattern is
 * neither moved nor copied. Undefined if the axes of the pattern could not be followed.
 */
export function attentionCells(
  editor: GraphEditor,
  site: ResolvedSite,
  heads: readonly number[],
  output: string,
): string | undefined {
  const { candidate, key, sinks, patternAxes } = site
  if (!patternAxes) {
    return undefined
  }
  const pattern = candidate.fused?.pattern ?? candidate.softmax.output[0]
  const before = sinks.before + key.others.before
  const index = cellIndex(editor, site, heads, ATTENTION_CELLS, patternAxes, before)
  return editor.node('Cast', [editor.node('GatherND', [pattern, index])], { to: ElementType.float }, output)
}
