/**
 * Checks the connections between the nodes of a graph, and sorts the nodes topologically. ONNX demands that order of
 * files. onnxruntime restores it if it is missing, so files without it exist.
 */

import { dependenciesFirst } from './dependencies-first.js'
import { namesUsedBy } from './graph.js'
import { describeNode, invalidModel, plainDomain } from './messages.js'
import type { GraphProto, NodeProto } from './proto/onnx_pb.js'

/** Errors: ERR_NOT_ONNX for tensors that no node makes or two nodes make, and for cycles. */
export function orderNodes(file: string, graph: GraphProto): NodeProto[] {
  const constants = new Map<string, NodeProto>()
  for (const node of graph.node) {
    if (isConstant(node)) {
      constants.set(node.output[0], node)
    }
  }
  // A node without outputs has no effect. Of several constants with one name, onnxruntime takes the last; some
  // exporters write equal constants several times.
  const nodes = graph.node.filter(
    (node) =>
      node.output.some((name) => name !== '') &&
      (!isConstant(node) || constants.get(node.output[0]) === node),
  )
  const given = givenNames(file, graph, constants)
  const makers = new Map<string, number>()
  nodes.forEach((node, index) => {
    for (const name of node.output) {
      if (name === '') {
        continue
      }
      const other = makers.get(name)
      const by = given.get(name) ?? (other === undefined ? undefined : describeNode(nodes[other]))
      if (by !== undefined) {
        throw invalidModel(file, `two things make the tensor "${name}": ${by} and ${describeNode(node)}`)
      }
      makers.set(name, index)
    }
  })
  const needs = nodes.map((node, index) => {
    const before: number[] = []
    for (const name of namesUsedBy(node)) {
      const maker = makers.get(name)
      if (maker !== undefined) {
        before.push(maker)
      } else if (!given.has(name)) {
        throw invalidModel(
          file,
          `${describeNode(nodes[index])} reads the tensor "${name}", which nothing makes`,
        )
      }
    }
    return before
  })
  for (const { name } of graph.output) {
    if (makers.has(name) || given.has(name)) {
      continue
    }
    throw invalidModel(file, `nothing makes its output "${name}"`)
  }
  const inOrder = needs.every((before, index) => before.every((maker) => maker < index))
  return inOrder ? nodes : sorted(file, nodes, needs)
}

function isConstant({ opType, domain }: NodeProto): boolean {
  return opType === 'Constant' && plainDomain(domain) === ''
}

/** The kind of each tensor that no node makes. */
function givenNames(
  file: string,
  graph: GraphProto,
  constants: ReadonlyMap<string, NodeProto>,
): Map<string, string> {
  const given = new Map<string, string>()
  for (const { name } of graph.input) {
    if (given.has(name)) {
      throw invalidModel(file, `it has two inputs called "${name}"`)
    }
    given.set(name, 'an input')
  }
  for (const { name } of graph.initializer) {
    // A constant of the same name takes precedence.
    if (!constants.has(name)) {
      given.set(name, 'an initializer')
    }
  }
  for (const { values } of graph.sparseInitializer) {
    if (values) {
      given.set(values.name, 'an initializer')
    }
  }
  return given
}

function sorted(file: string, nodes: NodeProto[], needs: number[][]): NodeProto[] {
  const circle = (maker: number, index: number) =>
    invalidModel(
      file,
      `${describeNode(nodes[maker])} depends on its own result, through ${describeNode(nodes[index])}`,
    )
  // In reverse, so that the first node of the file is placed first.
  const order = dependenciesFirst(nodes.keys(), (index) => needs[index].toReversed(), circle)
  return Array.from(order, (index) => nodes[index])
}
