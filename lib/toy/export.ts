/**
 * A trained toy as an ONNX file, as a plain export of the model looks: one head with no head axis.
 *
 *   query [batch, 1, dModel], context [batch, tokens, dModel]
 *   logits [batch, 1, payloads] = Softmax(query W_Q (context W_K)^T / sqrt(dHead)) context W_V W_O
 */

import { create, toBinary } from '@bufbuild/protobuf'
import { QkError } from '../errors.js'
import type { Model } from '../model/model.js'
import { ElementType } from '../model/onnx/node-writer.js'
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  ValueInfoProtoSchema,
} from '../model/onnx/proto/onnx_pb.js'
import { checkReplaceable, fileStart, writeFileAtomically } from '../store/atomic-file.js'
import { checkEnding } from '../store/saving/formats.js'
import { versions } from '../versions.js'
import type { ToyConfig } from './task.js'
import type { TrainedToy } from './train.js'

const OPSET = 17n
const IR_VERSION = 8n

/** Key in the model's metadata; its value is JSON, `ToyRecord`. */
const METADATA_KEY = 'qkspace.toy'

/** The description of a toy model in its file. */
export interface ToyRecord {
  config: ToyConfig
  steps: number
  loss: number
  accuracy: number
}

/**
 * Checks that a toy model can be written here: an existing file must be a toy model. Errors: ERR_FILE; ERR_ARGUMENT
 * for an ending other than `.onnx`.
 */
export async function checkToyPath(file: string): Promise<void> {
  await checkReplaceable(file, 'a toy model', async () =>
    (await fileStart(file, 32)).toString('latin1').includes('qkspace'),
  )
  checkEnding(file, 'a toy model', ['.onnx'])
}

/** Writes the model; the file appears whole or not at all. Errors: those of `checkToyPath`. */
export async function exportToy(file: string, toy: TrainedToy): Promise<void> {
  await checkToyPath(file)
  await writeFileAtomically(file, [toyModelBytes(toy)])
}

/** The ONNX file of a trained toy. */
export function toyModelBytes({ config, weights, steps, loss, accuracy }: TrainedToy): Uint8Array {
  const { dModel, dHead, payloads } = config
  const record: ToyRecord = { config, steps, loss, accuracy }
  const model = create(ModelProtoSchema, {
    irVersion: IR_VERSION,
    producerName: 'qkspace',
    producerVersion: versions().qkspace,
    opsetImport: [{ domain: '', version: OPSET }],
    metadataProps: [{ key: METADATA_KEY, value: JSON.stringify(record) }],
    graph: create(GraphProtoSchema, {
      name: 'payload-retrieval',
      input: [tensorInfo('query', ['batch', 1, dModel]), tensorInfo('context', ['batch', 'tokens', dModel])],
      output: [tensorInfo('logits', ['batch', 1, payloads])],
      initializer: [
        float32('W_Q', [dModel, dHead], weights.wq),
        float32('W_K', [dModel, dHead], weights.wk),
        float32('W_V', [dModel, dHead], weights.wv),
        float32('W_O', [dHead, payloads], weights.wo),
        float32('scale', [], [1 / Math.sqrt(dHead)]),
      ],
      node: [
        node('MatMul', ['query', 'W_Q'], 'q'),
        node('MatMul', ['context', 'W_K'], 'k'),
        node('MatMul', ['context', 'W_V'], 'v'),
        node('Transpose', ['k'], 'k_transposed', [integers('perm', [0, 2, 1])]),
        node('MatMul', ['q', 'k_transposed'], 'scores'),
        node('Mul', ['scores', 'scale'], 'scaled_scores'),
        node('Softmax', ['scaled_scores'], 'pattern', [integer('axis', -1)]),
        node('MatMul', ['pattern', 'v'], 'mixed'),
        node('MatMul', ['mixed', 'W_O'], 'logits'),
      ],
    }),
  })
  return toBinary(ModelProtoSchema, model)
}

/** The description of a toy model in its file. Undefined for other models. */
export function readToyRecord(model: Model): ToyRecord | undefined {
  const { metadataProps } = model.graph.model.proto
  const entry = metadataProps.find(({ key }) => key === METADATA_KEY)
  return entry && JSON.parse(entry.value)
}

/** Configuration of a toy model, from which its encoders follow. Errors: ERR_UNSUPPORTED_MODEL. */
export function readToyConfig(model: Model): ToyConfig {
  const record = readToyRecord(model)
  if (record) {
    return record.config
  }
  throw new QkError('ERR_UNSUPPORTED_MODEL', `${model.path} is not a toy model of qkspace`, {
    hint: 'Toy models are made by `qkspace toy train`.',
  })
}

function node(opType: string, input: string[], output: string, attribute: object[] = []) {
  return create(NodeProtoSchema, { opType, name: output, input, output: [output], attribute })
}

function integer(name: string, value: number) {
  return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.INT, i: BigInt(value) })
}

function integers(name: string, values: number[]) {
  return create(AttributeProtoSchema, {
    name,
    type: AttributeProto_AttributeType.INTS,
    ints: values.map(BigInt),
  })
}

function float32(name: string, dims: number[], values: ArrayLike<number>): TensorProto {
  return create(TensorProtoSchema, {
    name,
    dims: dims.map(BigInt),
    dataType: ElementType.float,
    rawData: new Uint8Array(Float32Array.from(values).buffer),
  })
}

/** A float32 input or output of the graph; sizes given as text are symbolic. */
function tensorInfo(name: string, shape: (string | number)[]) {
  const dim = shape.map((size) =>
    typeof size === 'string'
      ? { value: { case: 'dimParam' as const, value: size } }
      : { value: { case: 'dimValue' as const, value: BigInt(size) } },
  )
  return create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: 'tensorType', value: { elemType: ElementType.float, shape: { dim } } } },
  })
}
