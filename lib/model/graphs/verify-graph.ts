/**
 * The part of a graph that verifies a capture. It recomputes scores from the captured queries and keys, applies the
 * model's own steps of scale, cap and mask, and compares them with the scores that enter the model's softmax. All of
 * it runs inside onnxruntime, where a layer's scores are freed before those of the next layer are computed. Only a
 * few numbers are output.
 */

import type { FusedAttention } from '../candidate.js'
import type { GraphEditor } from '../onnx/graph-editor.js'
import { ElementType, elementTypeOf } from '../onnx/node-writer.js'
import { replaySteps, scoresOfZeros } from '../sites/replay.js'
import { MASKED_BELOW, type ProductAxis, type ResolvedSite } from '../sites/site.js'

/** Names of scalars of one site. */
export interface SiteCheck {
  /** Pairs of ||S - S'||^2 and ||S||^2: of the scores, then of the outputs of a fused operator. */
  errors: { difference: string; total: string }[]
  /** Number of scores that are not masked; all of them are compared. */
  compared: string
  /** Number of captured values that are not finite. */
  nonFinite: string
  /**
   * For every stride at which heads may repeat: the number of values of keys, and of queries, that contradict it.
   */
  strides: { stride: number; keys: string; queries?: string }[]
}

/** Element type in which products are recomputed: with twice the precision, or with half the memory. */
export type Precision = 'float64' | 'float32'

/** Adds the check of one site; `q` [batch, pos, heads, d] and `k` [batch, pos, kvHeads, d] are captured. */
export function addCheck(
  editor: GraphEditor,
  site: ResolvedSite,
  { q, k }: { q: string; k: string },
  precision: Precision,
): SiteCheck {
  const write = new CheckWriter(editor)
  const rows = { q: write.float(q), k: write.float(k) }
  const { fused, softmaxInput } = site.candidate
  const scores = write.float(softmaxInput)
  const visible = write.aboveMask(write.float(scoresOfZeros(editor, site.candidate)))
  const product = productOf(write, site, rows, precision)
  const recomputed = write.float(replaySteps(editor, site.candidate.steps, product))
  const errors = [write.error(scores, recomputed, visible)]
  if (fused) {
    errors.push(...ownErrors(write, site, fused, visible))
  }
  const check: SiteCheck = {
    errors,
    compared: write.sum(write.float(visible)),
    nonFinite: write.op('Add', [write.nonFinite(rows.q), write.nonFinite(rows.k)]),
    strides: strideChecks(write, site, rows),
  }
  for (const name of namesOf(check)) {
    editor.output(name)
  }
  return check
}

function namesOf({ errors, compared, nonFinite, strides }: SiteCheck): string[] {
  return [
    ...errors.flatMap(({ difference, total }) => [difference, total]),
    compared,
    nonFinite,
    ...strides.flatMap(({ keys, queries }) => (queries ? [keys, queries] : [keys])),
  ]
}

/** Idioms of the check, over float32 tensors. */
class CheckWriter {
  constructor(readonly editor: GraphEditor) {}

  op(opType: string, inputs: string[], attributes: Record<string, number | number[]> = {}): string {
    return this.editor.node(opType, inputs, attributes)
  }

  ints(values: readonly number[]): string {
    return this.editor.int64Constant(values)
  }

  float(tensor: string): string {
    return this.op('Cast', [tensor], { to: ElementType.float })
  }

  constant(value: number): string {
    return this.editor.floatConstant(value)
  }

  reshape(tensor: string, shape: readonly number[]): string {
    return this.op('Reshape', [tensor, this.ints(shape)])
  }

  /** Axes [from, to) of a tensor's shape. */
  sizes(tensor: string, from: number, to: number): string {
    return this.op('Slice', [this.op('Shape', [tensor]), this.ints([from]), this.ints([to])])
  }

  sum(tensor: string): string {
    return this.op('ReduceSum', [tensor], { keepdims: 0 })
  }

  /** Entries that are not masked, according to the scores of a product of zeros, bool. */
  aboveMask(scoresOfZeros: string): string {
    return this.op('Less', [this.constant(MASKED_BELOW), scoresOfZeros])
  }

  /** Squared norms of the difference and of the expected values, over chosen entries. */
  error(expected: string, actual: string, chosen: string): { difference: string; total: string } {
    const square = (tensor: string) => {
      const squares = this.op('Mul', [tensor, tensor])
      return this.sum(this.op('Where', [chosen, squares, this.constant(0)]))
    }
    return { difference: square(this.op('Sub', [expected, actual])), total: square(expected) }
  }

