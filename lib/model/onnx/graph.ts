/** An index over an ONNX graph: producers and consumers of tensors, and which tensors are constant. */

import { definedNames, plainDomain, subgraphsOf } from './messages.js'
import { ElementType } from './node-writer.js'
import type { GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto } from './proto/onnx_pb.js'
import type { OnnxModel } from './read-model.js'

/** Operations between a stored weight and its use. */
const STORED_AS_IT_IS = new Set([
  'Cast',
  'DequantizeLinear',
  'Identity',
  'Reshape',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
])
const MAX_STORED_STEPS = 8

export class Graph {
  readonly producers = new Map<string, NodeProto>()
  readonly consumers = new Map<string, NodeProto[]>()
  readonly initializers = new Map<string, TensorProto>()
  readonly inputs: ValueInfoProto[]
  /** Declared types of inputs, outputs and intermediate tensors. */
  readonly declaredTypes = new Map<string, TypeProto>()
  private readonly order = new Map<NodeProto, number>()
  private readonly staticMemo = new Map<string, boolean>()

  constructor(readonly model: OnnxModel) {
    const graph = model.proto.graph!
    for (const tensor of graph.initializer) {
      this.initializers.set(tensor.name, tensor)
    }
    for (const { name, type } of [...graph.valueInfo, ...graph.output, ...graph.input]) {
      if (type) {
        this.declaredTypes.set(name, type)
      }
    }
    graph.node.forEach((node, index) => {
      this.order.set(node, index)
      for (const name of node.output) {
        if (name) {
          this.producers.set(name, node)
        }
      }
      for (const name of namesUsedBy(node)) {
        const users = this.consumers.get(name)
        if (!users) {
          this.consumers.set(name, [node])
        }
        // A node that reads a tensor twice counts as one consumer. Otherwise walks along consumers would double at
        // each such node.
        else if (users[users.length - 1] !== node) {
          users.push(node)
        }
      }
    })
    // Old exporters list initializers among the inputs, as defaults that a caller may override.
    this.inputs = graph.input.filter((input) => !this.initializers.has(input.name))
  }

  get nodes(): readonly NodeProto[] {
    return this.model.proto.graph!.node
  }

  /** Version of the default operator set. */
  get opset(): number {
    return Number(this.defaultOpset?.version ?? 1n)
  }

  /** Whether the model says which version of ONNX's own operators it uses. */
  get hasDefaultOpset(): boolean {
    return this.defaultOpset !== undefined
  }

  private get defaultOpset() {
    return this.model.proto.opsetImport.find((o) => plainDomain(o.domain) === '')
  }

  /** Index of a node in the file, whose order ONNX requires to be topological. */
  indexOf(node: NodeProto): number {
    return this.order.get(node) ?? -1
  }

  /** Whether the tensor depends on no input except through shapes: a scale, an axis, a constant table. */
  isStatic(name: string): boolean {
    const known = this.staticMemo.get(name)
    if (known !== undefined) {
      return known
    }
    // Iterative, since graphs may be deeper than the stack; a cycle counts as not static.
    const stack: string[] = [name]
    const open = new Set<string>()
    while (stack.length > 0) {
      const current = stack[stack.length - 1]
      if (this.staticMemo.has(current)) {
        stack.pop()
        continue
      }
      const verdict = this.staticLeaf(current)
      if (verdict !== undefined) {
        this.staticMemo.set(current, verdict)
        stack.pop()
        continue
      }
      const names = namesUsedBy(this.producers.get(current)!)
      const pending = names.filter((n) => !this.staticMemo.has(n))
      if (open.has(current) || pending.length === 0) {
        this.staticMemo.set(
          current,
          names.every((n) => this.staticMemo.get(n) === true),
        )
        stack.pop()
      } else {
        open.add(current)
        for (const n of pending) {
          if (!open.has(n)) {
            stack.push(n)
          }
        }
      }
    }
    return this.staticMemo.get(name)!
  }

