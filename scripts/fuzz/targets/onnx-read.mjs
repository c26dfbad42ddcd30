import { readFileSync } from 'node:fs'
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { lowerAttention } from '../../../dist/model/fused/lower.js'
import { modelInputs } from '../../../dist/model/inference/inputs.js'
import { ModelProtoSchema } from '../../../dist/model/onnx/proto/onnx_pb.js'
import { openGraph } from '../../../dist/model/open-graph.js'
import { findSites } from '../../../dist/model/sites/search/find.js'
import { writeTinyModel } from '../../../test/helpers/tiny-model.js'
import { changedBytes, oddNumber } from '../mutate.mjs'

/** Written in different ways, so that every part of the reader has something to read. */
const WAYS = [
  {},
  { repeat: 'tile', mask: 'where' },
  { attention: 'GroupQueryAttention' },
  { product: 'einsum' },
]

/** Small models with bytes or fields changed, as far as they are read without onnxruntime. */
export const target = {
  extension: 'onnx',
  prepare: async (folder) =>
    WAYS.map((way) => {
      const bytes = readFileSync(writeTinyModel(folder, way))
      return { bytes, proto: () => fromBinary(ModelProtoSchema, bytes) }
    }),
  make: (random, seeds) => {
    const { bytes, proto } = random.pick(seeds)
    // Weights are most of the bytes: more changes there would test nothing.
    if (random.next() < 0.4) {
      return changedBytes(random, bytes)
    }
    const model = proto()
    for (let changes = 1 + random.below(3); changes > 0; changes--) {
      changeField(random, model)
    }
    return Buffer.from(toBinary(ModelProtoSchema, model))
  },
  run: async (file) => {
    const { graph, fused } = lowerAttention(openGraph(file))
    findSites(graph, fused)
    modelInputs(graph)
  },
}

/** Changes a field somewhere inside to another value of its type. */
function changeField(random, message) {
  const names = Object.keys(message).filter((name) => !name.startsWith('$'))
  const name = random.pick(names)
  const value = message[name]
  if (Array.isArray(value) && value.length > 0) {
    changeList(random, value)
  } else if (value instanceof Uint8Array) {
    message[name] = changedBytes(random, value)
  } else if (value !== null && typeof value === 'object' && !Array.isArray(value)) {
    // A oneof is an object with its case and its value.
    changeField(random, value)
  } else {
    message[name] = another(random, value)
  }
}

function changeList(random, list) {
  const at = random.below(list.length)
  const kind = random.next()
  if (kind < 0.1) {
    list.splice(at, 1)
  } else if (kind < 0.2) {
    list.splice(at, 0, structuredClone(list[random.below(list.length)]))
  } else if (kind < 0.25) {
    list.reverse()
  } else if (typeof list[at] === 'object' && list[at] !== null && !(list[at] instanceof Uint8Array)) {
    changeField(random, list[at])
  } else {
    list[at] = another(random, list[at])
  }
}

function another(random, value) {
  if (typeof value === 'bigint') {
    return BigInt.asIntN(64, BigInt(Math.trunc(oddNumber(random) % 2 ** 63)))
  }
  if (typeof value === 'number') {
    return Math.trunc(oddNumber(random)) | 0
  }
  if (typeof value === 'boolean') {
    return !value
  }
  if (typeof value === 'string') {
    return random.pick(['', 'x', `${value}x`, 'MatMul', 'Softmax', 'input_ids', 'batch', '/'])
  }
  if (value instanceof Uint8Array) {
    return changedBytes(random, value)
  }
  return value
}
