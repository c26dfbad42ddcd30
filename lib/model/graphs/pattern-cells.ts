/** Single entries of scores and of attention patterns, whatever the order of their axes. */

import type { GraphEditor } from '../onnx/graph-editor.js'
import { ElementType } from '../onnx/node-writer.js'
import type { ProductAxis, ResolvedSite } from '../sites/site.js'
import { timesHeads, withoutOthers } from './rows.js'

/** Input of the capture graph, int64 [n, 4]: batch, query position, key position, 0. */
export const ATTENTION_CELLS = 'qkspace.attention_cells'

/**
 * Indices into a tensor with the axes of scores, [cells, heads, axes]; `axes` may leave some out at the end. `cells` are
 * int64 [n, 4]: batch, query position, key position, 0. `keysBefore`: columns before that of the first token's key.
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

/** The softmax's output with its keys as the last axis, those of the tokens alone. */
export function tokenPattern(
  editor: GraphEditor,
  { candidate, key, sinks }: ResolvedSite,
  patternAxes: readonly ProductAxis[],
): { tensor: string; axes: ProductAxis[] } {
  let tensor = candidate.fused?.pattern ?? candidate.softmax.output[0]
  let axes = [...patternAxes]
  const keyAxis = axes.indexOf('keyPos')
  if (keyAxis !== axes.length - 1) {
    const perm = [...axes.keys()].filter((i) => i !== keyAxis)
    perm.push(keyAxis)
    tensor = editor.node('Transpose', [tensor], { perm })
    axes = perm.map((i) => axes[i])
  }
  tensor = withoutOthers(editor, tensor, axes.length - 1, {
    before: sinks.before + key.others.before,
    after: sinks.after + key.others.after,
  })
  return { tensor, axes }
}

/**
 * Attention at the cells that `ATTENTION_CELLS` names, float [cells, heads]. Gathered where the pattern lies, so that it is
 * neither moved nor copied. Undefined where the axes of the pattern could not be followed.
 */
export function attentionCells(
  editor: GraphEditor,
  site: ResolvedSite,
  heads: readonly number[],
  output: string,
): string | undefined {
  const { candidate, key, sinks, patternAxes } = site
  if (!patternAxes) return undefined
  const pattern = candidate.fused?.pattern ?? candidate.softmax.output[0]
  const before = sinks.before + key.others.before
  const index = cellIndex(editor, site, heads, ATTENTION_CELLS, patternAxes, before)
  return editor.node('Cast', [editor.node('GatherND', [pattern, index])], { to: ElementType.float }, output)
}
