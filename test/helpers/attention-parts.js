/** Pieces of attention in standard operators, which the tiny models put together in many ways. */

import { BOOL } from './graph-builder.js'
import { rotaryTable } from './tiny-weights.js'

/** [batch, pos, heads * d] -> [batch, heads, pos, d] */
export function splitHeads(g, name, heads, d) {
  return g.node('Transpose', [g.node('Reshape', [name, g.ints([0, 0, heads, d])])], { perm: [0, 2, 1, 3] })
}

/** [batch, heads, pos, d] -> [batch, pos, heads * d] */
export function joinHeads(g, name, width) {
  const mixed = g.node('Transpose', [name], { perm: [0, 2, 1, 3] })
  return g.node('Reshape', [mixed, g.ints([0, 0, width])])
}

/** Positions of a sequence, int64 []. */
export function sequenceLength(g) {
  return g.node('Gather', [g.node('Shape', ['input_ids']), g.ints([1], [])])
}

/** 0, 1, ... int64 [pos]. */
export function positionRange(g) {
  return g.node('Range', [g.ints([0], []), sequenceLength(g), g.ints([1], [])])
}

/** RoPE on [batch, heads, pos, d] from slices, as exporters write it. Gives a function that rotates. */
export function halvesRotation(g, d) {
  const half = d / 2
  const length = g.node('Gather', [g.node('Shape', ['input_ids']), g.ints([1], [1])])
  const rows = (name, f) => {
    const table = g.float(name, [64, d], rotaryTable(f, { columns: d, headDim: d }))
    return g.node('Slice', [table, g.ints([0]), length, g.ints([0])])
  }
  const cos = rows('cos', Math.cos)
  const sin = rows('sin', Math.sin)
  return (name) => {
    const low = g.node('Slice', [name, g.ints([0]), g.ints([half]), g.ints([3])])
    const high = g.node('Slice', [name, g.ints([half]), g.ints([d]), g.ints([3])])
    const turned = g.node('Concat', [g.node('Neg', [high]), low], { axis: 3 })
    return g.node('Add', [g.node('Mul', [name, cos]), g.node('Mul', [turned, sin])])
  }
}

/** [batch, kvHeads, pos, d] -> [batch, heads, pos, d]; `repeat` is 'expand', 'tile', 'concat' or 'gather'. */
export function repeatHeads(g, name, { heads, kvHeads }, repeat = 'expand') {
  const groups = heads / kvHeads
  if (repeat === 'gather') {
    const index = g.ints(Array.from({ length: heads }, (_, h) => Math.floor(h / groups)))
    return g.node('Gather', [name, index], { axis: 1 })
  }
  const wide = g.node('Unsqueeze', [name, g.ints([2])])
  let copies
  if (repeat === 'tile') {
    copies = g.node('Tile', [wide, g.ints([1, 1, groups, 1, 1])])
  } else if (repeat === 'concat') {
    copies = g.node('Concat', Array(groups).fill(wide), { axis: 2 })
  } else {
    copies = g.node('Expand', [wide, g.ints([1, 1, groups, 1, 1])])
  }
  const shape = g.node('Shape', [name])
  const at = (i) => g.node('Gather', [shape, g.ints([i])])
  return g.node('Reshape', [copies, g.node('Concat', [at(0), g.ints([heads]), at(2), at(3)], { axis: 0 })])
}

/** Keys that a query may see: earlier ones that are no padding, bool [batch, 1, queryPos, keyPos]. */
export function visibleKeys(g) {
  const range = positionRange(g)
  const row = g.node('Unsqueeze', [range, g.ints([0])])
  const column = g.node('Unsqueeze', [range, g.ints([1])])
  const causal = g.node('LessOrEqual', [row, column])
  const kept = g.node('Unsqueeze', [g.node('Cast', ['attention_mask'], { to: BOOL }), g.ints([1, 2])])
  return g.node('And', [causal, kept])
}

/** Added to the scores: zero, or very low where a key may not be seen. */
export function visibilityBias(g) {
  return g.node('Where', [visibleKeys(g), g.scalar(0), g.scalar(g.half ? -30000 : -1e9)])
}