  /** Number of values that are NaN or infinite: x - x is zero for all others. */
  nonFinite(tensor: string): string {
    return this.differing(this.op('Sub', [tensor, tensor]), this.constant(0))
  }

  differing(a: string, b: string): string {
    return this.sum(this.float(this.op('Not', [this.op('Equal', [a, b])])))
  }
}

/** operandScale * q k^T in the layout and element type of the product's output. */
function productOf(
  write: CheckWriter,
  site: ResolvedSite,
  { q, k }: { q: string; k: string },
  precision: Precision,
): string {
  const { heads, kvHeads, headDim, productAxes, productGroups } = site
  const cast = (tensor: string) => write.op('Cast', [tensor], { to: elementTypeOf(precision) })
  const queries = write.reshape(write.op('Transpose', [cast(q)], { perm: [0, 2, 1, 3] }), [
    0,
    kvHeads,
    heads / kvHeads,
    -1,
    headDim,
  ])
  const keys = write.reshape(write.op('Transpose', [cast(k)], { perm: [0, 2, 3, 1] }), [
    0,
    kvHeads,
    1,
    headDim,
    -1,
  ])
  const byKeyHead = write.op('MatMul', [queries, keys])
  const scaled = write.op('Mul', [byKeyHead, cast(write.constant(site.operandScale))])
  // [batch, head, group, query, key], with heads split as in the product.
  const parted = write.op('Reshape', [
    scaled,
    write.op(
      'Concat',
      [
        write.sizes(scaled, 0, 1),
        write.ints([heads / productGroups, productGroups]),
        write.sizes(scaled, 3, 5),
      ],
      { axis: 0 },
    ),
  ])
  const laid = write.op('Transpose', [parted], { perm: layout(productAxes) })
  const shaped = write.op('Reshape', [laid, write.op('Shape', [site.candidate.product.output[0]])])
  return write.op('Cast', [shaped], { to: elementTypeOf(site.productType) })
}

/** The order in which [batch, head, group, query, key] appear in the product. */
function layout(axes: readonly ProductAxis[]): number[] {
  const [batch, head, group, query, key] = [0, 1, 2, 3, 4]
  const grouped = axes.includes('group')
  const parts: Record<ProductAxis, number[]> = {
    batch: [batch],
    head: grouped ? [head] : [head, group],
    group: [group],
    fold: [batch, head, group],
    queryPos: [query],
    keyPos: [key],
    one: [],
  }
  const perm = axes.flatMap((axis) => parts[axis])
  // Axes that the product does not have get size one.
  return [...[batch, head, group, query, key].filter((axis) => !perm.includes(axis)), ...perm]
}

/**
 * Compares the outputs of a fused operator with those of its subgraph. Rows of queries without a visible key are left
 * out, since every kernel fills them differently.
 */
function ownErrors(
  write: CheckWriter,
  { heads }: ResolvedSite,
  { node, output, byHead, scores }: FusedAttention,
  visible: string,
): { difference: string; total: string }[] {
  const ones = write.op('Expand', [
    write.constant(1),
    write.op('Concat', [write.sizes(visible, 3, 4), write.ints([1])], { axis: 0 }),
  ])
  const seen = write.op('Less', [write.constant(0), write.op('MatMul', [write.float(visible), ones])])
  const rows = (tensor: string) => {
    const own = write.float(tensor)
    if (byHead) {
      return own
    }
    return write.op('Transpose', [write.reshape(own, [0, 0, heads, -1])], { perm: [0, 2, 1, 3] })
  }
  const [own, lowered] = [node.output[0], output].map(rows)
  const errors = [write.error(own, lowered, seen)]
  if (scores) {
    const [given, made] = [scores.own, scores.lowered].map((tensor) => write.float(tensor))
    errors.push(write.error(given, made, visible))
  }
  return errors
}

/** Strides at which equal key heads may be adjacent, the largest first. */
function strideChecks(
  write: CheckWriter,
  { heads, kvHeads }: ResolvedSite,
  { q, k }: { q: string; k: string },
): SiteCheck['strides'] {
  const differing = (rows: string, count: number, stride: number) => {
    const first = Array.from({ length: count }, (_, h) => h - (h % stride))
    return write.differing(rows, write.op('Gather', [rows, write.ints(first)], { axis: 2 }))
  }
  const strides = Array.from({ length: kvHeads - 1 }, (_, i) => kvHeads - i)
  return strides
    .filter((stride) => kvHeads % stride === 0)
    .map((stride) => ({
      stride,
      keys: differing(k, kvHeads, stride),
      ...(heads % stride === 0 ? { queries: differing(q, heads, stride) } : {}),
    }))
}
