/**
 * Reads an ONNX file without its weights.
 *
 * Large embedded tensors are neither decoded nor copied: each becomes an external reference into the
 * original file (its real path and byte offset), and weights that are external already stay where they
 * are. What remains in memory is the graph, so models of many gigabytes open quickly, and an edited
 * graph of a few kilobytes runs on the original weights.
 */

import { closeSync, fstatSync, openSync, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import { create, fromBinary } from '@bufbuild/protobuf'
import { QkError } from '../../errors.js'
import { FileCursor, Wire } from './file-cursor.js'
import { allTensors } from './messages.js'
import {
  type ModelProto,
  ModelProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
} from './proto/onnx_pb.js'

/** Smaller tensors stay in the graph, since shape inference reads them (shapes, axes, scalars). */
const INLINE_BYTES = 4096

export interface OnnxModel {
  /** The path as given. */
  path: string
  proto: ModelProto
  /** Folder that contains every file with weights; external locations in `proto` are relative to it. */
  weightsFolder: string
  /** Real paths of the files that hold the model: the graph first, then external data. */
  files: string[]
  /** Decisions about the graph that the user should know. */
  notes: readonly string[]
}

interface Embedded {
  offset: number
  length: number
}

/** Number of initializers so far (protobuf joins the parts of a split graph), and the large ones among them. */
interface Found {
  initializers: number
  embedded: Map<number, Embedded>
}

/** Reads the graph of `file`. Errors: ERR_FILE (cannot be opened), ERR_NOT_ONNX (not ONNX, or truncated). */
export function readModel(file: string): OnnxModel {
  const { realFile, proto, embedded } = readProto(file)
  return { path: file, proto, ...relocateWeights(file, realFile, proto, embedded), notes: [] }
}

/**
 * Locations of external weights in `file`: paths relative to its folder, without duplicates, whether the files exist
 * or not. Errors: as of `readModel`.
 */
export function externalLocations(file: string): string[] {
  const { proto, embedded } = readProto(file)
  const inside = new Set(proto.graph!.initializer.filter((_, index) => embedded.has(index)))
  const external = [...allTensors(proto)].filter(
    (tensor) => tensor.dataLocation === TensorProto_DataLocation.EXTERNAL && !inside.has(tensor),
  )
  return [...new Set(external.map(locationOf).filter((location) => location !== undefined))]
}

function readProto(file: string): { realFile: string; proto: ModelProto; embedded: Map<number, Embedded> } {
  const realFile = resolveFile(file, file)
  const fd = openSync(realFile, 'r')
  try {
    const { size } = fstatSync(fd)
    if (size === 0) {
      throw new QkError('ERR_NOT_ONNX', `${file} is empty`)
    }
    const cursor = new FileCursor(fd, size, file)
    const { bytes, embedded } = readSkeleton(cursor)
    return { realFile, proto: decode(bytes, cursor), embedded }
  } finally {
    closeSync(fd)
  }
}

function locationOf({ externalData }: TensorProto): string | undefined {
  return externalData.find(({ key }) => key === 'location')?.value
}

function resolveFile(file: string, shown: string): string {
  try {
    const real = realpathSync(file)
    // Checked before the file is opened, since opening a pipe waits for its writer.
    if (!statSync(real).isFile()) {
      throw new QkError('ERR_FILE', `${shown} is not a file`)
    }
    closeSync(openSync(real, 'r'))
    return real
  } catch (error) {
    if (error instanceof QkError) {
      throw error
    }
    throw new QkError('ERR_FILE', `cannot open ${shown}: ${(error as Error).message}`, { cause: error })
  }
}

function decode(bytes: Uint8Array, cursor: FileCursor): ModelProto {
  let proto: ModelProto
  try {
    proto = fromBinary(ModelProtoSchema, bytes)
  } catch (error) {
    throw cursor.corrupt((error as Error).message)
  }
  if (!proto.graph || proto.graph.node.length === 0 || proto.irVersion === 0n) {
    throw cursor.corrupt('it has no graph with nodes')
  }
  return proto
}

/** The file's protobuf without the raw data of large initializers. Returns the places of that data in order. */
function readSkeleton(cursor: FileCursor): { bytes: Uint8Array; embedded: Map<number, Embedded> } {
  const model: Uint8Array[] = []
  const found: Found = { initializers: 0, embedded: new Map() }
  while (cursor.position < cursor.size) {
    const start = cursor.position
    const { field, wire } = cursor.tag()
    if (field === 0) {
      throw cursor.corrupt(`byte ${start} does not start a field`)
    }
    if (field === 7 && wire === Wire.bytes) {
      const length = cursor.length(cursor.size)
      model.push(lengthDelimited(7, readGraph(cursor, cursor.position + length, found)))
    } else {
      cursor.skip(wire, cursor.size)
      model.push(cursor.slice(start, cursor.position))
    }
  }
  return { bytes: Buffer.concat(model), embedded: found.embedded }
}

function readGraph(cursor: FileCursor, end: number, found: Found): Uint8Array[] {
  const parts: Uint8Array[] = []
  let keepFrom = cursor.position
  while (cursor.position < end) {
    const start = cursor.position
    const { field, wire } = cursor.tag()
    if (field !== 5 || wire !== Wire.bytes) {
      cursor.skip(wire, end)
      continue
    }
    const index = found.initializers++
    const length = cursor.length(end)
    const body = cursor.position
    if (length >= INLINE_BYTES) {
      if (start > keepFrom) {
        parts.push(cursor.slice(keepFrom, start))
      }
      const { kept, raw } = readTensorHeader(cursor, body + length)
      parts.push(lengthDelimited(5, kept))
      if (raw) {
        found.embedded.set(index, raw)
      }
      keepFrom = body + length
    }
    cursor.position = body + length
  }
  if (end > keepFrom) {
    parts.push(cursor.slice(keepFrom, end))
  }
  return parts
}

function readTensorHeader(cursor: FileCursor, end: number): { kept: Uint8Array[]; raw?: Embedded } {
  const kept: Uint8Array[] = []
  let raw: Embedded | undefined
  while (cursor.position < end) {
    const start = cursor.position
    const { field, wire } = cursor.tag()
    if (field === 9 && wire === Wire.bytes) {
      const length = cursor.length(end)
      raw = { offset: cursor.position, length }
      cursor.position += length
    } else {
      cursor.skip(wire, end)
      kept.push(cursor.slice(start, cursor.position))
    }
  }
  return { kept, raw }
}

function lengthDelimited(field: number, parts: Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const head: number[] = [field * 8 + Wire.bytes]
  for (let rest = length; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) {
      head.push(rest)
      break
    }
    head.push((rest % 128) + 128)
  }
  return Buffer.concat([Uint8Array.from(head), ...parts])
}

