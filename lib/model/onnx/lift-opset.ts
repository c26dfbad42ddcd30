/**
 * Lifts graphs of opsets 9 and 10 to opset 11, which gathering rows requires. Most operators mean the same in all
 * three. Attributes that became inputs are moved (Clip, Pad, Slice, TopK). Upsample and Resize get attributes for
 * their old behaviour.
 */

import { create } from '@bufbuild/protobuf'
import type { Graph } from './graph.js'
import { allNodes, describeNode, graphsOf, plainDomain, withFields } from './messages.js'
import { ElementType, NodeWriter } from './node-writer.js'
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  type NodeProto,
} from './proto/onnx_pb.js'
import type { OnnxModel } from './read-model.js'
import { typeOf } from './static-types.js'

export const LEAST_OPSET = 11
const OLDEST_LIFTED = 9

/** Why a graph of an older opset cannot be lifted to opset 11. Undefined if it can. */
export function liftObstacle(graph: Graph): string | undefined {
  if (graph.opset < OLDEST_LIFTED) {
    return `only opsets from ${OLDEST_LIFTED} on are lifted`
  }
  for (const node of allNodes(graph.nodes)) {
    if (plainDomain(node.domain) !== '') {
      continue
    }
    const reason = CHANGED[node.opType]?.(graph, node)
    if (reason) {
      return `${describeNode(node)} stands in the way: ${reason}`
    }
  }
  return undefined
}

/** Obstacles by operator: what cannot be moved to opset 11. */
const CHANGED: Record<string, (graph: Graph, node: NodeProto) => string | undefined> = {
  Dropout: (graph, { output }) =>
    graph.opset < 10 && output[1] && graph.consumers.has(output[1])
      ? 'its mask has become boolean, and something reads it'
      : undefined,
  Upsample: (graph, node) => resizing(graph, node),
  Resize: (graph, node) => resizing(graph, node),
  Pad: (graph, node) => (graph.attribute(node, 'pads') ? undefined : 'it does not say how much is added'),
  Slice: (graph, node) =>
    graph.opset < 10 && !(graph.attribute(node, 'starts') && graph.attribute(node, 'ends'))
      ? 'it does not say from where to where'
      : undefined,
  TopK: (graph, node) =>
    graph.opset < 10 && !graph.attribute(node, 'k') ? 'it does not say how many' : undefined,
}

function resizing(graph: Graph, node: NodeProto): string | undefined {
  if (node.input.length !== 2) {
    return 'it has no input for its scales'
  }
  const mode = graph.string(node, 'mode') ?? 'nearest'
  if (!['nearest', 'linear', 'bilinear'].includes(mode)) {
    return `its mode is "${mode}"`
  }
  if (mode !== 'nearest' || nearestMode(graph, node)) {
    return undefined
  }
  return 'it takes the nearest pixel, above or below by scales that are not known, or that grow one axis and shrink another'
}

/**
 * In older opsets, onnxruntime takes the lower pixel along an axis that grows, and the upper pixel along one that
 * shrinks.
 */
function nearestMode(graph: Graph, node: NodeProto): 'floor' | 'ceil' | undefined {
  // An Upsample only grows axes.
  if (node.opType === 'Upsample') {
    return 'floor'
  }
  const scales = graph.constantFloats(node.input[1])
  if (!scales) {
    return undefined
  }
  if (scales.every((scale) => scale >= 1)) {
    return 'floor'
  }
  return scales.every((scale) => scale <= 1) ? 'ceil' : undefined
}

/** The graph at opset 11. Unchanged if it is newer, or if there is an obstacle. */
export function liftOpset(graph: Graph): OnnxModel {
  const { model } = graph
  if (!graph.hasDefaultOpset || graph.opset >= LEAST_OPSET || liftObstacle(graph)) {
    return model
  }
  return new Lifting(graph).result()
}

class Lifting {
  private readonly write = new NodeWriter('qkspace.lifted')

  constructor(private readonly graph: Graph) {}

