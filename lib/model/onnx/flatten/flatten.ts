/**
 * Moves attention to the top level of a graph. Calls of the model's own functions are replaced by their bodies. An If
 * around attention is replaced by one of its branches, if the branch is known or can be chosen. The model gives the
 * same results as before, for the chosen values. Loop, Scan and other Ifs stay as they are.
 *
 * A function's body runs with the model's versions of operator sets, whatever versions it imports itself. ONNX demands
 * that the two agree on every operator used, and onnxruntime does the same without a check.
 */

import { create } from '@bufbuild/protobuf'
import { namesUsedBy } from '../graph.js'
import { allNodes, describeNode, invalidModel, plainDomain, subgraphsOf, withFields } from '../messages.js'
import {
  type FunctionProto,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
} from '../proto/onnx_pb.js'
import type { OnnxModel } from '../read-model.js'
import { BranchChooser, type TakenBranch } from './constant-branch.js'
import { copyPiece, renameSparse, Scope } from './copy-nodes.js'
import { FunctionLibrary, shownName } from './function-library.js'
import { TensorNames } from './tensor-names.js'

const BOOL = 9

/** Most characters of the prefix of inlined nodes: the names of the calls that they come from. */
const MAX_PREFIX = 200

/**
 * Flattens a model. An If is replaced only if it holds nodes for which `isAttention` is true.
 *
 * Errors: ERR_NOT_ONNX, ERR_UNSUPPORTED_MODEL, both for functions that cannot be inlined.
 */
export function flatten(model: OnnxModel, isAttention: (node: NodeProto) => boolean): OnnxModel {
  const graph = model.proto.graph!
  if (model.proto.functions.length === 0 && !graph.node.some((node) => node.opType === 'If')) {
    return model
  }
  return new Flattening(model, isAttention).result()
}

class Flattening {
  private readonly file: string
  private readonly source: ModelProto
  private readonly graph: GraphProto
  private readonly library: FunctionLibrary
  private readonly names: TensorNames
  private readonly producers = new Map<string, NodeProto>()
  private readonly initializers = new Map<string, TensorProto>()
  private readonly chooser: BranchChooser
  private readonly opsets: ModelProto['opsetImport']
  private readonly notes: string[] = []
  /** Tensors that were read by removed branches. */
  private readonly released = new Set<string>()

  constructor(
    private readonly model: OnnxModel,
    isAttention: (node: NodeProto) => boolean,
  ) {
    this.file = model.path
    this.source = model.proto
    const graph = withFields(model.proto.graph!, {})
    graph.initializer = [...graph.initializer]
    graph.sparseInitializer = [...graph.sparseInitializer]
    graph.valueInfo = [...graph.valueInfo]
    this.graph = graph
    this.opsets = [...model.proto.opsetImport]
    this.library = new FunctionLibrary(this.file, model.proto, isAttention)
    this.library.checkSize(graph.node)
    this.names = new TensorNames(graph)
    this.remember(graph.node)
    for (const tensor of graph.initializer) {
      this.initializers.set(tensor.name, tensor)
    }
    const switches = new Set(graph.input.filter(isBoolean).map(({ name }) => name))
    this.chooser = new BranchChooser({
      producer: (tensor) => this.producers.get(tensor),
      initializer: (tensor) => this.initializers.get(tensor),
      isSwitch: (tensor) => switches.has(tensor),
      hasAttention: (nodes) => this.library.hasAttention(nodes),
    })
  }

  result(): OnnxModel {
    this.graph.node = this.flatNodes()
    this.settleInputs()
    const proto = withFields(this.source, {
      graph: this.graph,
      opsetImport: this.opsets,
      functions: this.callsRemain() ? this.source.functions : [],
    })
    return { ...this.model, proto, notes: [...this.model.notes, ...this.notes] }
  }

  /** Processes nodes in order. The replacement of a node is processed next. */
  private flatNodes(): NodeProto[] {
    const done: NodeProto[] = []
    const pending = this.graph.node.toReversed()
    for (let node = pending.pop(); node; node = pending.pop()) {
      const instead = this.replacement(node)
      if (!instead) {
        done.push(node)
        continue
      }
      this.remember(instead)
      for (let i = instead.length - 1; i >= 0; i--) {
        pending.push(instead[i])
      }
    }
    return done
  }

  private replacement(node: NodeProto): NodeProto[] | undefined {
    const called = this.library.find(node)
    if (called) {
      return this.bodyOf(called, node)
    }
    const taken = this.chooser.take(node)
    return taken && this.branch(node, taken)
  }

