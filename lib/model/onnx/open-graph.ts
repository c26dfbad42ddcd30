/** From a file to a graph that sites can be searched in: read, flattened, checked, in order. */

import { checkInputs, checkOpsets } from './check-model.js'
import { flatten } from './flatten.js'
import { Graph } from './graph.js'
import { withFields } from './messages.js'
import { orderNodes } from './order-nodes.js'
import { readModel } from './read-model.js'

/** Errors: ERR_FILE, ERR_NOT_ONNX, ERR_UNSUPPORTED_MODEL. */
export function openGraph(file: string): Graph {
  const model = flatten(readModel(file))
  const { proto } = model
  const graph = withFields(proto.graph!, {
    node: orderNodes(file, proto.graph!),
    input: checkInputs(file, proto.graph!),
  })
  return new Graph({
    ...model,
    proto: withFields(proto, { graph, opsetImport: checkOpsets(file, proto) }),
  })
}
