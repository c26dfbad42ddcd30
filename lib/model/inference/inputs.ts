/** Inputs of a model: token ids, a mask, positions, an empty cache, or tensors that only the user can give. */

import { QkError } from '../../errors.js'
import { numberToF16 } from '../../math/tensor.js'
import type { Graph } from '../onnx/graph.js'
import type { ValueInfoProto } from '../onnx/proto/onnx_pb.js'
import type { WireTensor } from './session.js'

/**
 * Purpose of an input: token ids, attention mask, positions, token types, a cache of keys and values, or anything
 * else.
 */
export type InputRole = 'ids' | 'mask' | 'positions' | 'segments' | 'cache' | 'custom'

/** One input of a model. */
export interface ModelInput {
  /** Name of the input in the graph. */
  name: string
  /** Purpose of the input. */
  role: InputRole
  /** onnxruntime's name of the element type. */
  type: string
  /** Fixed sizes as numbers, free sizes by name ('' without a name). */
  shape: (number | string)[]
  /** Whether an input of two axes is [position, sequence], PyTorch's default, instead of [sequence, position]. */
  sequenceFirst?: boolean
}

type NumericArray =
  | Float32Array
  | Float64Array
  | Uint16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Int8Array

/** onnxruntime's type names and arrays by ONNX element type. */
const ELEMENTS: Record<number, { type: string; make: (n: number) => NumericArray }> = {
  1: { type: 'float32', make: (n) => new Float32Array(n) },
  2: { type: 'uint8', make: (n) => new Uint8Array(n) },
  3: { type: 'int8', make: (n) => new Int8Array(n) },
  6: { type: 'int32', make: (n) => new Int32Array(n) },
  7: { type: 'int64', make: (n) => new BigInt64Array(n) },
  9: { type: 'bool', make: (n) => new Uint8Array(n) },
  10: { type: 'float16', make: (n) => new Uint16Array(n) },
  11: { type: 'float64', make: (n) => new Float64Array(n) },
}
const MAKERS = new Map(Object.values(ELEMENTS).map(({ type, make }) => [type, make]))

/** The inputs of a graph that are not weights, each with the role suggested by its name, type, rank and use. */
export function modelInputs(graph: Graph): ModelInput[] {
  const described = graph.inputs.map(describe)
  const ids = described.find(isNamedIds) ?? onlyIndex(graph, described)
  return described.map((input) => ({ ...input, role: input === ids ? 'ids' : roleOf(input, ids) }))
}

type Described = Omit<ModelInput, 'role'>

function describe(info: ValueInfoProto): Described {
  const tensor = info.type?.value.case === 'tensorType' ? info.type.value.value : undefined
  const element = ELEMENTS[tensor?.elemType ?? 0]
  const shape = (tensor?.shape?.dim ?? []).map((d) =>
    d.value.case === 'dimValue' ? Number(d.value.value) : (d.value.value ?? ''),
  )
  return { name: info.name, type: element?.type ?? 'unsupported', shape }
}

const isInteger = (type: string) => type === 'int64' || type === 'int32'

const OTHER_INTEGERS = /position|type|segment|mask|length/i

/** Whether an input has the name and shape of ids: of several sequences, or of one without a batch axis. */
function isNamedIds({ name, type, shape }: Described): boolean {
  if (!isInteger(type) || shape.length === 0 || shape.length > 2) {
    return false
  }
  return /(^|[_.])(input_?)?(ids?|tokens?)$/i.test(name) && !OTHER_INTEGERS.test(name)
}

/** The only input of [batch, length] integers that selects rows of a table, under any name. */
function onlyIndex(graph: Graph, inputs: readonly Described[]): Described | undefined {
  const found = inputs.filter(
    ({ name, type, shape }) =>
      isInteger(type) &&
      shape.length === 2 &&
      !OTHER_INTEGERS.test(name) &&
      tableRows(graph, name) !== undefined,
  )
  return found.length === 1 ? found[0] : undefined
}

/** Number of rows in the stored table that the values of an input index. */
export function tableRows(graph: Graph, name: string): number | undefined {
  const seen = new Set<string>()
  const pending = [name]
  for (let ids = pending.pop(); ids !== undefined; ids = pending.pop()) {
    if (seen.has(ids)) {
      continue
    }
    seen.add(ids)
    for (const user of graph.consumers.get(ids) ?? []) {
      if (user.opType === 'Gather' && user.input[1] === ids) {
        const table = graph.initializers.get(user.input[0])
        if (table && table.dims.length === 2) {
          return Number(table.dims[0])
        }
      }
      if (user.opType === 'Cast' || user.opType === 'Reshape' || user.opType === 'Slice') {
        pending.push(user.output[0])
      }
    }
  }
  return undefined
}