  result(): OnnxModel {
    const { model, opset } = this.graph
    const lifted = this.lifted(model.proto.graph!)
    const initializer = [...lifted.initializer, ...this.write.addedInitializers]
    const opsetImport = model.proto.opsetImport.map((entry) =>
      plainDomain(entry.domain) === '' ? withFields(entry, { version: BigInt(LEAST_OPSET) }) : entry,
    )
    const proto = withFields(model.proto, { graph: withFields(lifted, { initializer }), opsetImport })
    const note = `its operators are read as those of opset ${LEAST_OPSET}; the file is of opset ${opset}`
    return { ...model, proto, notes: [...model.notes, note] }
  }

  /** Constants go to the outermost graph, where subgraphs see them too. */
  private lifted(graph: GraphProto): GraphProto {
    return withFields(graph, {
      node: graph.node.flatMap((node) => {
        const whole = this.withBodies(node)
        const before = this.write.addedNodes.length
        const instead = this.node(whole)
        return [...this.write.addedNodes.slice(before), instead]
      }),
    })
  }

  private withBodies(node: NodeProto): NodeProto {
    if (node.attribute.every((attribute) => graphsOf(attribute).length === 0)) {
      return node
    }
    const attribute = node.attribute.map((a) =>
      withFields(a, { ...(a.g && { g: this.lifted(a.g) }), graphs: a.graphs.map((g) => this.lifted(g)) }),
    )
    return withFields(node, { attribute })
  }

  private node(node: NodeProto): NodeProto {
    if (plainDomain(node.domain) !== '') {
      return node
    }
    const { graph, write } = this
    const [data = '', scales = ''] = node.input
    const ints = (name: string) => graph.ints(node, name)
    switch (node.opType) {
      case 'Clip': {
        const bound = (name: string) =>
          graph.attribute(node, name) ? this.number(graph.float(node, name, 0), data) : ''
        return withInputs(node, [data, bound('min'), bound('max')], ['min', 'max'])
      }
      case 'Pad': {
        const value = this.number(graph.float(node, 'value', 0), data)
        return withInputs(node, [data, write.int64Constant(ints('pads') ?? []), value], ['pads', 'value'])
      }
      case 'Slice': {
        if (graph.opset >= 10) {
          return node
        }
        const [starts, ends, axes] = [ints('starts') ?? [], ints('ends') ?? [], ints('axes')]
        const which = axes ?? starts.map((_, axis) => axis)
        const inputs = [starts, ends, which].map((list) => write.int64Constant(list))
        return withInputs(node, [data, ...inputs], ['starts', 'ends', 'axes'])
      }
      case 'TopK':
        if (graph.opset >= 10) {
          return node
        }
        return withInputs(node, [data, write.int64Constant([graph.int(node, 'k', 1)])], ['k'])
      case 'Scatter':
        return withFields(node, { opType: 'ScatterElements' })
      case 'Upsample':
      case 'Resize':
        return this.resize(node, data, scales)
      default:
        return node
    }
  }

  /** Before opset 11, the corner of the first pixel is the corner of the image. */
  private resize(node: NodeProto, data: string, scales: string): NodeProto {
    const nearest = (this.graph.string(node, 'mode') ?? 'nearest') === 'nearest'
    const attribute = [
      text('mode', nearest ? 'nearest' : 'linear'),
      text('coordinate_transformation_mode', 'asymmetric'),
      ...(nearest ? [text('nearest_mode', nearestMode(this.graph, node)!)] : []),
    ]
    // Only another mode reads the region, so an empty list is enough.
    const none = this.write.node('Cast', [this.write.int64Constant([])], { to: ElementType.float })
    return withFields(node, { opType: 'Resize', input: [data, none, scales], attribute })
  }

  /** A scalar of the element type of `like`. */
  private number(value: number, like: string): string {
    const constant = this.write.floatConstant(value)
    const type = typeOf(this.graph, like) ?? ElementType.float
    return type === ElementType.float ? constant : this.write.node('Cast', [constant], { to: type })
  }
}

/** Replaces attributes by inputs; optional ones at the end are left out. */
function withInputs(node: NodeProto, inputs: string[], gone: readonly string[]): NodeProto {
  const last = inputs.findLastIndex((name) => name !== '')
  return withFields(node, {
    input: inputs.slice(0, last + 1),
    attribute: node.attribute.filter(({ name }) => !gone.includes(name)),
  })
}

function text(name: string, value: string) {
  const s = new TextEncoder().encode(value)
  return create(AttributeProtoSchema, { name, s, type: AttributeProto_AttributeType.STRING })
}
