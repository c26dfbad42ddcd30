/**
 * Follows the meaning of axes back from an operand of the score product, through transpositions, reshapes and
 * repetitions. The concrete shapes of a probe run tell axes apart.
 */

import type { OperandStep } from '../candidate.js'
import type { Graph } from '../onnx/graph.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'

/**
 * batch, head, head within a group of repeated keys, batch and head folded into one axis (all heads of the first
 * sequence first), position, feature dimension, or an axis of size one.
 */
export type Axis = 'batch' | 'head' | 'group' | 'fold' | 'pos' | 'dim' | 'one'

export type Shapes = (name: string) => readonly number[] | undefined

/** Where queries or keys can be captured, and what their axes mean there. */
export interface CapturePoint {
  tensor: string
  axes: Axis[]
  /** Names of constant factors between this point and the product, and whether each is a divisor. */
  factors: { name: string; divide: boolean }[]
  /** Number of repetitions of each head between this point and the product. */
  repeats: number
}

/**
 * The point closest to the product that lies before every constant factor, every repetition of heads, and every
 * folding of heads into the batch that could be followed.
 */
export function capturePoint(
  graph: Graph,
  operand: string,
  axes: Axis[],
  steps: readonly OperandStep[],
  shapes: Shapes,
  scalar: (name: string) => boolean,
): CapturePoint {
  let best: CapturePoint = { tensor: operand, axes, factors: [], repeats: 1 }
  let current: Axis[] | undefined = axes
  let tensor = operand
  const factors: CapturePoint['factors'] = []
  let repeats = 1
  // A repetition ends on a tensor that no longer has a group axis; until then the point is not valid.
  for (const step of steps) {
    const from = shapes(step.source)
    const to = shapes(tensor)
    if (!from || !to || !current) {
      break
    }
    if (step.factor !== undefined) {
      if (!scalar(step.factor)) {
        break
      }
      factors.push({ name: step.factor, divide: step.node.opType === 'Div' })
    } else {
      const stepped = stepBack(graph, step.node, current, from, to)
      if (!stepped) {
        break
      }
      current = stepped.axes
      repeats *= stepped.repeats
    }
    tensor = step.source
    const settled = !current.includes('group') || axes.includes('group')
    const unfolded = best.axes.includes('fold') && !current.includes('fold')
    if (settled && (factors.length > best.factors.length || repeats > best.repeats || unfolded)) {
      best = { tensor, axes: current, factors: [...factors], repeats }
    }
  }
  return best
}

interface Stepped {
  axes: Axis[]
  repeats: number
}

function stepBack(
  graph: Graph,
  node: NodeProto,
  axes: Axis[],
  from: readonly number[],
  to: readonly number[],
): Stepped | undefined {
  switch (node.opType) {
    case 'Cast':
    case 'CastLike':
    case 'Identity':
    case 'Dropout':
      return { axes, repeats: 1 }
    case 'Transpose': {
      const perm = graph.ints(node, 'perm') ?? from.map((_, i) => from.length - 1 - i)
      const before: Axis[] = []
      perm.forEach((source, target) => {
        before[source] = axes[target]
      })
      return { axes: before, repeats: 1 }
    }
    case 'Reshape':
    case 'Squeeze':
    case 'Unsqueeze':
    case 'Flatten':
      return reshapeBack(axes, from, to)
    case 'Expand':
    case 'Tile':
    case 'Concat':
      return repeatBack(axes, from, to)
    default:
      return undefined
  }
}

/**
 * Axes before a reshape. Equal stretches of sizes keep their meaning. A head axis may split into head and group, and a
 * folded axis into batch and head.
 */
function reshapeBack(axes: Axis[], from: readonly number[], to: readonly number[]): Stepped | undefined {
  const before: Axis[] = []
  let i = 0
  let j = 0
  while (i < from.length || j < to.length) {
    const parts = i + 1 < from.length ? PARTS[axes[j]] : undefined
    // Beyond its last axis, a shape gives undefined, which equals no size.
    if (from[i] === to[j]) {
      before[i++] = axes[j++]
    } else if (parts && from[i] * from[i + 1] === to[j]) {
      before.push(...parts)
      i += 2
      j++
    } else if (to[j] === 1) {
      if (axes[j] !== 'one') {
        return undefined
      }
      j++
    } else if (from[i] === 1) {
      before[i++] = 'one'
    } else {
      return undefined
    }
  }
  return { axes: before, repeats: 1 }
}

/** The axes that one axis may split into. */
export const PARTS: Partial<Record<string, readonly ['batch', 'head'] | readonly ['head', 'group']>> = {
  fold: ['batch', 'head'],
  head: ['head', 'group'],
}

/** Only a group axis, or the head axis of a single key head, may be repeated, and only if its size is one. */
function repeatBack(axes: Axis[], from: readonly number[], to: readonly number[]): Stepped | undefined {
  const offset = to.length - from.length
  if (offset < 0) {
    return undefined
  }
  const before: Axis[] = []
  let repeats = 1
  for (let j = 0; j < to.length; j++) {
    const size = j < offset ? 1 : from[j - offset]
    let axis = axes[j]
    if (size !== to[j]) {
      if (size !== 1 || (axis !== 'group' && axis !== 'head')) {
        return undefined
      }
      repeats *= to[j]
      axis = axis === 'head' ? 'head' : 'one'
    }
    if (j >= offset) {
      before[j - offset] = axis
    }
  }
  return { axes: before, repeats }
}
