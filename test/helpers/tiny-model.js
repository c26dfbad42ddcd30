/**
 * Small one-layer models with random weights, written in the many ways in which exporters write attention.
 * All variants of one `seed` share their weights, so they must give the same queries, keys and scores.
 */

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { create, toBinary } from '@bufbuild/protobuf'
import {
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataLocation as DataLocation,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  StringStringEntryProtoSchema,
  TensorProtoSchema,
  ValueInfoProtoSchema,
} from '../../dist/model/onnx/onnx_pb.js'
import { seededRandom } from '../../dist/random.js'
import { numberToF16 } from '../../dist/tensor.js'

export const TINY = { vocabulary: 20, width: 16, heads: 4, kvHeads: 2, headDim: 4 }

const FLOAT = 1
const INT64 = 7
const BOOL = 9
const FLOAT16 = 10

/** Collects nodes and initializers; `half` writes float constants as float16. */
export class GraphBuilder {
  constructor({ half = false } = {}) {
    this.nodes = []
    this.initializers = []
    this.half = half
    this.floatType = half ? FLOAT16 : FLOAT
  }

  node(opType, input, attributes = {}, output = `${opType}_${this.nodes.length}`) {
    const attribute = Object.entries(attributes).map(([name, value]) => {
      if (typeof value === 'string') {
        return create(AttributeProtoSchema, { name, s: Buffer.from(value), type: AttributeType.STRING })
      }
      if (Array.isArray(value)) {
        return create(AttributeProtoSchema, { name, ints: value.map(BigInt), type: AttributeType.INTS })
      }
      return create(AttributeProtoSchema, { name, i: BigInt(value), type: AttributeType.INT })
    })
    this.nodes.push(create(NodeProtoSchema, { opType, input, output: [output], name: output, attribute }))
    return output
  }

  float(name, dims, values) {
    const raw = this.half ? Uint16Array.from(values, numberToF16) : Float32Array.from(values)
    this.initializers.push(
      create(TensorProtoSchema, {
        name,
        dims: dims.map(BigInt),
        dataType: this.floatType,
        rawData: new Uint8Array(raw.buffer),
      }),
    )
    return name
  }

  ints(values, dims = [values.length]) {
    const name = `ints_${this.initializers.length}`
    this.initializers.push(
      create(TensorProtoSchema, {
        name,
        dims: dims.map(BigInt),
        dataType: INT64,
        rawData: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
      }),
    )
    return name
  }

