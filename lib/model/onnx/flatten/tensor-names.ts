/** Tensor names that a graph and its subgraphs define, so that moved tensors keep unique names. */

import { definedNames, subgraphsOf } from '../messages.js'
import type { GraphProto } from '../proto/onnx_pb.js'

export class TensorNames {
  private readonly definitions = new Map<string, number>()
  /** Last number used for each name. Without it, every call of a function would search from 1. */
  private readonly lastNumber = new Map<string, number>()

  constructor(graph: GraphProto) {
    this.count(graph, 1)
  }

  /** Forgets the names of a subgraph, once it is taken apart. */
  forget(body: GraphProto): void {
    this.count(body, -1)
  }

  /** A name that nothing else defines: the wanted one, or the wanted one with a number. */
  claim(wanted: string): string {
    let name = wanted
    if (this.timesDefined(name) > 0) {
      let number = this.lastNumber.get(wanted) ?? 1
      do {
        number++
        name = `${wanted}.${number}`
      } while (this.timesDefined(name) > 0)
      this.lastNumber.set(wanted, number)
    }
    this.definitions.set(name, 1)
    return name
  }

  timesDefined(name: string): number {
    return this.definitions.get(name) ?? 0
  }

  private count(graph: GraphProto, change: 1 | -1): void {
    for (const name of definedNames(graph)) {
      this.definitions.set(name, this.timesDefined(name) + change)
    }
    for (const node of graph.node) {
      for (const body of subgraphsOf(node)) {
        this.count(body, change)
      }
    }
  }
}
