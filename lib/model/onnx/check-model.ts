/** What a model says of itself, checked before anything relies on it: operator sets and sizes of tensors. */

import { create } from '@bufbuild/protobuf'
import { QkError } from '../../errors.js'
import { allNodes, describeNode, invalidModel, plainDomain, withFields } from './messages.js'
import {
  type GraphProto,
  type ModelProto,
  type OperatorSetIdProto,
  TensorShapeProto_DimensionSchema,
  type ValueInfoProto,
} from './proto/onnx_pb.js'

/** Elements of one input; a probe has to make them up. */
const MAX_INPUT_ELEMENTS = 2 ** 27

/** One import a domain. Errors: ERR_NOT_ONNX where versions contradict each other or are missing. */
export function checkOpsets(file: string, { graph, opsetImport }: ModelProto): OperatorSetIdProto[] {
  const imports = new Map<string, OperatorSetIdProto>()
  for (const entry of opsetImport) {
    const domain = plainDomain(entry.domain)
    const other = imports.get(domain)
    if (other && other.version !== entry.version) {
      throw invalidModel(
        file,
        `it imports the operator set "${domain}" twice, in versions ${other.version} and ${entry.version}`,
      )
    }
    imports.set(domain, entry)
  }
  if (imports.has('')) return [...imports.values()]
  for (const node of allNodes(graph!.node)) {
    if (plainDomain(node.domain) !== '') continue
    throw invalidModel(
      file,
      `${describeNode(node)} is a standard operator, and no version of the standard operator set is imported`,
    )
  }
  return [...imports.values()]
}

/**
 * The inputs, with negative sizes made free ones: old exporters write -1, and onnxruntime reads it so.
 * Errors: ERR_NOT_ONNX, ERR_UNSUPPORTED_MODEL for sizes that no tensor has.
 */
export function checkInputs(file: string, { input, initializer }: GraphProto): ValueInfoProto[] {
  for (const { name, dims } of initializer) {
    if (dims.every((size) => size >= 0n)) continue
    throw invalidModel(file, `its initializer "${name}" has the dimensions ${dims.join(' x ')}`)
  }
  const weights = new Set(initializer.map(({ name }) => name))
  return input.map((info) => {
    const { value } = info.type ?? {}
    const dims = value?.case === 'tensorType' ? (value.value.shape?.dim ?? []) : []
    const sizes = dims.flatMap((dim) => (dim.value.case === 'dimValue' ? [dim.value.value] : []))
    const elements = sizes.reduce((product, size) => (size > 0n ? product * Number(size) : product), 1)
    if (elements > MAX_INPUT_ELEMENTS && !weights.has(info.name)) {
      throw new QkError(
        'ERR_UNSUPPORTED_MODEL',
        `${file}: its input "${info.name}" has ${sizes.join(' x ')} elements, too many to try the model on`,
        { hint: `At most ${MAX_INPUT_ELEMENTS}; export the model with free axes.` },
      )
    }
    return sizes.some((size) => size < 0n) ? withFreeAxes(info) : info
  })
}

function withFreeAxes(info: ValueInfoProto): ValueInfoProto {
  const { type } = info
  if (type?.value.case !== 'tensorType' || !type.value.value.shape) return info
  const tensor = type.value.value
  const dim = type.value.value.shape.dim.map((d) =>
    d.value.case === 'dimValue' && d.value.value < 0n ? create(TensorShapeProto_DimensionSchema) : d,
  )
  const shape = withFields(type.value.value.shape, { dim })
  return withFields(info, {
    type: withFields(type, { value: { case: 'tensorType', value: withFields(tensor, { shape }) } }),
  })
}