  private bodyOf(fn: FunctionProto, call: NodeProto): NodeProto[] {
    const refuse = (why: string) =>
      invalidModel(this.file, `${describeNode(call)} calls the function "${shownName(fn)}", ${why}`)
    if (call.input.length > fn.input.length || call.output.length > fn.output.length) {
      throw refuse(`which has ${fn.input.length} inputs and ${fn.output.length} outputs, with more`)
    }
    const scope = new Scope((name) => {
      throw refuse(`which reads "${name}", and nothing in it makes that`)
    })
    fn.input.forEach((name, i) => {
      scope.set(name, call.input[i] ?? '')
    })
    const written = fn.node.flatMap(({ output }) => output).find((name) => name && scope.has(name))
    if (written !== undefined) {
      throw refuse(`which writes to its own input "${written}"`)
    }
    const attributes = new Map([...fn.attributeProto, ...call.attribute].map((a) => [a.name, a]))
    this.importOpsets(fn)
    const prefix = `${(call.name || call.opType).slice(0, MAX_PREFIX)}/`
    const outputs = fn.output.map((name, i) => [name, call.output[i] ?? ''] as const)
    return copyPiece({ nodes: fn.node, outputs }, scope, { names: this.names, attributes, prefix })
  }

  private branch(node: NodeProto, { body, note }: TakenBranch): NodeProto[] {
    this.notes.push(note)
    if (node.output.length !== body.output.length) {
      throw invalidModel(
        this.file,
        `${describeNode(node)} has ${node.output.length} outputs, its branch ${body.output.length}`,
      )
    }
    for (const name of namesUsedBy(node)) {
      this.released.add(name)
    }
    for (const both of subgraphsOf(node)) {
      this.names.forget(both)
    }
    const scope = new Scope((name) => name)
    const claim = (name: string) => scope.set(name, this.names.claim(name))
    for (const tensor of body.initializer) {
      claim(tensor.name)
      const moved = withFields(tensor, { name: scope.resolve(tensor.name) })
      this.graph.initializer.push(moved)
      this.initializers.set(moved.name, moved)
    }
    for (const sparse of body.sparseInitializer) {
      claim(sparse.values?.name ?? '')
      this.graph.sparseInitializer.push(renameSparse(sparse, scope))
    }
    const outputs = body.output.map(({ name }, i) => [name, node.output[i]] as const)
    const copies = copyPiece({ nodes: body.node, outputs }, scope, { names: this.names, prefix: '' })
    for (const info of [...body.valueInfo, ...body.output]) {
      const moved = withFields(info, { name: scope.resolve(info.name) })
      if (scope.has(info.name)) {
        this.graph.valueInfo.push(moved)
      }
    }
    return copies
  }

  /** Adds the imports of a function to the model, which needs them once the function is inlined. */
  private importOpsets(fn: FunctionProto): void {
    for (const entry of fn.opsetImport) {
      const domain = plainDomain(entry.domain)
      if (!this.opsets.some((known) => plainDomain(known.domain) === domain)) {
        this.opsets.push(entry)
      }
    }
  }

  /** Turns inputs with a chosen value into constants. Removes inputs that only removed branches read. */
  private settleInputs(): void {
    const { graph } = this
    const { chosen } = this.chooser
    const read = new Set(graph.node.flatMap(namesUsedBy))
    for (const { name } of graph.output) {
      read.add(name)
    }
    for (const input of graph.input) {
      const value = chosen.get(input.name)
      if (value !== undefined && read.has(input.name)) {
        graph.initializer.push(booleanLike(input, value))
      }
    }
    graph.input = graph.input.filter(
      ({ name }) => !chosen.has(name) && (read.has(name) || !this.released.has(name)),
    )
  }

  /** Whether calls remain: inside Loops and similar operators, or of operators that onnxruntime implements. */
  private callsRemain(): boolean {
    for (const node of allNodes(this.graph.node)) {
      if (this.library.named(node)) {
        return true
      }
    }
    return false
  }

  private remember(nodes: readonly NodeProto[]): void {
    for (const node of nodes) {
      for (const name of node.output) {
        if (name) {
          this.producers.set(name, node)
        }
      }
    }
  }
}

function isBoolean({ type }: ValueInfoProto): boolean {
  return type?.value.case === 'tensorType' && type.value.value.elemType === BOOL
}

function booleanLike({ name, type }: ValueInfoProto, value: boolean): TensorProto {
  const shape = type?.value.case === 'tensorType' ? type.value.value.shape : undefined
  return create(TensorProtoSchema, {
    name,
    dataType: BOOL,
    dims: (shape?.dim ?? []).map(() => 1n),
    rawData: Uint8Array.of(Number(value)),
  })
}
