/**
 * The functions that a model defines. Each is analysed once, callees first: its size after its calls are inlined, and
 * whether it contains attention.
 */

import { QkError } from '../../../errors.js'
import { dependenciesFirst } from '../dependencies-first.js'
import { allNodes, invalidModel, plainDomain } from '../messages.js'
import type { FunctionProto, ModelProto, NodeProto } from '../proto/onnx_pb.js'

/** Most names of nodes and tensors that inlining may write, since nested calls can multiply without bound. */
const MAX_INLINED_SIZE = 20_000_000

/**
 * Domains whose operators onnxruntime implements. For such an operator, onnxruntime ignores the model's function of
 * that name, and so does this class.
 */
const BUILT_IN_DOMAINS = new Set(['', 'ai.onnx.ml', 'ai.onnx.training', 'com.microsoft'])

export class FunctionLibrary {
  private readonly functions = new Map<string, FunctionProto>()
  private readonly sizes = new Map<FunctionProto, number>()
  private readonly withAttention = new Set<FunctionProto>()

  /** Errors: ERR_NOT_ONNX where two functions share a name, or functions call themselves. */
  constructor(
    private readonly file: string,
    model: ModelProto,
    private readonly isAttention: (node: NodeProto) => boolean,
  ) {
    for (const fn of model.functions) {
      const key = keyOf(fn.domain, fn.name, fn.overload)
      if (this.functions.has(key)) {
        throw invalidModel(file, `two functions are called "${shownName(fn)}"`)
      }
      this.functions.set(key, fn)
    }
    const circle = (fn: FunctionProto) => invalidModel(file, `its function "${shownName(fn)}" calls itself`)
    for (const fn of dependenciesFirst(this.functions.values(), (caller) => this.calledBy(caller), circle)) {
      this.examine(fn)
    }
  }

  /** The function that has the name of a node's operator. */
  named({ domain, opType, overload }: NodeProto): FunctionProto | undefined {
    return this.functions.size === 0 ? undefined : this.functions.get(keyOf(domain, opType, overload))
  }

  /** The function that a node calls, if it does. */
  find(node: NodeProto): FunctionProto | undefined {
    return BUILT_IN_DOMAINS.has(plainDomain(node.domain)) ? undefined : this.named(node)
  }

  /** Whether one of the nodes, a node of its subgraphs, or a function it calls normalises scores. */
  hasAttention(nodes: readonly NodeProto[]): boolean {
    for (const node of allNodes(nodes)) {
      const called = this.find(node)
      if (called ? this.withAttention.has(called) : this.isAttention(node)) {
        return true
      }
    }
    return false
  }

  /** Errors: ERR_UNSUPPORTED_MODEL if there would be too many nodes. */
  checkSize(nodes: readonly NodeProto[]): void {
    const size = this.sizeOf(nodes)
    if (size <= MAX_INLINED_SIZE) {
      return
    }
    throw new QkError(
      'ERR_UNSUPPORTED_MODEL',
      `${this.file}: with its functions inlined, the graph would name ${size.toPrecision(3)} tensors`,
      { hint: `At most ${MAX_INLINED_SIZE} are read: functions that call functions multiply.` },
    )
  }

  private *calledBy(fn: FunctionProto): Generator<FunctionProto> {
    for (const node of allNodes(fn.node)) {
      const called = this.find(node)
      if (called) {
        yield called
      }
    }
  }

  private examine(fn: FunctionProto): void {
    this.sizes.set(fn, this.sizeOf(fn.node))
    if (this.hasAttention(fn.node)) {
      this.withAttention.add(fn)
    }
  }

  private sizeOf(nodes: readonly NodeProto[]): number {
    let size = 0
    for (const node of allNodes(nodes)) {
      const called = this.find(node)
      size += 1 + node.input.length + node.output.length + (called ? this.sizes.get(called)! : 0)
    }
    return size
  }
}

/** "domain.name", as in errors and notes. */
export function shownName({ domain, name }: { domain: string; name: string }): string {
  return domain ? `${domain}.${name}` : name
}

function keyOf(domain: string, name: string, overload: string): string {
  return JSON.stringify([plainDomain(domain), name, overload])
}
