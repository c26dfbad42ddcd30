/**
 * Constraints of standard operators on the sizes of their inputs and outputs: from weights, sums, concatenations and
 * constant shapes. Shapes are followed only as far as they are certain.
 */

import type { Graph } from '../../onnx/graph.js'
import type { NodeProto } from '../../onnx/proto/onnx_pb.js'
import { equate, equateMultiple, guess, type Shape, type Size, settled } from './unknown.js'

export type Shapes = (tensor: string) => Shape | undefined

/** Learns sizes from a node. Returns the shape of its first output, if that is known. */
export function shapeOfOutput(graph: Graph, node: NodeProto, shapes: Shapes): Shape | undefined {
  const first = shapes(node.input[0] ?? '')
  const second = shapes(node.input[1] ?? '')
  const { opType } = node
  if (KEEPING.has(opType)) {
    return first
  }
  if (BROADCASTING.has(opType)) {
    return broadcast(node.input.map(shapes))
  }
  switch (opType) {
    case 'LayerNormalization':
    case 'SimplifiedLayerNormalization':
    case 'RMSNormalization':
      return normalised(first, second)
    case 'SkipLayerNormalization':
    case 'SkipSimplifiedLayerNormalization':
      equate(first?.at(-1), shapes(node.input[2] ?? '')?.at(-1))
      return broadcast([first, second])
    case 'MatMul':
    case 'MatMulInteger':
      return product(first, second)
    case 'MatMulNBits':
      equate(first?.at(-1), graph.int(node, 'K', 0) || undefined)
      return first && [...first.slice(0, -1), graph.int(node, 'N', 0) || undefined]
    case 'Einsum':
      return einsum(graph.string(node, 'equation') ?? '', node.input.map(shapes))
    case 'Split':
      return changedAxes(first, [graph.int(node, 'axis', 0)])
    case 'Slice':
      return changedAxes(first, graph.constantInts(node.input[3] ?? '') ?? (node.input[3] ? undefined : []))
    case 'Gemm':
      return gemm(graph, node, first, second, shapes(node.input[2] ?? ''))
    case 'Conv':
      return convolved(first, second, graph.int(node, 'group', 1))
    case 'Concat':
      return concatenated(graph, node, node.input.map(shapes))
    case 'Transpose':
      return transposed(first, graph.ints(node, 'perm'))
    case 'Gather':
      return gathered(first, second, graph.int(node, 'axis', 0))
    case 'Reshape':
      return reshaped(first, graph.constantInts(node.input[1] ?? ''))
    case 'Unsqueeze':
    case 'Squeeze':
      return squeezed(graph, node, first)
    default:
      return undefined
  }
}

const KEEPING = new Set(
  (
    'Identity Cast Softmax LogSoftmax Relu Gelu FastGelu Tanh Sigmoid Sqrt Erf Exp Neg Abs Not Clip Dropout ' +
    'Reciprocal Elu LeakyRelu HardSigmoid HardSwish Softplus CumSum QuickGelu BiasGelu InstanceNormalization ' +
    'BatchNormalization GroupNormalization DequantizeLinear QuantizeLinear DynamicQuantizeLinear'
  ).split(' '),
)
const BROADCASTING = new Set(
  'Add Sub Mul Div Pow Where Equal Less Greater LessOrEqual GreaterOrEqual And Or Max Min'.split(' '),
)

/** Broadcasting: two aligned axes are equal, or one of them is 1. */
function broadcast(given: readonly (Shape | undefined)[]): Shape | undefined {
  if (given.some((shape) => !shape)) {
    return undefined
  }
  const shapes = given as Shape[]
  const rank = Math.max(...shapes.map(({ length }) => length))
  return Array.from({ length: rank }, (_, i) => {
    const met = shapes.flatMap((shape) => (i - rank + shape.length >= 0 ? [shape.at(i - rank)] : []))
    const sizes = met.filter((size) => settled(size) !== 1)
    for (const size of sizes) {
      equate(sizes[0], size)
    }
    return sizes.length === 0 ? 1 : settled(sizes.find((size) => size !== undefined))
  })
}

function normalised(given: Shape | undefined, scale: Shape | undefined): Shape | undefined {
  if (scale?.length === 1) {
    equate(given?.at(-1), scale[0])
  }
  return given
}

function product(left: Shape | undefined, right: Shape | undefined): Shape | undefined {
  if (!left || !right || left.length < 2 || right.length < 2) {
    return undefined
  }
  equate(left.at(-1), right.at(-2))
  const batch = broadcast([left.slice(0, -2), right.slice(0, -2)])
  return batch && [...batch, left.at(-2), right.at(-1)]
}

function gemm(
  graph: Graph,
  node: NodeProto,
  a: Shape | undefined,
  b: Shape | undefined,
  bias: Shape | undefined,
): Shape | undefined {
  if (a?.length !== 2 || b?.length !== 2) {
    return undefined
  }
  const turned = (shape: Shape, attribute: string) =>
    graph.int(node, attribute, 0) === 1 ? shape.toReversed() : shape
  const [rows, inner] = turned(a, 'transA')
  const [depth, columns] = turned(b, 'transB')
  equate(inner, depth)
  if (bias?.length === 1 && settled(bias[0]) !== 1) {
    equate(columns, bias[0])
  }
  return [rows, columns]
}

/** Convolution: channels are those of the filters [made, read / groups, ...], and all later axes change. */
function convolved(given: Shape | undefined, filters: Shape | undefined, groups: number): Shape | undefined {
  if (given && typeof filters?.[1] === 'number') {
    equate(given[1], filters[1] * groups)
  }
  return given && [given[0], filters?.[0], ...given.slice(2).map(() => undefined)]
}

