/**
 * Distinguishes queries from keys, and the axes of a site's product from one another, by the concrete shapes of a
 * probe.
 */

import type { SiteCandidate } from '../candidate.js'
import type { Graph } from '../onnx/graph.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'
import { type Axis, PARTS, type Shapes } from './axes.js'
import type { ProductAxis } from './site.js'

export interface OperandAxes {
  operand: 0 | 1
  axes: Axis[]
}

export interface ProductAxes {
  query: OperandAxes
  key: OperandAxes
  product: ProductAxis[]
}

/**
 * Which operand holds the queries, and the meaning of every axis of operands and scores. If that is not known, the
 * reason.
 */
export function productAxes(
  graph: Graph,
  candidate: SiteCandidate,
  shapes: Shapes,
  batch: number,
): ProductAxes | { reason: string } {
  const { product, softmaxAxis } = candidate
  const outShape = shapes(product.output[0])
  const softmaxShape = shapes(candidate.softmaxInput)
  if (!outShape || !softmaxShape) {
    return { reason: 'the probe did not reach it' }
  }
  const keyAxis = axisInProduct(
    candidate,
    shapes,
    graph,
    softmaxAxis < 0 ? softmaxAxis + softmaxShape.length : softmaxAxis,
  )
  if (keyAxis === undefined) {
    return { reason: 'the axis of its softmax could not be followed to its product' }
  }
  return product.opType === 'Einsum'
    ? einsumAxes(graph, product, outShape, keyAxis, batch)
    : matmulAxes(graph, product, shapes, outShape, keyAxis, batch)
}

/**
 * The axis of the product's output over which the softmax normalises. A reshape in between may split it (keys of an
 * image into rows and columns). The search therefore follows a stretch of axes, with its number of elements and the
 * number of elements after it.
 */
function axisInProduct(
  candidate: SiteCandidate,
  shapes: Shapes,
  graph: Graph,
  softmaxAxis: number,
): number | undefined {
  const axisOf = (shape: readonly number[], { size, inner }: Stretch): number | undefined => {
    const at = shape.findLastIndex((own, i) => own === size && sizeOf(shape.slice(i + 1)) === inner)
    return at < 0 ? undefined : at
  }
  const stretchOf = (shape: readonly number[], axis: number): Stretch => ({
    size: shape[axis],
    inner: sizeOf(shape.slice(axis + 1)),
  })
  let keys = stretchOf(shapes(candidate.softmaxInput)!, softmaxAxis)
  for (const { node, chain } of candidate.steps.toReversed()) {
    const to = shapes(node.output[0])
    const from =
      shapes(node.input[chain]) ??
      (node.input[chain] === candidate.product.output[0] ? shapes(candidate.product.output[0]) : undefined)
    if (!to || !from) {
      return undefined
    }
    if (node.opType === 'Transpose') {
      const axis = axisOf(to, keys)
      if (axis === undefined) {
        return undefined
      }
      keys = stretchOf(from, (graph.ints(node, 'perm') ?? from.map((_, i) => from.length - 1 - i))[axis])
    } else if (node.opType === 'Concat') {
      const axis = axisOf(to, keys)
      if (axis === undefined) {
        return undefined
      }
      keys = stretchOf(from, axis)
    }
  }
  return axisOf(shapes(candidate.product.output[0])!, keys)
}

interface Stretch {
  size: number
  inner: number
}

const sizeOf = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)

/**
 * Leading axes of scores: none; batch; batch and head folded; batch and head; or batch, key head and query head within
 * its group.
 */
function leadingAxes(
  scores: readonly number[],
  keyAxis: number,
  batch: number,
): ('batch' | 'head' | 'group' | 'fold')[] | undefined {
  const shape = scores.slice(0, -2)
  if (shape.length === 0) {
    return []
  }
  if (shape.length === 1) {
    if (shape[0] === batch) {
      return ['batch']
    }
    // There are as many queries as sequences: the apparent batch axis holds positions, and there is no batch.
    const queries = scores[keyAxis === scores.length - 1 ? scores.length - 2 : scores.length - 1]
    if (batch > 1 && queries === batch) {
      return ['head']
    }
    return shape[0] % batch === 0 ? ['fold'] : undefined
  }
  if (shape.length === 2) {
    return ['batch', 'head']
  }
  if (shape.length === 3) {
    return ['batch', 'head', 'group']
  }
  return undefined
}

