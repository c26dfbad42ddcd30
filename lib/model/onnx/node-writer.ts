/** Writes nodes and constants for a graph, with unique names. */

import { create } from '@bufbuild/protobuf'
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
} from './proto/onnx_pb.js'

/** ONNX's numbers for the element types that qkspace names. */
export const ElementType = {
  float: 1,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  double: 11,
  bfloat16: 16,
} as const

/** ONNX's number of a floating type by onnxruntime's name. */
export function elementTypeOf(name: string): number {
  return name === 'float16'
    ? ElementType.float16
    : name === 'float64'
      ? ElementType.double
      : ElementType.float
}

export class NodeWriter {
  readonly addedNodes: NodeProto[] = []
  readonly addedInitializers: TensorProto[] = []
  private counter = 0

  /** Names start with `prefix`. Two writers of one graph need different prefixes. */
  constructor(private readonly prefix: string) {}

  /** Adds a node with one output and returns that output's name. */
  node(
    opType: string,
    inputs: string[],
    attributes: Record<string, number | number[]> = {},
    output?: string,
  ): string {
    const own = `${this.prefix}.${opType}.${this.counter++}`
    const name = output ?? own
    const attribute = Object.entries(attributes).map(([key, value]) =>
      Array.isArray(value)
        ? create(AttributeProtoSchema, {
            name: key,
            ints: value.map(BigInt),
            type: AttributeProto_AttributeType.INTS,
          })
        : create(AttributeProtoSchema, {
            name: key,
            i: BigInt(value),
            type: AttributeProto_AttributeType.INT,
          }),
    )
    this.addedNodes.push(
      create(NodeProtoSchema, { opType, input: inputs, output: [name], name: own, attribute }),
    )
    return name
  }

  int64Constant(values: readonly number[], dims: readonly number[] = [values.length]): string {
    return this.constant({
      dataType: ElementType.int64,
      dims: dims.map(BigInt),
      int64Data: values.map(BigInt),
    })
  }

  /** A scalar. */
  floatConstant(value: number): string {
    return this.constant({ dataType: ElementType.float, dims: [], floatData: [value] })
  }

  private constant(tensor: {
    dataType: number
    dims: bigint[]
    int64Data?: bigint[]
    floatData?: number[]
  }): string {
    const name = `${this.prefix}.constant.${this.counter++}`
    this.addedInitializers.push(create(TensorProtoSchema, { name, ...tensor }))
    return name
  }
}
