/**
 * Copies the steps of a model from the product of queries and keys to the softmax, and applies them to another
 * product. A recomputed product gives scores to compare with the model's own. A product of zeros leaves only masks
 * and biases. A product of ones leaves only the factors.
 */

import { create } from '@bufbuild/protobuf'
import type { ScoreStep, SiteCandidate } from '../candidate.js'
import type { GraphEditor } from '../onnx/graph-editor.js'
import { NodeProtoSchema } from '../onnx/proto/onnx_pb.js'

/** The scores that the steps compute from `product`, which has the shape and type of the model's own product. */
export function replaySteps(editor: GraphEditor, steps: readonly ScoreStep[], product: string): string {
  let scores = product
  for (const { node, chain } of steps) {
    const output = `${product}/${node.output[0]}`
    const input = node.input.map((name, i) => (i === chain ? scores : name))
    editor.addedNodes.push(create(NodeProtoSchema, { ...node, name: output, input, output: [output] }))
    scores = output
  }
  return scores
}

/** Steps that multiply scores, or leave them as they are in another shape or type. */
const LINEAR = new Set([
  'Mul',
  'Div',
  'Neg',
  'Cast',
  'CastLike',
  'Identity',
  'Dropout',
  'Reshape',
  'Transpose',
  'Squeeze',
  'Unsqueeze',
  'Flatten',
])

/**
 * The factors by which the steps multiply the product, entry by entry: the steps applied to ones. Steps that add or
 * mask are left out, and so is the nonlinearity of a softcap, so that factors before and after it both count.
 */
export function factorsOfScores(editor: GraphEditor, { product, steps }: SiteCandidate): string {
  const ones = editor.node('Exp', [zerosLike(editor, product.output[0])])
  return replaySteps(
    editor,
    steps.filter(({ node }) => LINEAR.has(node.opType)),
    ones,
  )
}

/** Zeros with a tensor's shape and type, even if it has infinite entries: x and -x cannot both be above zero. */
function zerosLike(editor: GraphEditor, tensor: string): string {
  return editor.node('Relu', [editor.node('Neg', [editor.node('Relu', [tensor])])])
}

/**
 * The scores that the steps compute from a product of zeros. Entries far below zero are masked. Real scores cannot
 * show this, since they may be as low as any mask.
 */
export function scoresOfZeros(editor: GraphEditor, { product, steps }: SiteCandidate): string {
  // Subtracting the largest score of a row only limits the range of values. With a product of zeros it would hide
  // the size of biases.
  const lasting = steps.filter(({ node, chain }) => !isShift(editor, node.input, chain))
  return replaySteps(editor, lasting, zerosLike(editor, product.output[0]))
}

/** Whether a step adds or subtracts the same number for a whole row: its largest score. */
function isShift(editor: GraphEditor, inputs: readonly string[], chain: number): boolean {
  return inputs.some((name, i) => i !== chain && editor.graph.producers.get(name)?.opType === 'ReduceMax')
}