/** Axes of MatMul, and of FusedMatMul, which transposes its operands itself. */
function matmulAxes(
  graph: Graph,
  product: NodeProto,
  shapes: Shapes,
  outShape: readonly number[],
  keyAxis: number,
  batch: number,
): ProductAxes | { reason: string } {
  const rank = outShape.length
  if (['transBatchA', 'transBatchB'].some((name) => graph.int(product, name, 0) === 1)) {
    return { reason: 'its product transposes the batch of an operand' }
  }
  const lead = leadingAxes(outShape, keyAxis, batch)
  if (!lead) {
    return { reason: `the leading axes of its scores, ${outShape.join(' x ')}, are not batch and heads` }
  }
  const sequences = lead[0] === 'batch' ? outShape[0] : batch
  if (sequences !== batch) {
    return { reason: `it runs over parts of a sequence: ${sequences} of them for a batch of ${batch}` }
  }
  if (keyAxis < rank - 2) {
    return { reason: 'its softmax does not run over the keys of one query' }
  }
  const keyOperand = keyAxis === rank - 1 ? 1 : 0
  const side = (operand: 0 | 1): OperandAxes | undefined => {
    const shape = shapes(product.input[operand])
    if (!shape || shape.length > rank || shape.length < 2) {
      return undefined
    }
    const leading = lead.slice(lead.length - (shape.length - 2)) as Axis[]
    // An operand that is broadcast over a leading axis has size one there.
    const own = leading.map((axis, i) => (shape[i] === 1 && axis === 'group' ? 'one' : axis))
    const transposed = graph.int(product, operand === 0 ? 'transA' : 'transB', 0) === 1
    const rowsFirst = (operand === 0) !== transposed
    return { operand, axes: rowsFirst ? [...own, 'pos', 'dim'] : [...own, 'dim', 'pos'] }
  }
  const left = side(0)
  const right = side(1)
  if (!left || !right) {
    return { reason: 'the ranks of its operands do not match' }
  }
  return {
    query: keyOperand === 1 ? left : right,
    key: keyOperand === 1 ? right : left,
    product: [
      ...lead,
      ...(keyOperand === 1 ? (['queryPos', 'keyPos'] as const) : (['keyPos', 'queryPos'] as const)),
    ],
  }
}