function roleOf({ name, type, shape }: Described, ids: Described | undefined): InputRole {
  if (ids === undefined) {
    return 'custom'
  }
  // Inputs of an encoder's states, such as their mask and keys, can only come from the user.
  if (/encoder_(attention_mask|hidden)|past.*encoder/i.test(name)) {
    return 'custom'
  }
  if (/mask/i.test(name) && shape.length === ids.shape.length) {
    return 'mask'
  }
  if (/position/i.test(name) && isInteger(type) && shape.length <= 2 && shape.length > 0) {
    return 'positions'
  }
  if (/token_type|segment/i.test(name) && isInteger(type)) {
    return 'segments'
  }
  if (/past|cache/i.test(name) && shape.length >= 3) {
    return 'cache'
  }
  return 'custom'
}

/**
 * Inputs with two axes as [position, sequence], if the ids are. Inputs whose axes have the same names as those of the
 * ids follow the names.
 */
export function turned(inputs: readonly ModelInput[]): ModelInput[] {
  const ids = inputs.find(({ role }) => role === 'ids')!
  const [position] = ids.shape
  return inputs.map((input) => {
    if (input.shape.length !== 2 || input.role === 'custom' || input.role === 'cache') {
      return input
    }
    const named = typeof position === 'string' && position !== '' && input.shape[1] === position
    return { ...input, sequenceFirst: !named }
  })
}

/** Indices of the sequence axis and the position axis of an input with both. */
export function layoutOf({ sequenceFirst = false }: ModelInput): { sequence: 0 | 1; position: 0 | 1 } {
  return sequenceFirst ? { sequence: 1, position: 0 } : { sequence: 0, position: 1 }
}

/** Whether prompts can be token ids: every input can be filled from them. */
export function takesTokens(inputs: readonly ModelInput[]): boolean {
  return inputs.some((i) => i.role === 'ids') && inputs.every((i) => i.role !== 'custom')
}

/**
 * Feeds for a batch of token sequences, padded on the right to equal length. `segments` are the token type ids of text
 * pairs; zeros by default.
 */
export function tokenFeeds(
  inputs: readonly ModelInput[],
  sequences: readonly (readonly number[])[],
  padId: number,
  segments: readonly (readonly number[] | undefined)[] = [],
): Record<string, WireTensor> {
  const batch = sequences.length
  const longest = Math.max(...sequences.map((s) => s.length))
  const length = fixedLength(inputs) ?? longest
  const feeds: Record<string, WireTensor> = {}
  for (const input of inputs) {
    if (input.role === 'cache') {
      feeds[input.name] = emptyCache(input, batch)
      continue
    }
    // Positions may be one list that all sequences share.
    const rows = input.shape.length === 1 ? 1 : batch
    const data = makeArray(input, rows * length)
    const write = numberWriter(data, input.type)
    const value = VALUES[input.role] ?? (() => 0)
    sequences.slice(0, rows).forEach((tokens, b) => {
      const sequence = { tokens, segments: segments[b], padId }
      for (let t = 0; t < length; t++) {
        write(input.sequenceFirst ? t * rows + b : b * length + t, value(t, sequence))
      }
    })
    feeds[input.name] = { type: input.type, dims: dimsOf(input, batch, length), data }
  }
  return feeds
}

/** Value of an input at position t of a sequence, by its role; 0 for other roles. */
const VALUES: Partial<
  Record<
    ModelInput['role'],
    (t: number, of: { tokens: readonly number[]; segments?: readonly number[]; padId: number }) => number
  >
> = {
  ids: (t, { tokens, padId }) => (t < tokens.length ? tokens[t] : padId),
  mask: (t, { tokens }) => Number(t < tokens.length),
  positions: (t) => t,
  segments: (t, { segments }) => segments?.[t] ?? 0,
}

function dimsOf({ shape, sequenceFirst }: ModelInput, sequences: number, length: number): number[] {
  if (shape.length === 1) {
    return [length]
  }
  return sequenceFirst ? [length, sequences] : [sequences, length]
}

/**
 * Feeds for the next token of one sequence whose `past` positions are cached. The caches are outputs of the previous
 * run, by the name of the input that takes them.
 */
