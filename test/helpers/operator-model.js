/** Models of one operator: floating inputs are the model's own, everything else is constant. */

import { writeFileSync } from 'node:fs'
import { create, toBinary } from '@bufbuild/protobuf'
import { seededRandom } from '../../dist/math/random.js'
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

const TYPES = { float: 1, int32: 6, int64: 7, bool: 9, float16: 10 }
const ARRAYS = {
  float: (v) => Float32Array.from(v),
  int32: (v) => Int32Array.from(v),
  int64: (v) => BigInt64Array.from(v, BigInt),
  bool: (v) => Uint8Array.from(v),
  float16: (v) => Uint16Array.from(v, numberToF16),
}

/** @typedef {{ dims: any[], type?: string, values?: number[] }} Input An input, with values where it is constant. */

/** An input of the model, filled with standard normal values by whoever runs it. */
export const given = (...dims) => /** @type {Input} */ ({ dims })
/** A constant. */
export const constant = (type, dims, values) => ({ type, dims, values })
/** A constant of seeded standard normal values. */
export function random(type, dims, seed = 1, scale = 1) {
  const { normal } = seededRandom(seed)
  const size = dims.reduce((a, b) => a * b, 1)
  return { type, dims, values: Array.from({ length: size }, () => scale * normal()) }
}

/**
 * Writes a model of one node. `inputs` are in the operator's order, null where one is left out; `outputs` is how many
 * it gives, or their names. Attributes are integers unless they are named in `floats`.
 *
 * @param {string} file
 * @param {{ op: string, domain?: string, opset?: number, inputs: any[], outputs?: number | string[],
 *   attributes?: object, floats?: Record<string, number>, type?: string, types?: object }} spec
 */
export function writeOperator(
  file,
  {
    op,
    domain = '',
    opset = 23,
    inputs,
    outputs = 1,
    attributes = {},
    floats = {},
    type = 'float',
    types = {},
  },
) {
  const names = inputs.map((input, i) => (input === null ? '' : `in_${i}`))
  const outputNames = Array.isArray(outputs) ? outputs : Array.from({ length: outputs }, (_, i) => `out_${i}`)
  const attribute = [
    ...Object.entries(attributes).map(([name, value]) =>
      Array.isArray(value)
        ? create(AttributeProtoSchema, { name, ints: value.map(BigInt), type: AttributeType.INTS })
        : create(AttributeProtoSchema, { name, i: BigInt(value), type: AttributeType.INT }),
    ),
    ...Object.entries(floats).map(([name, f]) =>
      create(AttributeProtoSchema, { name, f, type: AttributeType.FLOAT }),
    ),
  ]
  const isInput = (input) => input !== null && input.values === undefined
  const info = (name, elemType, dims) =>
    create(ValueInfoProtoSchema, {
      name,
      type: {
        value: {
          case: 'tensorType',
          value: {
            elemType,
            shape: dims && {
              dim: dims.map((d) => ({ value: { case: 'dimValue', value: BigInt(d) } })),
            },
          },
        },
      },
    })
  const graph = create(GraphProtoSchema, {
    name: op,
    node: [
      create(NodeProtoSchema, {
        opType: op,
        domain,
        name: 'attention',
        input: names,
        output: outputNames,
        attribute,
      }),
    ],
    initializer: inputs.flatMap((input, i) =>
      input === null || isInput(input)
        ? []
        : create(TensorProtoSchema, {
            name: names[i],
            dims: input.dims.map(BigInt),
            dataType: TYPES[input.type],
            rawData: new Uint8Array(ARRAYS[input.type](input.values).buffer),
          }),
    ),
    input: inputs.flatMap((input, i) =>
      isInput(input) ? info(names[i], TYPES[input.type ?? type], input.dims) : [],
    ),
    output: outputNames.filter((name) => name).map((name) => info(name, TYPES[types[name] ?? type])),
  })
  const opsetImport = [{ domain: '', version: BigInt(opset) }]
  if (domain) {
    opsetImport.push({ domain, version: 1n })
  }
  writeFileSync(
    file,
    toBinary(ModelProtoSchema, create(ModelProtoSchema, { irVersion: 10n, opsetImport, graph })),
  )
  return file
}