function einsumAxes(
  graph: Graph,
  product: NodeProto,
  outShape: readonly number[],
  keyAxis: number,
  batch: number,
): ProductAxes | { reason: string } {
  const equation = (graph.string(product, 'equation') ?? '').replaceAll(' ', '')
  const match = /^([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)$/.exec(equation)
  if (!match) {
    return { reason: `the Einsum equation "${equation}" is not of the form ab,bc->ac` }
  }
  const [, left, right, out] = match
  const keyLetter = out[keyAxis]
  const keyOperand = right.includes(keyLetter) && !left.includes(keyLetter) ? 1 : 0
  const [queryLetters, keyLetters] = keyOperand === 1 ? [left, right] : [right, left]
  const contracted = [...left].filter((l) => right.includes(l) && !out.includes(l))
  const own = [...queryLetters].filter((l) => !keyLetters.includes(l))
  if (contracted.length !== 1 || own.length > 2) {
    return { reason: `the Einsum equation "${equation}" does not contract one axis of queries and keys` }
  }
  const shared = [...out].filter((l) => left.includes(l) && right.includes(l))
  const meaning = new Map<string, Axis>([[contracted[0], 'dim']])
  shared.forEach((letter, i) => {
    meaning.set(letter, i === 0 && outShape[out.indexOf(letter)] === batch ? 'batch' : 'head')
  })
  // Queries that share a key head have an axis of their own: [.., group, pos] in output order.
  const ownInOrder = [...out].filter((l) => own.includes(l))
  const queryPos = ownInOrder.at(-1)
  for (const letter of ownInOrder) {
    meaning.set(letter, letter === queryPos ? 'pos' : 'group')
  }
  meaning.set(keyLetter, 'pos')
  const axesOf = (letters: string) => [...letters].map((l) => meaning.get(l)!)
  const productAxis = (letter: string): ProductAxis =>
    letter === keyLetter ? 'keyPos' : letter === queryPos ? 'queryPos' : (meaning.get(letter) as ProductAxis)
  return {
    query: { operand: keyOperand === 1 ? 0 : 1, axes: axesOf(queryLetters) },
    key: { operand: keyOperand, axes: axesOf(keyLetters) },
    product: [...out].map(productAxis),
  }
}

/** Axes of the scores at the input of the softmax. Undefined if a step in between could not be followed. */
export function patternAxes(
  graph: Graph,
  candidate: SiteCandidate,
  product: readonly ProductAxis[],
  shapes: Shapes,
): ProductAxis[] | undefined {
  if (staysInPlace(candidate, shapes)) {
    return [...product]
  }
  let axes: ProductAxis[] | undefined = [...product]
  for (const { node, chain } of candidate.steps) {
    const from = shapes(node.input[chain])
    const to = shapes(node.output[0])
    if (!from || !to || !axes) {
      return undefined
    }
    if (node.opType === 'Transpose') {
      const perm = graph.ints(node, 'perm') ?? from.map((_, i) => from.length - 1 - i)
      const before: ProductAxis[] = axes
      axes = perm.map((i) => before[i])
    } else if (['Reshape', 'Squeeze', 'Unsqueeze', 'Flatten'].includes(node.opType)) {
      axes = reshapeForward(axes, from, to)
    } else if (from.length !== to.length) {
      return undefined
    }
  }
  return axes
}

/**
 * Whether the scores at the softmax have the product's own shape and order, however they were reshaped in between.
 */
function staysInPlace({ product, softmaxInput, steps }: SiteCandidate, shapes: Shapes): boolean {
  const [first, last] = [shapes(product.output[0]), shapes(softmaxInput)]
  if (!first || !last || first.join() !== last.join()) {
    return false
  }
  const as = (name: string) => sizeOf(shapes(name) ?? []) === sizeOf(first)
  return steps.every(({ node }) => node.opType !== 'Transpose' && as(node.output[0]))
}

const JOINED: Partial<Record<string, ProductAxis>> = { 'batch head': 'fold', 'head group': 'head' }

/**
 * Axes after a reshape. Batch and head may be folded or split, and head and group too. Axes of size one may appear and
 * disappear.
 */
function reshapeForward(
  axes: readonly ProductAxis[],
  from: readonly number[],
  to: readonly number[],
): ProductAxis[] | undefined {
  const after: ProductAxis[] = []
  let taken = 0
  while (after.length < to.length) {
    const step = reshapeStep(axes.slice(taken), from.slice(taken), to.slice(after.length))
    if (!step) {
      return undefined
    }
    taken += step.taken
    after.push(...step.made)
  }
  return axes.slice(taken).every((axis) => axis === 'one') ? after : undefined
}

/** The axes that a reshape makes next, and how many of the remaining axes it uses. Undefined if they do not fit. */
function reshapeStep(
  axes: readonly ProductAxis[],
  from: readonly number[],
  to: readonly number[],
): { taken: number; made: readonly ProductAxis[] } | undefined {
  const joined = from.length > 1 ? JOINED[`${axes[0]} ${axes[1]}`] : undefined
  const parts = PARTS[axes[0]]
  const kept = { taken: 1, made: [axes[0]] }
  // With a batch of one or a single head, both readings are possible. The longer result keeps more axes apart.
  if (from.length <= to.length && from[0] === to[0]) {
    return kept
  }
  if (joined && from[0] * from[1] === to[0]) {
    return { taken: 2, made: [joined] }
  }
  if (from[0] === to[0]) {
    return kept
  }
  if (parts && to.length > 1 && to[0] * to[1] === from[0]) {
    return { taken: 1, made: parts }
  }
  if (to[0] === 1) {
    return { taken: 0, made: ['one'] }
  }
  return from[0] === 1 && axes[0] === 'one' ? { taken: 1, made: [] } : undefined
}
