/**
 * Small one-layer models with random weights, written in the many ways in which exporters write attention.
 * All variants of one `seed` and one set of sizes share their weights, so they must give the same queries, keys and
 * scores.
 */

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { create } from '@bufbuild/protobuf'
import {
  TensorProto_DataLocation as DataLocation,
  StringStringEntryProtoSchema,
} from '../../dist/model/onnx/proto/onnx_pb.js'
import {
  halvesRotation,
  joinHeads,
  repeatHeads,
  splitHeads,
  visibilityBias,
  visibleKeys,
} from './attention-parts.js'
import { fusedAttention } from './fused-attention.js'
import { GraphBuilder, INT8, INT64, valueInfo } from './graph-builder.js'
import { packedWeights } from './packed-weights.js'
import { writeProjection } from './quantised-weights.js'
import { tinySizes, tinyWeights } from './tiny-weights.js'
import { writePattern } from './written-softmax.js'

/**
 * Writes a model. Options, each with the plainest first:
 *   attention: 'written out', or a name of fused-attention.js
 *   repeat: 'expand' | 'tile' | 'concat' | 'gather'
 *   scale: 'div' | 'mul' | 'query' | 'split' | 'computed'
 *   mask: 'add' | 'where' | 'none'
 *   product: 'matmul' | 'einsum' | 'integer' | 'eight bits'
 *   fold: false | 'plain' | 'untraceable': heads folded into the batch and unfolded for the mask alone; or in a way
 *     that cannot be followed back
 *   weights: 'float', or a format of quantised-weights.js, for the projections of queries, keys and values
 *   ending: 'none' | 'layer-norm' | 'skip-layer-norm' | 'rms-norm' | 'skip-rms-norm': the sum with what the layer
 *     read, normalised, by plain or by fused operators
 *   segments: false | true: token types, of which the second adds what makes token 6 into token 7
 *   softmax, sink, quantised: as in written-softmax.js
 *   rope, norm, packed, bias, half, external, mixed (talking heads): booleans
 *   width, heads, kvHeads, headDim, vocabulary: sizes, those of TINY by default
 * Fused attention takes no notice of repeat, scale, mask, product, fold, softmax, sink, quantised and mixed.
 */
export function writeTinyModel(folder, options = {}) {
  const {
    attention = 'written out',
    mask = 'add',
    segments = false,
    half = false,
    external = false,
  } = options
  const { vocabulary, width, heads, headDim: d } = tinySizes(options)
  const weights = tinyWeights(options)
  const g = new GraphBuilder({ half })
  const words = g.node('Gather', [g.float('embedding', [vocabulary, width], weights.table), 'input_ids'])
  const x = segments ? g.node('Add', [words, segmentRows(g, weights.table, width)]) : words
  const joined =
    attention === 'written out'
      ? writtenOutAttention(g, projections(g, x, weights, options), options)
      : fusedAttention(attention, {
          g,
          x,
          weights,
          options,
          project: () => projections(g, x, weights, options),
        })
  writeEnding(g, g.node('MatMul', [joined, g.float('w_o', [heads * d, width], weights.wo)]), x, options)

  const named = Object.entries(options)
    .flat()
    .join('-')
    .replaceAll(/[^\w.-]+/g, '_')
  const file = path.join(folder, `tiny-${named || 'plain'}.onnx`)
  if (external) {
    moveWeights(g, `${file}_data`)
  }
  const inputs = [valueInfo('input_ids', INT64, ['batch', 'seq'])]
  if (mask !== 'none') {
    inputs.push(valueInfo('attention_mask', INT64, ['batch', 'seq']))
  }
  if (segments) {
    inputs.push(valueInfo('token_type_ids', INT64, ['batch', 'seq']))
  }
  const output = valueInfo('output', g.floatType, ['batch', 'seq', width])
  return g.write(file, inputs, [output], { opset: attention.startsWith('onnx') ? 23 : 17 })
}

function segmentRows(g, table, width) {
  const second = Array.from({ length: width }, (_, i) => table[7 * width + i] - table[6 * width + i])
  return g.node('Gather', [
    g.float('types', [2, width], [...new Array(width).fill(0), ...second]),
    'token_type_ids',
  ])
}