  write(file, inputs, outputs) {
    const graph = create(GraphProtoSchema, {
      name: 'tiny',
      node: this.nodes,
      initializer: this.initializers,
      input: inputs,
      output: outputs.map((name) => valueInfo(name, this.floatType)),
    })
    const model = create(ModelProtoSchema, {
      irVersion: 8n,
      opsetImport: [{ domain: '', version: 17n }],
      graph,
    })
    writeFileSync(file, toBinary(ModelProtoSchema, model))
    return file
  }
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

/** Row-major: table [vocabulary, width], wq [width, heads * d], and so on. `nanToken` poisons one embedding. */
export function tinyWeights({ seed = 1, nanToken }) {
  const { vocabulary, width, heads, kvHeads, headDim: d } = TINY
  const random = seededRandom(seed)
  const weights = (size, deviation) => Float64Array.from({ length: size }, () => random.normal() * deviation)
  const table = weights(vocabulary * width, 1)
  if (nanToken !== undefined) table[nanToken * width] = Number.NaN
  return {
    table,
    wq: weights(width * heads * d, 0.5),
    wk: weights(width * kvHeads * d, 0.5),
    wv: weights(width * kvHeads * d, 0.5),
    wo: weights(heads * d * width, 0.5),
  }
}

/** Queries [pos][head][d] and keys [pos][kvHead][d] in float64, by formula. */
export function tinyReference(tokens, { rope = true, norm = false, ...options } = {}) {
  const { width, heads, kvHeads, headDim: d } = TINY
  const { table, wq, wk } = tinyWeights(options)
  const project = (w, n, token, position) =>
    Array.from({ length: n }, (_, h) => {
      let row = Array.from({ length: d }, (_, c) => {
        let sum = 0
        for (let i = 0; i < width; i++) sum += table[token * width + i] * w[i * n * d + h * d + c]
        return sum
      })
      if (norm) {
        const root = Math.sqrt(row.reduce((s, v) => s + v * v, 0) / d + 1e-3)
        row = row.map((v) => v / root)
      }
      if (!rope) return row
      const half = d / 2
      return row.map((value, c) => {
        const angle = position / 10 ** ((c % half) / half)
        const turned = c < half ? -row[c + half] : row[c - half]
        return value * Math.cos(angle) + turned * Math.sin(angle)
      })
    })
  return {
    q: tokens.map((token, t) => project(wq, heads, token, t)),
    k: tokens.map((token, t) => project(wk, kvHeads, token, t)),
  }
}

/**
 * Writes a model. Options, each with the plainest first:
 *   repeat: 'expand' | 'tile' | 'concat' | 'gather'
 *   scale: 'div' | 'mul' | 'query' | 'split' | 'computed'
 *   mask: 'add' | 'where' | 'none'
 *   product: 'matmul' | 'einsum'
 *   fold: false | 'plain' | 'untraceable': heads folded into the batch and unfolded for the mask alone; or in a way
 *     that cannot be followed back
 *   rope, norm, packed, half, external: booleans
 */
export function writeTinyModel(folder, options = {}) {
  const { repeat = 'expand', scale = 'div', mask = 'add', product = 'matmul', fold = false } = options
  const { rope = true, norm = false, packed = false, half = false, external = false } = options
  const { vocabulary, width, heads, kvHeads, headDim: d } = TINY
  const { table, wq, wk, wv, wo } = tinyWeights(options)
  const g = new GraphBuilder({ half })
  const scalar = (value) => g.float(`scalar_${g.initializers.length}`, [], [value])
  const x = g.node('Gather', [g.float('embedding', [vocabulary, width], table), 'input_ids'])

  let projected
  if (packed) {
    const columns = (heads + 2 * kvHeads) * d
    const all = new Float64Array(width * columns)
    for (let r = 0; r < width; r++) {
      const parts = [
        [wq, heads * d],
        [wk, kvHeads * d],
        [wv, kvHeads * d],
      ]
      let at = r * columns
      for (const [w, n] of parts) {
        all.set(w.subarray(r * n, (r + 1) * n), at)
        at += n
      }
    }
    const qkv = g.node('MatMul', [x, g.float('w_qkv', [width, columns], all)])
    const cut = (from, to) => g.node('Slice', [qkv, g.ints([from]), g.ints([to]), g.ints([2])])
    projected = [
      cut(0, heads * d),
      cut(heads * d, (heads + kvHeads) * d),
      cut((heads + kvHeads) * d, columns),
    ]
  } else {
    projected = [
      g.node('MatMul', [x, g.float('w_q', [width, heads * d], wq)]),
      g.node('MatMul', [x, g.float('w_k', [width, kvHeads * d], wk)]),
      g.node('MatMul', [x, g.float('w_v', [width, kvHeads * d], wv)]),
    ]
  }
  const split = (name, n) =>
    g.node('Transpose', [g.node('Reshape', [name, g.ints([0, 0, n, d])])], { perm: [0, 2, 1, 3] })
  let q = split(projected[0], heads)
  let k = split(projected[1], kvHeads)
  const v = split(projected[2], kvHeads)

  if (norm) {
    const rms = (name) => {
      const mean = g.node('ReduceMean', [g.node('Mul', [name, name])], { axes: [-1], keepdims: 1 })
      return g.node('Div', [name, g.node('Sqrt', [g.node('Add', [mean, scalar(1e-3)])])])
    }
    q = rms(q)
    k = rms(k)
  }
  if (rope) {
    const half = d / 2
    const angles = (f) =>
      Float64Array.from({ length: 64 * d }, (_, i) => f(Math.floor(i / d) / 10 ** ((i % half) / half)))
    const length = g.node('Gather', [g.node('Shape', ['input_ids']), g.ints([1], [1])])
    const rows = (name) => g.node('Slice', [name, g.ints([0]), length, g.ints([0])])
    const cos = rows(g.float('cos', [64, d], angles(Math.cos)))
    const sin = rows(g.float('sin', [64, d], angles(Math.sin)))
    const rotate = (name) => {
      const low = g.node('Slice', [name, g.ints([0]), g.ints([half]), g.ints([3])])
      const high = g.node('Slice', [name, g.ints([half]), g.ints([d]), g.ints([3])])
      const turned = g.node('Concat', [g.node('Neg', [high]), low], { axis: 3 })
      return g.node('Add', [g.node('Mul', [name, cos]), g.node('Mul', [turned, sin])])
    }
    q = rotate(q)
    k = rotate(k)
  }

  const groups = heads / kvHeads
  const repeated = (name) => {
    if (repeat === 'gather') {
      const index = g.ints(Array.from({ length: heads }, (_, h) => Math.floor(h / groups)))
      return g.node('Gather', [name, index], { axis: 1 })
    }
    const wide = g.node('Unsqueeze', [name, g.ints([2])])
    let copies
    if (repeat === 'tile') copies = g.node('Tile', [wide, g.ints([1, 1, groups, 1, 1])])
    else if (repeat === 'concat') copies = g.node('Concat', Array(groups).fill(wide), { axis: 2 })
    else copies = g.node('Expand', [wide, g.ints([1, 1, groups, 1, 1])])
    const shape = g.node('Shape', [name])
    const at = (i) => g.node('Gather', [shape, g.ints([i])])
    return g.node('Reshape', [copies, g.node('Concat', [at(0), g.ints([heads]), at(2), at(3)], { axis: 0 })])
  }
  let keys = repeated(k)
  let values = repeated(v)

  if (scale === 'query') q = g.node('Mul', [q, scalar(1 / Math.sqrt(d))])
  if (scale === 'split') {
    q = g.node('Mul', [q, scalar(d ** -0.25)])
    keys = g.node('Mul', [keys, scalar(d ** -0.25)])
  }
  /** [batch, heads, a, b] <-> [batch * heads, a, b] */
  const sizes = (name, ...axes) => axes.map((i) => g.node('Gather', [g.node('Shape', [name]), g.ints([i])]))
  const joined4 = (name) => {
    const free = g.node('Concat', [g.ints([-1]), ...sizes(name, 2, 3)], { axis: 0 })
    const flat = g.node('Reshape', [name, free])
    // A sum with nothing keeps the values and hides where they come from.
    return fold === 'untraceable' ? g.node('Add', [flat, scalar(0)]) : flat
  }
  const split4 = (name) =>
    g.node('Reshape', [name, g.node('Concat', [g.ints([-1, heads]), ...sizes(name, 1, 2)], { axis: 0 })])
  if (fold) {
    q = joined4(q)
    keys = joined4(keys)
    values = joined4(values)
  }

  let scores
  if (fold) {
    scores = g.node('MatMul', [q, g.node('Transpose', [keys], { perm: [0, 2, 1] })], {}, 'scores')
  } else if (product === 'einsum') {
    scores = g.node('Einsum', [q, keys], { equation: 'bhqd,bhkd->bhqk' }, 'scores')
  } else {
    const transposed = g.node('Transpose', [keys], { perm: [0, 1, 3, 2] })
    scores = g.node('MatMul', [q, transposed], {}, 'scores')
  }
  if (scale === 'div') scores = g.node('Div', [scores, scalar(Math.sqrt(d))])
  if (scale === 'mul') scores = g.node('Mul', [scores, scalar(1 / Math.sqrt(d))])
  if (scale === 'computed') {
    const last = g.node('Gather', [g.node('Shape', [q]), g.ints([3], [])])
    const root = g.node('Sqrt', [g.node('Cast', [last], { to: g.floatType })])
    scores = g.node('Div', [scores, root])
  }

  if (fold) scores = split4(scores)
  if (mask !== 'none') {
    const length = g.node('Gather', [g.node('Shape', ['input_ids']), g.ints([1], [])])
    const range = g.node('Range', [g.ints([0], []), length, g.ints([1], [])])
    const row = g.node('Unsqueeze', [range, g.ints([0])])
    const column = g.node('Unsqueeze', [range, g.ints([1])])
    const causal = g.node('LessOrEqual', [row, column])
    const kept = g.node('Unsqueeze', [g.node('Cast', ['attention_mask'], { to: BOOL }), g.ints([1, 2])])
    const allowed = g.node('And', [causal, kept])
    if (mask === 'where') {
      scores = g.node('Where', [allowed, scores, scalar(half ? -65504 : -3.4e38)])
    } else {
      const bias = g.node('Where', [allowed, scalar(0), scalar(half ? -30000 : -1e9)])
      scores = g.node('Add', [scores, bias])
    }
  }
  if (fold) scores = joined4(scores)
  const pattern = g.node('Softmax', [scores], { axis: -1 }, 'pattern')
  const attended = g.node('MatMul', [pattern, values])
  const mixed = g.node('Transpose', [fold ? split4(attended) : attended], { perm: [0, 2, 1, 3] })
  const joined = g.node('Reshape', [mixed, g.ints([0, 0, heads * d])])
  g.node('MatMul', [joined, g.float('w_o', [heads * d, width], wo)], {}, 'output')

  const name = `tiny-${Object.values(options).join('-') || 'plain'}`
  const file = path.join(folder, `${name}.onnx`)
  if (external) moveWeights(g, `${file}_data`)
  const inputs = [valueInfo('input_ids', INT64, ['batch', 'seq'])]
  if (mask !== 'none') inputs.push(valueInfo('attention_mask', INT64, ['batch', 'seq']))
  return g.write(file, inputs, ['output'])
}

/** Moves every float initializer into one external file. */
function moveWeights(g, file) {
  const parts = []
  let offset = 0
  for (const tensor of g.initializers.filter((t) => t.dataType !== INT64 && t.dims.length > 0)) {
    const entries = { location: path.basename(file), offset, length: tensor.rawData.length }
    tensor.externalData = Object.entries(entries).map(([key, value]) =>
      create(StringStringEntryProtoSchema, { key, value: `${value}` }),
    )
    tensor.dataLocation = DataLocation.EXTERNAL
    parts.push(tensor.rawData)
    offset += tensor.rawData.length
    tensor.rawData = new Uint8Array()
  }
  writeFileSync(file, Buffer.concat(parts))
}
