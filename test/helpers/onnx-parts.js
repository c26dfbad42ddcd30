/** ONNX models from small parts: nodes with attributes of any kind, subgraphs, functions. */

import { writeFileSync } from 'node:fs'
import { create, toBinary } from '@bufbuild/protobuf'
import {
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  FunctionProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  TensorProtoSchema,
} from '../../dist/model/onnx/proto/onnx_pb.js'
import { BOOL, FLOAT, INT64, valueInfo } from './graph-builder.js'

export { BOOL, FLOAT, INT64 }

/** A tensor with its data inside; booleans are one byte each. */
export function tensor(name, dataType, dims, values) {
  const data =
    dataType === FLOAT
      ? Float32Array.from(values)
      : dataType === INT64
        ? BigInt64Array.from(values, BigInt)
        : Uint8Array.from(values, Number)
  return create(TensorProtoSchema, {
    name,
    dataType,
    dims: dims.map(BigInt),
    rawData: new Uint8Array(data.buffer),
  })
}

/** Names the caller's attribute that an attribute inside a function takes its value from. */
export class Ref {
  constructor(attribute, type = 'INT') {
    this.attribute = attribute
    this.type = type
  }
}

/** A whole number is an INT, another one a FLOAT; lists are INTS; tensors, graphs and `Ref`s are what they are. */
export function attribute(name, value) {
  const make = (type, fields) => create(AttributeProtoSchema, { name, type: AttributeType[type], ...fields })
  if (value instanceof Ref) {
    return make(value.type, { refAttrName: value.attribute })
  }
  if (typeof value === 'string') {
    return make('STRING', { s: Buffer.from(value) })
  }
  if (Array.isArray(value)) {
    return make('INTS', { ints: value.map(BigInt) })
  }
  if (value?.$typeName === 'onnx.TensorProto') {
    return make('TENSOR', { t: value })
  }
  if (value?.$typeName === 'onnx.GraphProto') {
    return make('GRAPH', { g: value })
  }
  return Number.isInteger(value) ? make('INT', { i: BigInt(value) }) : make('FLOAT', { f: value })
}

export function node(opType, input, output, attributes = {}, { domain = '', overload = '', name = '' } = {}) {
  return create(NodeProtoSchema, {
    opType,
    input,
    output,
    name,
    domain,
    overload,
    attribute: Object.entries(attributes).map(([key, value]) => attribute(key, value)),
  })
}

/** Inputs and outputs are names, or values with a type. */
export function subgraph({ name = 'body', nodes, inputs = [], outputs, initializers = [] }) {
  const typed = (info) => (typeof info === 'string' ? valueInfo(info, FLOAT) : info)
  return create(GraphProtoSchema, {
    name,
    node: nodes,
    input: inputs.map(typed),
    output: outputs.map(typed),
    initializer: initializers,
  })
}

export const imports = (versions) =>
  Object.entries(versions).map(([domain, version]) => ({ domain, version: BigInt(version) }))

/**
 * A local function of a model.
 * @param {{ name: string, domain?: string, overload?: string, inputs: string[], outputs: string[],
 *   attributes?: string[], defaults?: object, nodes: any[], opsets?: Record<string, number> }} parts
 */
export function onnxFunction({
  name,
  domain = 'local',
  overload = '',
  inputs,
  outputs,
  attributes = [],
  defaults = {},
  nodes,
  opsets = { '': 17 },
}) {
  return create(FunctionProtoSchema, {
    name,
    domain,
    overload,
    input: inputs,
    output: outputs,
    attribute: attributes,
    attributeProto: Object.entries(defaults).map(([key, value]) => attribute(key, value)),
    node: nodes,
    opsetImport: imports(opsets),
  })
}

/**
 * A model; what is not named here belongs to its graph (`subgraph`).
 * @param {{ functions?: any[], opsets?: Record<string, number>, opsetImport?: any[] } &
 *   Parameters<typeof subgraph>[0]} parts
 */
export function modelOf({ functions = [], opsets = { '': 17 }, opsetImport = imports(opsets), ...graph }) {
  return create(ModelProtoSchema, {
    irVersion: 10n,
    opsetImport,
    functions,
    graph: subgraph({ name: 'main', ...graph }),
  })
}

export function writeModel(file, model) {
  writeFileSync(file, toBinary(ModelProtoSchema, model))
  return file
}