/** Queries, keys and values, [batch, pos, heads * d]. */
function projections(g, x, weights, options) {
  const { packed = false, bias = false, weights: format } = options
  const { width, heads, kvHeads, headDim: d } = tinySizes(options)
  const sizes = [heads, kvHeads, kvHeads].map((n) => n * d)
  if (packed) {
    const qkv = writeProjection(g, x, 'w_qkv', ...packedWeights(weights, sizes, width), format)
    const cut = (from, to) => g.node('Slice', [qkv, g.ints([from]), g.ints([to]), g.ints([2])])
    const [q, k] = sizes
    return [cut(0, q), cut(q, q + k), cut(q + k, q + 2 * k)]
  }
  return ['q', 'k', 'v'].map((side, i) => {
    const product = writeProjection(g, x, `w_${side}`, [width, sizes[i]], weights[`w${side}`], format)
    return bias ? g.node('Add', [product, g.float(`b_${side}`, [sizes[i]], weights[`b${side}`])]) : product
  })
}

/** [batch, pos, heads * d] from what was projected, in standard operators. */
function writtenOutAttention(g, projected, options) {
  const { repeat, scale = 'div', mask = 'add', product = 'matmul', fold = false } = options
  const { rope = true, norm = false, mixed = false } = options
  const { heads, kvHeads, headDim: d } = tinySizes(options)
  let q = splitHeads(g, projected[0], heads, d)
  let k = splitHeads(g, projected[1], kvHeads, d)
  const v = splitHeads(g, projected[2], kvHeads, d)

  if (norm) {
    const rms = (name) => {
      const mean = g.node('ReduceMean', [g.node('Mul', [name, name])], { axes: [-1], keepdims: 1 })
      return g.node('Div', [name, g.node('Sqrt', [g.node('Add', [mean, g.scalar(1e-3)])])])
    }
    q = rms(q)
    k = rms(k)
  }
  if (rope) {
    const rotate = halvesRotation(g, d)
    q = rotate(q)
    k = rotate(k)
  }
  let keys = repeatHeads(g, k, { heads, kvHeads }, repeat)
  let values = repeatHeads(g, v, { heads, kvHeads }, repeat)

  if (scale === 'query') {
    q = g.node('Mul', [q, g.scalar(1 / Math.sqrt(d))])
  }
  if (scale === 'split') {
    q = g.node('Mul', [q, g.scalar(d ** -0.25)])
    keys = g.node('Mul', [keys, g.scalar(d ** -0.25)])
  }
  /** [batch, heads, a, b] <-> [batch * heads, a, b] */
  const sizes = (name, ...axes) => axes.map((i) => g.node('Gather', [g.node('Shape', [name]), g.ints([i])]))
  const joined4 = (name) => {
    const free = g.node('Concat', [g.ints([-1]), ...sizes(name, 2, 3)], { axis: 0 })
    const flat = g.node('Reshape', [name, free])
    // A sum with nothing keeps the values and hides where they come from.
    return fold === 'untraceable' ? g.node('Add', [flat, g.scalar(0)]) : flat
  }
  const split4 = (name) =>
    g.node('Reshape', [name, g.node('Concat', [g.ints([-1, heads]), ...sizes(name, 1, 2)], { axis: 0 })])
  if (fold) {
    q = joined4(q)
    keys = joined4(keys)
    values = joined4(values)
  }

  let scores = writeProduct(g, q, keys, fold ? 'folded' : product)
  if (scale === 'div') {
    scores = g.node('Div', [scores, g.scalar(Math.sqrt(d))])
  }
  if (scale === 'mul') {
    scores = g.node('Mul', [scores, g.scalar(1 / Math.sqrt(d))])
  }
  if (scale === 'computed') {
    const last = g.node('Gather', [g.node('Shape', [q]), g.ints([3], [])])
    const root = g.node('Sqrt', [g.node('Cast', [last], { to: g.floatType })])
    scores = g.node('Div', [scores, root])
  }

  if (fold) {
    scores = split4(scores)
  }
  if (mask === 'where') {
    scores = g.node('Where', [visibleKeys(g), scores, g.scalar(g.half ? -65504 : -3.4e38)])
  } else if (mask === 'add') {
    scores = g.node('Add', [scores, visibilityBias(g)])
  }
  if (fold) {
    scores = joined4(scores)
  }
  if (mixed) {
    // Talking heads: each head's scores become a mixture of all heads'.
    const mixture = g.float(
      'mixture',
      [heads, heads],
      Float64Array.from({ length: heads ** 2 }, (_, i) => i % 3),
    )
    const last = (name, perm) => g.node('Transpose', [name], { perm })
    scores = last(g.node('MatMul', [last(scores, [0, 2, 3, 1]), mixture]), [0, 3, 1, 2])
  }
  const pattern = writePattern(g, scores, { ...options, heads })
  const attended = g.node('MatMul', [pattern, values])
  return joinHeads(g, fold ? split4(attended) : attended, heads * d)
}