  /** Whether the tensor is a weight or another stored constant. It may be transposed, cast or dequantised. */
  isWeight(name: string): boolean {
    let current = name
    for (let steps = 0; steps < MAX_STORED_STEPS; steps++) {
      if (this.initializers.has(current)) {
        return true
      }
      const node = this.producers.get(current)
      if (!node) {
        return false
      }
      if (node.opType === 'Constant') {
        return true
      }
      if (!STORED_AS_IT_IS.has(node.opType)) {
        return false
      }
      current = node.input[0]
    }
    return false
  }

  private staticLeaf(name: string): boolean | undefined {
    if (this.initializers.has(name)) {
      return true
    }
    const node = this.producers.get(name)
    if (!node) {
      return false
    }
    if (node.opType === 'Shape' || node.opType === 'Size' || node.opType === 'Constant') {
      return true
    }
    return undefined
  }

  attribute(node: NodeProto, name: string) {
    return node.attribute.find((a) => a.name === name)
  }

  int(node: NodeProto, name: string, fallback: number): number {
    const found = this.attribute(node, name)
    return found ? Number(found.i) : fallback
  }

  float(node: NodeProto, name: string, fallback: number): number {
    const found = this.attribute(node, name)
    return found ? found.f : fallback
  }

  ints(node: NodeProto, name: string): number[] | undefined {
    return this.attribute(node, name)?.ints.map(Number)
  }

  string(node: NodeProto, name: string): string | undefined {
    const found = this.attribute(node, name)
    return found && Buffer.from(found.s).toString('utf8')
  }

  /**
   * Small constant integers (axes, shapes) from an initializer or a Constant node. Undefined for any other tensor.
   */
  constantInts(name: string): number[] | undefined {
    const node = this.producers.get(name)
    if (node?.opType === 'Constant') {
      const value = this.attribute(node, 'value')?.t
      if (value) {
        return tensorInts(value)
      }
      const single = this.attribute(node, 'value_int')
      return single ? [Number(single.i)] : this.ints(node, 'value_ints')
    }
    const tensor = this.initializers.get(name)
    return tensor && tensorInts(tensor)
  }

  /** Constant numbers in float32, from an initializer or a Constant node. */
  constantFloats(name: string): number[] | undefined {
    const node = this.producers.get(name)
    const tensor =
      node?.opType === 'Constant' ? this.attribute(node, 'value')?.t : this.initializers.get(name)
    if (tensor?.dataType !== ElementType.float || tensor.externalData.length > 0) {
      return undefined
    }
    if (tensor.floatData.length > 0) {
      return tensor.floatData
    }
    const raw = Buffer.from(tensor.rawData)
    return Array.from({ length: raw.length / 4 }, (_, i) => raw.readFloatLE(i * 4))
  }
}

function tensorInts(tensor: TensorProto): number[] | undefined {
  if (tensor.externalData.length > 0) {
    return undefined
  }
  if (tensor.dataType === ElementType.int64) {
    if (tensor.int64Data.length > 0) {
      return tensor.int64Data.map(Number)
    }
    const raw = Buffer.from(tensor.rawData)
    return Array.from({ length: raw.length / 8 }, (_, i) => Number(raw.readBigInt64LE(i * 8)))
  }
  return undefined
}

/** Every outer tensor that a node reads, including the reads of its subgraphs. */
export function namesUsedBy(node: NodeProto): string[] {
  const direct = node.input.filter((name) => name !== '')
  // Hardly any node has a subgraph, and this function runs several times for every node.
  if (node.attribute.every(({ g, graphs }) => !g && graphs.length === 0)) {
    return direct
  }
  return [...direct, ...subgraphsOf(node).flatMap(outerNames)]
}

function outerNames(body: GraphProto): string[] {
  const own = new Set(definedNames(body))
  const used = [...body.node.flatMap(namesUsedBy), ...body.output.map((o) => o.name)]
  return used.filter((name) => !own.has(name))
}
