/** Explains why onnxruntime cannot run a model on the processor: old opsets, element types, operators of GPUs. */

import { QkError } from '../errors.js'
import type { Graph } from './onnx/graph.js'
import { LEAST_OPSET, liftObstacle } from './onnx/lift-opset.js'
import { describeNode } from './onnx/messages.js'
import { ElementType } from './onnx/node-writer.js'
import { typeOf } from './onnx/static-types.js'

const FLOAT_EXPORT = 'Export the model in float32 or float16.'

/** Refuses models that are known not to run, before onnxruntime is called. Errors: ERR_UNSUPPORTED_MODEL. */
export function refuseUnrunnable(path: string, graph: Graph): void {
  if (graph.opset < LEAST_OPSET) {
    throw new QkError(
      'ERR_UNSUPPORTED_MODEL',
      `${path} uses opset ${graph.opset}, rows are gathered by opset ${LEAST_OPSET}, and ${liftObstacle(graph)}`,
      {
        hint: `Convert it with onnx.version_converter, or export it again with opset ${LEAST_OPSET} or later.`,
      },
    )
  }
  const input = graph.inputs.find(({ name }) => typeOf(graph, name) === ElementType.bfloat16)
  if (input) {
    throw new QkError(
      'ERR_UNSUPPORTED_MODEL',
      `${path}: its input "${input.name}" is of bfloat16, an element type for which onnxruntime has no kernels on the processor`,
      { hint: FLOAT_EXPORT },
    )
  }
}

/**
 * The error of a model that did not load because an operator has no kernel. Any other error is returned unchanged.
 */
export function withMissingKernel(path: string, graph: Graph, error: unknown): unknown {
  if (!(error instanceof QkError) || error.code !== 'ERR_INFERENCE') {
    return error
  }
  const missing = /Could not find an implementation for (\S+?)\(\d+\) node with name '([^']*)'/.exec(
    error.message,
  )
  const half = graph.nodes.find(({ opType, input }) => {
    // A Cast only converts from bfloat16, and computes nothing in it.
    if (opType === 'Cast') {
      return false
    }
    return input.some((name) => typeOf(graph, name) === ElementType.bfloat16)
  })
  const isType = /bfloat16/.test(error.message)
  if (half && (missing || isType)) {
    return new QkError(
      'ERR_UNSUPPORTED_MODEL',
      `${path}: ${describeNode(half)} computes in bfloat16, an element type for which onnxruntime has no kernels on the processor`,
      { hint: FLOAT_EXPORT, cause: error },
    )
  }
  if (!missing) {
    return error
  }
  return new QkError(
    'ERR_UNSUPPORTED_MODEL',
    `${path}: onnxruntime has no kernel for ${missing[1]} "${missing[2]}" on the processor, for the types that it has here`,
    { hint: 'It may run on GPUs only: export the model with operators of ONNX.', cause: error },
  )
}