export function stepFeeds(
  inputs: readonly ModelInput[],
  token: number,
  past: number,
  caches: Record<string, WireTensor>,
): Record<string, WireTensor> {
  const feeds: Record<string, WireTensor> = {}
  for (const input of inputs) {
    if (input.role === 'cache') {
      feeds[input.name] = caches[input.name]
      continue
    }
    const length = input.role === 'mask' ? past + 1 : 1
    const data = makeArray(input, length)
    const write = numberWriter(data, input.type)
    const value = { ids: token, mask: 1, positions: past }[input.role as string] ?? 0
    for (let i = 0; i < length; i++) {
      write(i, value)
    }
    feeds[input.name] = { type: input.type, dims: dimsOf(input, 1, length), data }
  }
  return feeds
}

/** The output that updates each cache: `present.3.key` for `past_key_values.3.key`, `present_3` for `past_3`. */
export function cacheOutputs(
  inputs: readonly ModelInput[],
  outputs: readonly string[],
): Map<string, string> | undefined {
  const stem = (name: string) => name.replace(/past_key_values|present_key_values|past|present|cache/gi, '*')
  const byStem = new Map(
    outputs.filter((name) => /present|cache/i.test(name)).map((name) => [stem(name), name]),
  )
  const pairs = new Map<string, string>()
  for (const { name, role } of inputs) {
    if (role !== 'cache') {
      continue
    }
    const output = byStem.get(stem(name))
    if (output === undefined) {
      return undefined
    }
    pairs.set(name, output)
  }
  return pairs.size > 0 ? pairs : undefined
}

/** Number of tokens per sequence, in a model exported with a fixed length. */
export function fixedLength(inputs: readonly ModelInput[]): number | undefined {
  const ids = inputs.find((i) => i.role === 'ids')
  const size = ids && (ids.shape.length === 1 ? ids.shape[0] : ids.shape[layoutOf(ids).position])
  return typeof size === 'number' ? size : undefined
}

/** Number of sequences per run, in a model exported with a fixed batch size. */
export function fixedBatch(inputs: readonly ModelInput[]): number | undefined {
  const ids = inputs.find((i) => i.role === 'ids')
  if (ids?.shape.length === 1) {
    return 1
  }
  // Caches may have another first axis, and positions may be one list that all sequences share.
  const first = ids ? [ids.shape[layoutOf(ids).sequence]] : inputs.map(({ shape }) => shape[0])
  return first.find((size) => typeof size === 'number')
}

/** A cache of no past positions. The axis of positions, found by its name or else the last free axis, has size 0. */
function emptyCache(input: ModelInput, batch: number): WireTensor {
  const { shape } = input
  const named = shape.findIndex((d) => typeof d === 'string' && /past|seq|len|total|pos/i.test(d))
  const position = named >= 0 ? named : shape.findLastIndex((d, i) => typeof d === 'string' && i > 0)
  const dims = shape.map((d, i) => {
    if (i === position) {
      return 0
    }
    return typeof d === 'number' ? d : batch
  })
  const size = dims.reduce((a, b) => a * b, 1)
  return { type: input.type, dims, data: makeArray(input, size) }
}

export function makeArray(input: ModelInput, size: number): NumericArray {
  const make = MAKERS.get(input.type)
  if (!make) {
    throw new QkError(
      'ERR_UNSUPPORTED_MODEL',
      `the input "${input.name}" has an element type that is not known`,
    )
  }
  return make(size)
}

/**
 * Writes numbers into an array of any element type. int64 is written as two words, since a BigInt for every token
 * would be garbage that makes the process grow.
 */
export function numberWriter(data: NumericArray, type: string): (index: number, value: number) => void {
  if (data instanceof BigInt64Array) {
    const words = new Int32Array(data.buffer, data.byteOffset, 2 * data.length)
    return (index, value) => {
      words[2 * index] = value % 2 ** 32
      words[2 * index + 1] = Math.floor(value / 2 ** 32)
    }
  }
  if (type === 'float16') {
    return (index, value) => {
      data[index] = numberToF16(value)
    }
  }
  return (index, value) => {
    data[index] = value
  }
}

/** int64 [n, width], or [n] for a width of 1. */
export function int64Tensor(values: readonly number[], width: number): WireTensor {
  const data = new BigInt64Array(values.length)
  const write = numberWriter(data, 'int64')
  values.forEach((value, i) => {
    write(i, value)
  })
  return { type: 'int64', dims: width === 1 ? [values.length] : [values.length / width, width], data }
}