/** Queries times keys, as `product` says; 'folded' where heads are in the axis of the batch. */
function writeProduct(g, q, keys, product) {
  const transposed = () => g.node('Transpose', [keys], { perm: [0, 1, 3, 2] })
  if (product === 'folded') {
    return g.node('MatMul', [q, g.node('Transpose', [keys], { perm: [0, 2, 1] })], {}, 'scores')
  }
  if (product === 'integer') {
    // Both sides quantised as the model runs, and multiplied as whole numbers.
    const quantised = (name, side) =>
      g.node('DynamicQuantizeLinear', [name], {}, [`${side}_q`, `${side}_step`, `${side}_zero`])
    const [a, aStep, aZero] = quantised(q, 'left')
    const [b, bStep, bZero] = quantised(transposed(), 'right')
    const whole = g.node('MatMulInteger', [a, b, aZero, bZero], {}, 'scores')
    return g.node('Mul', [g.node('Cast', [whole], { to: g.floatType }), g.node('Mul', [aStep, bStep])])
  }
  if (product === 'eight bits') {
    // A product of stored steps: eight bits in and out.
    const step = (size) => [
      g.scalar(size),
      g.stored(`zero_${g.initializers.length}`, INT8, [], Int8Array.of(0)),
    ]
    const [sides, out] = [step(0.02), step(0.2)]
    const quantised = (name) => g.node('QuantizeLinear', [name, ...sides])
    const right = transposed()
    const operands = [quantised(q), ...sides, quantised(right), ...sides]
    return g.node('DequantizeLinear', [g.node('QLinearMatMul', [...operands, ...out], {}, 'scores'), ...out])
  }
  if (product === 'einsum') {
    return g.node('Einsum', [q, keys], { equation: 'bhqd,bhkd->bhqk' }, 'scores')
  }
  return g.node('MatMul', [q, transposed()], {}, 'scores')
}

/** Makes the output of what attention gave. */
function writeEnding(g, attended, x, options) {
  const { ending = 'none' } = options
  const { width } = tinySizes(options)
  if (ending === 'none') {
    return g.node('Identity', [attended], {}, 'output')
  }
  const gain = g.float(
    'gain',
    [width],
    Float64Array.from({ length: width }, (_, i) => 1 + i / width),
  )
  const shift = () =>
    g.float(
      'shift',
      [width],
      Float64Array.from({ length: width }, (_, i) => i / width - 0.5),
    )
  const epsilon = 1e-5
  if (ending === 'skip-layer-norm') {
    return g.node('SkipLayerNormalization', [attended, x, gain, shift()], { epsilon }, 'output', CONTRIB)
  }
  if (ending === 'skip-rms-norm') {
    return g.node('SkipSimplifiedLayerNormalization', [attended, x, gain], { epsilon }, 'output', CONTRIB)
  }
  const sum = g.node('Add', [attended, x])
  if (ending === 'layer-norm') {
    return g.node('LayerNormalization', [sum, gain, shift()], { epsilon, axis: -1 }, 'output')
  }
  const mean = g.node('ReduceMean', [g.node('Mul', [sum, sum])], { axes: [-1], keepdims: 1 })
  const root = g.node('Sqrt', [g.node('Add', [mean, g.scalar(epsilon)])])
  return g.node('Mul', [g.node('Div', [sum, root]), gain], {}, 'output')
}

const CONTRIB = 'com.microsoft'

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
