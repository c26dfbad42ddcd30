/** ONNX models node by node, for tests that write whole graphs. */

import { writeFileSync } from 'node:fs'
import { create, toBinary } from '@bufbuild/protobuf'
import { numberToF16 } from '../../dist/math/tensor.js'
import {
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  TensorProtoSchema,
  ValueInfoProtoSchema,
} from '../../dist/model/onnx/proto/onnx_pb.js'

export const FLOAT = 1
export const UINT8 = 2
export const INT8 = 3
export const INT32 = 6
export const INT64 = 7
export const BOOL = 9
export const FLOAT16 = 10

/** Collects nodes and initializers; `half` writes float constants as float16. */
export class GraphBuilder {
  constructor({ half = false } = {}) {
    this.nodes = []
    this.initializers = []
    this.domains = new Set()
    this.half = half
    this.floatType = half ? FLOAT16 : FLOAT
  }

  /**
   * Several outputs are given as a list of names. The result is what was given, or the name of the only one.
   * @template {string | string[]} [Output=string]
   * @param {string} opType
   * @param {string[]} input
   * @param {Record<string, string | number | number[]>} [attributes]
   * @param {Output} [output]
   * @param {string} [domain]
   * @returns {Output}
   */
  node(opType, input, attributes = {}, output, domain = '') {
    const result = output ?? /** @type {Output} */ (`${opType}_${this.nodes.length}`)
    if (domain) {
      this.domains.add(domain)
    }
    const outputs = typeof result === 'string' ? [result] : [...result]
    const attribute = Object.entries(attributes).map(([name, value]) => attributeOf(name, value))
    this.nodes.push(
      create(NodeProtoSchema, { opType, domain, input, output: outputs, name: outputs[0], attribute }),
    )
    return result
  }

  float(name, dims, values) {
    const raw = this.half ? Uint16Array.from(values, numberToF16) : Float32Array.from(values)
    return this.stored(name, this.floatType, dims, raw)
  }

  ints(values, dims = [values.length]) {
    return this.stored(`ints_${this.initializers.length}`, INT64, dims, BigInt64Array.from(values, BigInt))
  }

  scalar(value) {
    return this.float(`scalar_${this.initializers.length}`, [], [value])
  }

  /** An initializer of any element type; `array` is of the matching typed array. */
  stored(name, dataType, dims, array) {
    const rawData = new Uint8Array(array.buffer)
    this.initializers.push(create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType, rawData }))
    return name
  }

  /** Outputs are names, or values with a type. */
  write(file, inputs, outputs, { opset = 17 } = {}) {
    const typed = (output) => (typeof output === 'string' ? valueInfo(output, this.floatType) : output)
    const graph = create(GraphProtoSchema, {
      name: 'tiny',
      node: this.nodes,
      initializer: this.initializers,
      input: inputs,
      output: outputs.map(typed),
    })
    const opsetImport = [{ domain: '', version: BigInt(opset) }]
    for (const domain of this.domains) {
      opsetImport.push({ domain, version: 1n })
    }
    const model = create(ModelProtoSchema, { irVersion: 8n, opsetImport, graph })
    writeFileSync(file, toBinary(ModelProtoSchema, model))
    return file
  }
}

/** A whole number is an INT, another one a FLOAT; lists are INTS. */
function attributeOf(name, value) {
  const make = (type, fields) => create(AttributeProtoSchema, { name, type: AttributeType[type], ...fields })
  if (typeof value === 'string') {
    return make('STRING', { s: Buffer.from(value) })
  }
  if (Array.isArray(value)) {
    return make('INTS', { ints: value.map(BigInt) })
  }
  return Number.isInteger(value) ? make('INT', { i: BigInt(value) }) : make('FLOAT', { f: value })
}

export function valueInfo(name, elemType, dims) {
  const dim = dims?.map((d) => ({
    value: typeof d === 'number' ? { case: 'dimValue', value: BigInt(d) } : { case: 'dimParam', value: d },
  }))
  return create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: 'tensorType', value: { elemType, ...(dim ? { shape: { dim } } : {}) } } },
  })
}
