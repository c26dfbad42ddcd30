/** Graphs derived from a model's graph: with further nodes and inputs, and reduced to the requested outputs. */

import { create, toBinary } from '@bufbuild/protobuf'
import { type Graph, namesUsedBy } from './graph.js'
import { NodeWriter } from './node-writer.js'
import {
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TypeProto,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './proto/onnx_pb.js'

/**
 * A new graph over an old one: nodes and inputs are added, outputs are chosen, and nodes that these outputs do not
 * need are left out. onnxruntime computes every output of a graph, fetched or not, so leaving the rest in would cost a
 * full forward pass.
 */
export class GraphEditor extends NodeWriter {
  private readonly addedInputs: ValueInfoProto[] = []
  private readonly outputs = new Set<string>()
  private readonly intercepted = new Map<string, string>()
  private readonly given = new Set<string>()

  constructor(readonly graph: Graph) {
    super('qkspace')
  }

  /** Declares an input of the graph. */
  input(name: string, elemType: number, dims: (string | number)[]): string {
    const dim = dims.map((d) => ({
      value:
        typeof d === 'number'
          ? { case: 'dimValue' as const, value: BigInt(d) }
          : { case: 'dimParam' as const, value: d },
    }))
    const type = {
      value: { case: 'tensorType' as const, value: { elemType, shape: { dim } } },
    }
    this.addedInputs.push(create(ValueInfoProtoSchema, { name, type }))
    return name
  }

  /**
   * Separates a tensor from the nodes that read it. Its producer then writes to the returned name, and an added node
   * must write to the tensor's own name.
   */
  intercept(tensor: string): string {
    const raw = rawName(tensor)
    this.intercepted.set(tensor, raw)
    return raw
  }

  /**
   * Turns a tensor of the graph into an input of any shape. The nodes that compute it are left out, unless something
   * else needs them.
   */
  give(tensor: string, elemType: number): void {
    if (this.given.has(tensor) || this.graph.inputs.some(({ name }) => name === tensor)) {
      return
    }
    this.given.add(tensor)
    const type = { value: { case: 'tensorType' as const, value: { elemType } } }
    this.addedInputs.push(create(ValueInfoProtoSchema, { name: tensor, type }))
  }

  output(name: string): void {
    this.outputs.add(name)
  }

  /** The edited model's bytes (weights stay external) and the inputs that it still needs. */
  build(): { bytes: Uint8Array; inputs: string[] } {
    const { graph } = this
    const source = graph.model.proto
    const { order, needed } = this.neededNodes()
    const inputs = [...source.graph!.input, ...this.addedInputs].filter((i) => needed.has(i.name))
    const proto = create(ModelProtoSchema, { ...source })
    proto.graph = create(GraphProtoSchema, {
      name: source.graph!.name,
      node: order,
      initializer: [...source.graph!.initializer, ...this.addedInitializers].filter((t) =>
        needed.has(t.name),
      ),
      sparseInitializer: source.graph!.sparseInitializer.filter((t) => needed.has(t.values?.name ?? '')),
      input: inputs,
      output: [...this.outputs].map((name) => create(ValueInfoProtoSchema, { name, ...this.declared(name) })),
      valueInfo: order
        .flatMap(({ output }) => output)
        .filter((name) => !this.outputs.has(name) && graph.declaredTypes.has(name))
        .map((name) => create(ValueInfoProtoSchema, { name, ...this.declared(name) })),
    })
    const own = new Set(graph.inputs.map((i) => i.name))
    for (const input of this.addedInputs) {
      own.add(input.name)
    }
    return {
      bytes: toBinary(ModelProtoSchema, proto),
      inputs: inputs.map((i) => i.name).filter((name) => own.has(name)),
    }
  }

  /** The element type that the file declares, since some operators leave it open. Shapes may have changed. */
  private declared(name: string): { type?: TypeProto } {
    const value = this.graph.declaredTypes.get(name)?.value
    if (value?.case !== 'tensorType') {
      return {}
    }
    const { elemType } = value.value
    return { type: create(TypeProtoSchema, { value: { case: 'tensorType', value: { elemType } } }) }
  }

  /** The nodes that the outputs depend on, in topological order, and all tensors among them. */
  private neededNodes(): { order: NodeProto[]; needed: Set<string> } {
    const producers = new Map(this.graph.producers)
    // A node that is still needed for its other outputs writes a replaced tensor to another name.
    const moved = [...this.intercepted, ...[...this.given].map((name) => [name, rawName(name)] as const)]
    for (const [tensor, raw] of moved) {
      const node = producers.get(tensor)!
      const output = node.output.map((name) => (name === tensor ? raw : name))
      const renamed = create(NodeProtoSchema, { ...node, output })
      for (const name of output) {
        producers.set(name, renamed)
      }
    }
    for (const tensor of this.given) {
      producers.delete(tensor)
    }
    for (const node of this.addedNodes) {
      for (const name of node.output) {
        producers.set(name, node)
      }
    }
    const order: NodeProto[] = []
    const needed = new Set<string>()
    const state = new Map<NodeProto, 'open' | 'done'>()
    // Depth first with a stack of its own, since graphs may be deeper than the call stack. A node stays in the
    // stack until its inputs are placed.
    const stack = [...this.outputs].reverse()
    while (stack.length > 0) {
      const name = stack[stack.length - 1]
      needed.add(name)
      const node = producers.get(name)
      if (!node || state.get(node) === 'done') {
        stack.pop()
        continue
      }
      const pending = state.has(node)
        ? []
        : namesUsedBy(node).filter((used) => {
            needed.add(used)
            const producer = producers.get(used)
            return producer !== undefined && !state.has(producer)
          })
      if (pending.length > 0) {
        state.set(node, 'open')
        for (const used of pending) {
          stack.push(used)
        }
        continue
      }
      state.set(node, 'done')
      order.push(node)
      stack.pop()
    }
    return { order, needed }
  }
}

/** New name of a tensor whose own name is written by an added node. */
const rawName = (tensor: string) => `qkspace.raw/${tensor}`
