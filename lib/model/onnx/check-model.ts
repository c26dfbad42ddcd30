/** Checks the declarations of a model before anything relies on them: operator sets and sizes of tensors. */

import { create } from '@bufbuild/protobuf'
import { QkError } from '../../errors.js'
import { namesUsedBy } from './graph.js'
import { allNodes, describeNode, invalidModel, plainDomain, withFields } from './messages.js'
import {
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type OperatorSetIdProto,
  TensorShapeProto_DimensionSchema,
  type ValueInfoProto,
} from './proto/onnx_pb.js'

/** Most bytes of all inputs together. A probe has to fill them. */
export const MAX_INPUT_BYTES = 2 ** 28

/**
 * Longest axis. Longer axes are refused, however thin the tensor, since computed tensors often grow with the square of
 * the length.
 */
const MAX_AXIS = 1_000_000

/** Bytes by ONNX's number of the element type; 4 for all others. */
const ELEMENT_BYTES: Record<number, number> = { 2: 1, 3: 1, 7: 8, 9: 1, 10: 2, 11: 8, 16: 2 }

/** Leaves one import per domain. Errors: ERR_NOT_ONNX if versions contradict each other or are missing. */
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
  if (imports.has('')) {
    return [...imports.values()]
  }
  for (const node of allNodes(graph!.node)) {
    if (plainDomain(node.domain) !== '') {
      continue
    }
    throw invalidModel(
      file,
      `${describeNode(node)} is a standard operator, and no version of the standard operator set is imported`,
    )
  }
  return [...imports.values()]
}

/**
 * The inputs, with negative sizes replaced by free ones. Old exporters write -1, which onnxruntime reads as a free
 * size. Errors: ERR_NOT_ONNX, ERR_UNSUPPORTED_MODEL for impossible sizes and for inputs without a shape.
 */
export function checkInputs(file: string, { input, initializer, node }: GraphProto): ValueInfoProto[] {
  for (const { name, dims } of initializer) {
    if (dims.every((size) => size >= 0n)) {
      continue
    }
    throw invalidModel(file, `its initializer "${name}" has the dimensions ${dims.join(' x ')}`)
  }
  const weights = new Set(initializer.map(({ name }) => name))
  const own = input.filter(({ name }) => !weights.has(name))
  refuseShapeless(file, own, node)
  refuseLarge(file, own)
  return input.map((info) => (fixedSizes(info).some((size) => size < 0n) ? withFreeAxes(info) : info))
}

/** Refuses inputs without a shape: onnxruntime reads the missing shape and aborts the process. */
function refuseShapeless(file: string, inputs: readonly ValueInfoProto[], nodes: readonly NodeProto[]): void {
  const open = inputs.filter(({ type }) => type?.value.case === 'tensorType' && !type.value.value.shape)
  if (open.length === 0) {
    return
  }
  const read = new Set(nodes.flatMap(namesUsedBy))
  const found = open.find(({ name }) => read.has(name))
  if (!found) {
    return
  }
  throw new QkError('ERR_UNSUPPORTED_MODEL', `${file}: its input "${found.name}" has no shape`, {
    hint: 'Write how many axes it has into the file: free axes may have names in place of sizes.',
  })
}

/** Refuses inputs that are too large for a probe in memory and time; free axes count as 1. */
function refuseLarge(file: string, inputs: readonly ValueInfoProto[]): void {
  let bytes = 0
  for (const info of inputs) {
    const { name, type } = info
    const sizes = fixedSizes(info)
    const shown = `${file}: its input "${name}" has ${sizes.join(' x ')} elements, too many to try the model on`
    if (sizes.some((size) => size >= MAX_AXIS)) {
      throw new QkError('ERR_UNSUPPORTED_MODEL', shown, {
        hint: `An axis has fewer than ${MAX_AXIS}; export the model with free axes.`,
      })
    }
    const elements = sizes.reduce((product, size) => (size > 0n ? product * Number(size) : product), 1)
    const element = type?.value.case === 'tensorType' ? type.value.value.elemType : 0
    bytes += elements * (ELEMENT_BYTES[element] ?? 4)
    if (bytes > MAX_INPUT_BYTES) {
      throw new QkError('ERR_UNSUPPORTED_MODEL', shown, {
        hint: `All inputs have at most ${MAX_INPUT_BYTES / 2 ** 20} MiB together; export the model with free axes.`,
      })
    }
  }
}

function fixedSizes({ type }: ValueInfoProto): bigint[] {
  const dims = type?.value.case === 'tensorType' ? (type.value.value.shape?.dim ?? []) : []
  return dims.flatMap(({ value }) => (value.case === 'dimValue' ? [value.value] : []))
}

function withFreeAxes(info: ValueInfoProto): ValueInfoProto {
  const { type } = info
  if (type?.value.case !== 'tensorType' || !type.value.value.shape) {
    return info
  }
  const tensor = type.value.value
  const dim = type.value.value.shape.dim.map((d) =>
    d.value.case === 'dimValue' && d.value.value < 0n ? create(TensorShapeProto_DimensionSchema) : d,
  )
  const shape = withFields(type.value.value.shape, { dim })
  return withFields(info, {
    type: withFields(type, { value: { case: 'tensorType', value: withFields(tensor, { shape }) } }),
  })
}
