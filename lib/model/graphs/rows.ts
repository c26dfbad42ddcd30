/** Gathers rows of captured tensors in place. */

import { TO_THE_END } from '../fused/fused-operator.js'
import type { GraphEditor } from '../onnx/graph-editor.js'
import type { Axis } from '../sites/axes.js'
import type { OtherRows, ProductAxis, Side } from '../sites/site.js'

/** Requested heads of one side: their indices along the head axis, and the size of that axis. */
export interface Heads {
  count: number
  chosen: readonly number[]
}

/**
 * Gathers rows in place, for any order of axes. Every (row, head) has an index, so only the requested data is moved.
 * A transposition would move every position of every layer.
 */
export function rowGatherer(editor: GraphEditor) {
  const indices = new Map<string, string>()
  return (side: Side, heads: Heads, rows: string, output?: string): string => {
    let { tensor, axes } = side
    if (axes.at(-1) !== 'dim') {
      const perm = [...axes.keys()].filter((i) => axes[i] !== 'dim')
      perm.push(axes.indexOf('dim'))
      tensor = editor.node('Transpose', [tensor], { perm })
      axes = perm.map((i) => axes[i])
    }
    const leading = axes.slice(0, -1)
    const { groups } = side
    const key = JSON.stringify([rows, leading, groups, heads, side.others])
    let index = indices.get(key)
    if (!index) {
      const column: Partial<Record<Axis, number>> = { batch: 0, fold: 0, pos: 1 }
      const columns = leading.map((axis) => column[axis] ?? 2)
      const place: Partial<Record<Axis, (head: number) => number>> = {
        head: (head) => Math.floor(head / groups),
        group: (head) => head % groups,
        fold: (head) => head,
        pos: () => side.others.before,
      }
      const perHead = heads.chosen.flatMap((head) => leading.map((axis) => place[axis]?.(head) ?? 0))
      const picked = editor.node('Gather', [rows, editor.int64Constant(columns)], { axis: 1 })
      const perRow = timesHeads(editor, picked, leading, heads.count)
      const wide = editor.node('Reshape', [perRow, editor.int64Constant([-1, 1, leading.length])])
      const offsets = editor.int64Constant(perHead, [1, heads.chosen.length, leading.length])
      index = editor.node('Add', [wide, offsets])
      indices.set(key, index)
    }
    return editor.node('GatherND', [tensor, index], {}, output)
  }
}

/** Indices into an axis that folds batch and heads: the batch index times `heads`. [n, axes] -> [n, axes] */
export function timesHeads(
  editor: GraphEditor,
  indices: string,
  axes: readonly (Axis | ProductAxis)[],
  heads: number,
): string {
  if (!axes.includes('fold')) {
    return indices
  }
  const factors = axes.map((axis) => (axis === 'fold' ? heads : 1))
  return editor.node('Mul', [indices, editor.int64Constant(factors)])
}

/** The rows of the tokens along an axis. */
export function withoutOthers(
  editor: GraphEditor,
  tensor: string,
  axis: number,
  { before, after }: OtherRows,
): string {
  if (before === 0 && after === 0) {
    return tensor
  }
  const bounds = [before, after > 0 ? -after : TO_THE_END, axis]
  return editor.node('Slice', [tensor, ...bounds.map((bound) => editor.int64Constant([bound]))])
}
