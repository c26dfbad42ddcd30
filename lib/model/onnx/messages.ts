/** Small helpers over ONNX messages that several readers of a graph share. */

import { QkError } from '../../errors.js'
import type { AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto } from './proto/onnx_pb.js'

/**
 * A message with some fields replaced. The other fields are shared, including those unknown to our schema, which
 * protobuf's `create` would drop.
 */
export function withFields<T extends object>(message: T, fields: Partial<T>): T {
  return Object.assign(Object.create(Object.getPrototypeOf(message)), message, fields)
}

/** The graphs inside one attribute. */
export function graphsOf({ g, graphs }: AttributeProto): GraphProto[] {
  return g ? [g, ...graphs] : graphs
}

/** The bodies of If, Loop, Scan and the like. */
export function subgraphsOf(node: NodeProto): GraphProto[] {
  return node.attribute.flatMap(graphsOf)
}

/** All nodes, including those of subgraphs at any depth. */
export function* allNodes(nodes: readonly NodeProto[]): Generator<NodeProto> {
  for (const node of nodes) {
    yield node
    for (const body of subgraphsOf(node)) {
      yield* allNodes(body.node)
    }
  }
}

/** Every tensor that a graph itself defines: its inputs, initializers and nodes' outputs. */
export function* definedNames(graph: GraphProto): Generator<string> {
  for (const { name } of graph.input) {
    yield name
  }
  for (const { name } of graph.initializer) {
    yield name
  }
  for (const { values } of graph.sparseInitializer) {
    if (values) {
      yield values.name
    }
  }
  for (const { output } of graph.node) {
    for (const name of output) {
      if (name) {
        yield name
      }
    }
  }
}

/** Every tensor with data: initializers and attributes, including those of subgraphs and functions. */
export function* allTensors({ graph, functions }: ModelProto): Generator<TensorProto> {
  if (graph) {
    yield* tensorsOf(graph)
  }
  for (const { node } of functions) {
    for (const inner of node) {
      yield* nodeTensors(inner)
    }
  }
}

function* tensorsOf({ initializer, sparseInitializer, node }: GraphProto): Generator<TensorProto> {
  yield* initializer
  for (const { values, indices } of sparseInitializer) {
    if (values) {
      yield values
    }
    if (indices) {
      yield indices
    }
  }
  for (const inner of node) {
    yield* nodeTensors(inner)
  }
}

function* nodeTensors({ attribute }: NodeProto): Generator<TensorProto> {
  for (const value of attribute) {
    if (value.t) {
      yield value.t
    }
    yield* value.tensors
    for (const body of graphsOf(value)) {
      yield* tensorsOf(body)
    }
  }
}

/** A domain in its short form: the standard operator set has two names. */
export function plainDomain(domain: string): string {
  return domain === 'ai.onnx' ? '' : domain
}

/** A node's description in errors and notes. */
export function describeNode(node: NodeProto): string {
  return `${node.opType} "${node.name || node.output[0] || ''}"`
}

/** The error of a file that can be decoded but violates ONNX. */
export function invalidModel(file: string, why: string): QkError {
  return new QkError('ERR_NOT_ONNX', `${file} is not a valid ONNX model: ${why}`, {
    hint: 'Export the model again; onnx.checker.check_model tells more.',
  })
}
