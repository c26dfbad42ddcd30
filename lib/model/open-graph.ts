/**
 * Turns a file into a graph that can be searched for sites: reads, flattens, checks and sorts it, and lifts it to
 * opset 11 if that is possible.
 */

import { normalisesScores } from './fused/lower.js'
import { checkInputs, checkOpsets } from './onnx/check-model.js'
import { flatten } from './onnx/flatten/flatten.js'
import { Graph } from './onnx/graph.js'
import { liftOpset } from './onnx/lift-opset.js'
import { withFields } from './onnx/messages.js'
import { orderNodes } from './onnx/order-nodes.js'
import { readModel } from './onnx/read-model.js'

/** Errors: ERR_FILE, ERR_NOT_ONNX, ERR_UNSUPPORTED_MODEL. */
export function openGraph(file: string): Graph {
  const model = flatten(readModel(file), normalisesScores)
  const { proto } = model
  const graph = withFields(proto.graph!, {
    node: orderNodes(file, proto.graph!),
    input: checkInputs(file, proto.graph!),
  })
  const read = new Graph({
    ...model,
    proto: withFields(proto, { graph, opsetImport: checkOpsets(file, proto) }),
  })
  const lifted = liftOpset(read)
  return lifted === read.model ? read : new Graph(lifted)
}