/**
 * Points every skipped or external tensor at the real file that holds it. onnxruntime refuses absolute and `..`
 * locations and follows no links. All locations therefore become relative to the deepest folder that contains all the
 * files (in a Hugging Face cache, the folder of blobs).
 */
function relocateWeights(
  file: string,
  realFile: string,
  proto: ModelProto,
  embedded: Map<number, Embedded>,
): { weightsFolder: string; files: string[] } {
  const files = new Set([realFile])
  const placed: { tensor: TensorProto; file: string; offset: string; length?: string }[] = []
  const resolved = new Map<string, string>()
  proto.graph!.initializer.forEach((tensor, index) => {
    const raw = embedded.get(index)
    if (!raw) {
      return
    }
    placed.push({ tensor, file: realFile, offset: `${raw.offset}`, length: `${raw.length}` })
    // The data are in this file, whatever the tensor says about another one.
    tensor.dataLocation = TensorProto_DataLocation.DEFAULT
  })
  for (const tensor of allTensors(proto)) {
    if (tensor.dataLocation !== TensorProto_DataLocation.EXTERNAL) {
      continue
    }
    const entry = (key: string) => tensor.externalData.find((e) => e.key === key)?.value
    const location = locationOf(tensor)
    if (!location) {
      throw new QkError('ERR_NOT_ONNX', `${file}: the external tensor "${tensor.name}" names no file`)
    }
    let real = resolved.get(location)
    if (!real) {
      real = resolveExternal(file, realFile, location)
      resolved.set(location, real)
    }
    files.add(real)
    placed.push({ tensor, file: real, offset: entry('offset') ?? '0', length: entry('length') })
  }
  const weightsFolder = commonFolder([...files].map((f) => path.dirname(f)))
  for (const { tensor, file: source, offset, length } of placed) {
    const location = path.relative(weightsFolder, source).split(path.sep).join('/')
    const entries: [string, string][] = [
      ['location', location],
      ['offset', offset],
    ]
    if (length !== undefined) {
      entries.push(['length', length])
    }
    tensor.dataLocation = TensorProto_DataLocation.EXTERNAL
    tensor.externalData = entries.map(([key, value]) => create(StringStringEntryProtoSchema, { key, value }))
  }
  return { weightsFolder, files: [...files] }
}

/** External data lies beside the file that the user named, or beside the target of a link. */
function resolveExternal(file: string, realFile: string, location: string): string {
  if (path.isAbsolute(location) || location.split(/[\\/]/).includes('..')) {
    throw new QkError('ERR_FILE', `${file} points outside its folder for weights: "${location}"`, {
      hint: 'A model from elsewhere must not read other files; save it again with its data beside it.',
    })
  }
  try {
    return resolveFile(path.resolve(path.dirname(file), location), location)
  } catch (error) {
    const beside = path.resolve(path.dirname(realFile), location)
    try {
      return resolveFile(beside, location)
    } catch {
      throw new QkError('ERR_FILE', `${file} keeps weights in "${location}", which cannot be opened`, {
        hint: `Put ${location} into ${path.dirname(path.resolve(file))}.`,
        cause: error,
      })
    }
  }
}

function commonFolder(folders: string[]): string {
  const split = folders.map((folder) => folder.split(path.sep))
  const first = split[0]
  let depth = first.length
  for (const other of split) {
    let same = 0
    while (same < depth && same < other.length && other[same] === first[same]) {
      same++
    }
    depth = same
  }
  return first.slice(0, depth).join(path.sep) || path.sep
}
