/**
 * Lowers a fused attention operator into an equivalent subgraph of standard operators beside it. The operator itself
 * stays and runs whenever no inner tensor is needed.
 */

import type { LoweredAttention } from '../candidate.js'
import type { Graph } from '../onnx/graph.js'
import type { NodeWriter } from '../onnx/node-writer.js'
import type { NodeProto, TensorProto } from '../onnx/proto/onnx_pb.js'

/** Why an operator cannot be lowered, and what would help. */
export interface Refusal {
  reason: string
  needs: string
}

/** Writes the subgraph of one operator. */
export type FusedOperator = (context: LoweringContext) => LoweredAttention | Refusal

export interface LoweringContext {
  graph: Graph
  node: NodeProto
  write: SubgraphWriter
}

/** A node writer with the few idioms that every fused operator needs. All idioms work from opset 11 on. */
export class SubgraphWriter {
  constructor(private readonly nodes: NodeWriter) {}

  get addedNodes(): readonly NodeProto[] {
    return this.nodes.addedNodes
  }

  get addedInitializers(): readonly TensorProto[] {
    return this.nodes.addedInitializers
  }

  op(
    opType: string,
    inputs: string[],
    attributes: Record<string, number | number[]> = {},
    output?: string,
  ): string {
    return this.nodes.node(opType, inputs, attributes, output)
  }

  ints(values: readonly number[], dims?: readonly number[]): string {
    return this.nodes.int64Constant(values, dims)
  }

  float(value: number): string {
    return this.nodes.floatConstant(value)
  }

  cast(tensor: string, to: number): string {
    return this.op('Cast', [tensor], { to })
  }

  /** Length of one axis, int64 [1]. */
  size(tensor: string, axis: number): string {
    return this.op('Gather', [this.op('Shape', [tensor]), this.ints([axis])])
  }

  /** Length of one axis, int64 []. */
  scalarSize(tensor: string, axis: number): string {
    return this.op('Gather', [this.op('Shape', [tensor]), this.ints([axis], [])])
  }

  reshape(tensor: string, shape: readonly (number | string)[]): string {
    if (shape.every((size) => typeof size === 'number')) {
      return this.op('Reshape', [tensor, this.ints(shape as number[])])
    }
    const parts = shape.map((size) => (typeof size === 'number' ? this.ints([size]) : size))
    return this.op('Reshape', [tensor, this.op('Concat', parts, { axis: 0 })])
  }

  transpose(tensor: string, perm: number[]): string {
    return this.op('Transpose', [tensor], { perm })
  }

  /** [start, end) of one axis; `end` may be an int64 [1] tensor. */
  slice(tensor: string, axis: number, start: number | string, end: number | string): string {
    const bound = (at: number | string) => (typeof at === 'number' ? this.ints([at]) : at)
    return this.op('Slice', [tensor, bound(start), bound(end), this.ints([axis])])
  }

  concat(tensors: string[], axis: number): string {
    return this.op('Concat', tensors, { axis })
  }

  /** 0, 1, ... up to the int64 [] `count`. */
  range(count: string): string {
    return this.op('Range', [this.ints([0], []), count, this.ints([1], [])])
  }

  /** [batch, pos, heads * d] -> [batch, heads, pos, d]. */
  splitHeads(tensor: string, heads: number): string {
    return this.transpose(this.reshape(tensor, [0, 0, heads, -1]), [0, 2, 1, 3])
  }

  /** [batch, heads, pos, d] -> [batch, pos, heads * d]. */
  joinHeads(tensor: string): string {
    return this.reshape(this.transpose(tensor, [0, 2, 1, 3]), [0, 0, -1])
  }
}

/** Far past the end of any axis. */
export const TO_THE_END = 2 ** 31 - 1

/** An input of a node, or undefined where an optional one is left out. */
export function optionalInput(node: NodeProto, index: number): string | undefined {
  return node.input[index] || undefined
}