function transposed(given: Shape | undefined, perm: number[] | undefined): Shape | undefined {
  return given && perm ? perm.map((axis) => given[axis]) : given?.toReversed()
}

/** Concatenation: all axes but one are equal. */
function concatenated(
  graph: Graph,
  node: NodeProto,
  given: readonly (Shape | undefined)[],
): Shape | undefined {
  const shapes = given.filter((shape) => shape !== undefined)
  const rank = shapes[0]?.length ?? 0
  if (rank === 0 || shapes.some(({ length }) => length !== rank)) {
    return undefined
  }
  const axis = (graph.int(node, 'axis', 0) + rank) % rank
  for (const shape of shapes) {
    for (let i = 0; i < rank; i++) {
      if (i !== axis) {
        equate(shapes[0][i], shape[i])
      }
    }
  }
  const joined = given.map((shape) => settled(shape?.[axis]))
  const sum = joined.every((size) => typeof size === 'number') ? joined.reduce((a, b) => a + b, 0) : undefined
  return shapes[0].map((size, i) => (i === axis ? sum : size))
}

/** Einsum: axes with the same letter are equal. */
function einsum(equation: string, given: readonly (Shape | undefined)[]): Shape | undefined {
  const [left, right] = equation.replaceAll(' ', '').split('->')
  if (right === undefined || equation.includes('.')) {
    return undefined
  }
  const sizes = new Map<string, Size>()
  left.split(',').forEach((letters, i) => {
    const shape = given[i]
    if (shape?.length !== letters.length) {
      return
    }
    for (const [at, letter] of [...letters].entries()) {
      equate(sizes.get(letter), shape[at])
      sizes.set(letter, settled(sizes.get(letter)) ?? shape[at])
    }
  })
  return [...right].map((letter) => sizes.get(letter))
}

/** The shape except for the changed axes. Unknown if it is not known which these are. */
function changedAxes(given: Shape | undefined, axes: number[] | undefined): Shape | undefined {
  if (!given || !axes) {
    return undefined
  }
  // Without the attribute, any of the axes may change.
  if (axes.length === 0) {
    return given.map(() => undefined)
  }
  const changed = new Set(axes.map((axis) => (axis + given.length) % given.length))
  return given.map((size, i) => (changed.has(i) ? undefined : size))
}

function gathered(data: Shape | undefined, indices: Shape | undefined, axis: number): Shape | undefined {
  if (!data || !indices) {
    return undefined
  }
  const at = axis < 0 ? axis + data.length : axis
  return [...data.slice(0, at), ...indices, ...data.slice(at + 1)]
}

/**
 * Reshape with a constant shape. Equal leading and trailing axes are removed from both sides; the remaining products
 * are equal.
 */
function reshaped(given: Shape | undefined, target: number[] | undefined): Shape | undefined {
  if (!given || !target) {
    return undefined
  }
  const shape: Shape = target.map((size, i) => (size > 0 ? size : size === 0 ? given[i] : undefined))
  let [front, back] = [0, 0]
  const shorter = Math.min(given.length, shape.length)
  while (front < shorter && isSame(given[front], shape[front])) {
    front++
  }
  while (back < shorter - front && isSame(given.at(-1 - back), shape.at(-1 - back))) {
    back++
  }
  const old = given.slice(front, given.length - back)
  const made = shape.slice(front, shape.length - back)
  const numbers = (sizes: Shape) =>
    sizes.map(settled).filter((size): size is number => typeof size === 'number')
  const count = (sizes: Shape) => numbers(sizes).reduce((a, b) => a * b, 1)
  const open = old.filter((size) => typeof settled(size) !== 'number')
  // If rows of all sequences form one list, they usually keep their width.
  if (target.at(-1)! > 1 && target.length === 2 && target[0] === -1) {
    guess(given.at(-1), target[1])
  }
  const isOpen = (size: Size) => typeof settled(size) !== 'number'
  if (made.every((size) => !isOpen(size)) && open.length === 1) {
    if (count(made) % count(old) === 0) {
      equate(open[0], count(made) / count(old))
    }
  } else if (open.length === 1 && made.filter(isOpen).length === 1) {
    // A reshape of [hidden] to [heads, -1] makes it a multiple of heads.
    if (count(old) === 1) {
      equateMultiple(open[0], count(made))
    }
    if (count(made) === count(old)) {
      shape[front + made.findIndex(isOpen)] = open[0]
    }
  } else if (open.length === 0 && made.filter(isOpen).length === 1) {
    shape[front + made.findIndex(isOpen)] = count(old) / count(made)
  }
  return shape
}

function isSame(left: Size, right: Size): boolean {
  const [a, b] = [settled(left), settled(right)]
  return a !== undefined && a === b
}

function squeezed(graph: Graph, node: NodeProto, given: Shape | undefined): Shape | undefined {
  const axes = graph.ints(node, 'axes') ?? graph.constantInts(node.input[1] ?? '')
  if (!given || !axes) {
    return undefined
  }
  if (node.opType === 'Squeeze') {
    const gone = new Set(axes.map((axis) => (axis + given.length) % given.length))
    return given.filter((_, i) => !gone.has(i))
  }
  const rank = given.length + axes.length
  const added = new Set(axes.map((axis) => (axis + rank) % rank))
  const rest = given.values()
  return Array.from({ length: rank }, (_, i) => (added.has(i) ? 1 : rest.next().value))
}
