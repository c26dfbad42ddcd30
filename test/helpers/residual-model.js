/**
 * A two-layer transformer with a residual stream, norms, learned positions and known weights, written in the ways in which
 * exporters write norms; and its queries and keys of a token's own embedding by formula, in float64.
 */

import path from 'node:path'
import { seededRandom } from '../../dist/math/random.js'
import { joinHeads, positionRange, splitHeads, visibilityBias } from './attention-parts.js'
import { GraphBuilder, INT64, valueInfo } from './graph-builder.js'

export const SIZES = { vocabulary: 30, width: 12, heads: 2, headDim: 4, layers: 2, positions: 16 }
const EPSILON = 1e-3
const CONTRIB = 'com.microsoft'

/** Weights of a seed: row-major, [in, out]. */
export function residualWeights(seed = 1) {
  const { vocabulary, width, heads, headDim, layers, positions } = SIZES
  const random = seededRandom(seed)
  const draw = (size, deviation, mean = 0) =>
    Float64Array.from({ length: size }, () => Math.fround(mean + random.normal() * deviation))
  const inner = heads * headDim
  return {
    table: draw(vocabulary * width, 1, 0.2),
    places: draw(positions * width, 0.5),
    layers: Array.from({ length: layers }, () => ({
      gain: draw(width, 0.4, 1),
      shift: draw(width, 0.3),
      wq: draw(width * inner, 0.5),
      wk: draw(width * inner, 0.5),
      wv: draw(width * inner, 0.5),
      bq: draw(inner, 0.3),
      bk: draw(inner, 0.3),
      wo: draw(inner * width, 0.5),
      bo: draw(width, 0.3),
      gainAfter: draw(width, 0.4, 1),
      shiftAfter: draw(width, 0.3),
      up: draw(width * width, 0.5),
      down: draw(width * width, 0.5),
    })),
  }
}

/**
 * `norm`: 'rms written out', 'rms by a power', 'layer written out', 'LayerNormalization',
 * 'SimplifiedLayerNormalization', 'skip' and 'simplified skip' (sum and norm in one operator), 'post' (after each sum),
 * 'none'. `residual: false` leaves the sums out.
 */
export function writeResidualModel(folder, { norm = 'LayerNormalization', residual = true } = {}) {
  const { vocabulary, width, heads, headDim: d, positions } = SIZES
  const weights = residualWeights()
  const g = new GraphBuilder()
  const matrix = (name, values, rows) => g.float(name, [rows, values.length / rows], values)
  const row = (name, values) => g.float(name, [values.length], values)
  const words = g.node('Gather', [g.float('table', [vocabulary, width], weights.table), 'input_ids'])
  const places = g.node('Gather', [g.float('places', [positions, width], weights.places), positionRange(g)])
  let stream = g.node('Add', [words, places])
  const norms = {
    'rms written out': (x, gain) => {
      const mean = g.node('ReduceMean', [g.node('Mul', [x, x])], { axes: [-1], keepdims: 1 })
      return g.node('Mul', [
        g.node('Div', [x, g.node('Sqrt', [g.node('Add', [mean, g.scalar(EPSILON)])])]),
        gain,
      ])
    },
    'rms by a power': (x, gain) => {
      const mean = g.node('ReduceMean', [g.node('Pow', [x, g.scalar(2)])], { axes: [-1], keepdims: 1 })
      const root = g.node('Pow', [g.node('Add', [mean, g.scalar(EPSILON)]), g.scalar(-0.5)])
      return g.node('Mul', [gain, g.node('Mul', [root, x])])
    },
    'layer written out': (x, gain, shift) => {
      const mean = g.node('ReduceMean', [x], { axes: [-1], keepdims: 1 })
      const apart = g.node('Sub', [x, mean])
      const square = g.node('ReduceMean', [g.node('Mul', [apart, apart])], { axes: [-1], keepdims: 1 })
      const root = g.node('Sqrt', [g.node('Add', [square, g.scalar(EPSILON)])])
      return g.node('Add', [g.node('Mul', [g.node('Div', [apart, root]), gain]), shift])
    },
    LayerNormalization: (x, gain, shift) =>
      g.node('LayerNormalization', [x, gain, shift], { epsilon: EPSILON, axis: -1 }),
    SimplifiedLayerNormalization: (x, gain) =>
      g.node('SimplifiedLayerNormalization', [x, gain], { epsilon: EPSILON, axis: -1 }),
    none: (x) => x,
  }
  const fused = { skip: 'SkipLayerNormalization', 'simplified skip': 'SkipSimplifiedLayerNormalization' }[
    norm
  ]
  const plain =
    { skip: 'LayerNormalization', 'simplified skip': 'SimplifiedLayerNormalization' }[norm] ?? norm
  /** The stream with what a part of a layer adds, and what the next part reads. */
  const joined = (added, bias, gain, shift, name) => {
    if (fused) {
      const simple = norm === 'simplified skip'
      const input = simple ? [stream, added, gain, bias] : [stream, added, gain, shift, bias]
      const [read, , , sum] = g.node(
        fused,
        input.map((x) => x ?? ''),
        { epsilon: EPSILON },
        [`${name}.norm`, '', '', `${name}.sum`],
        CONTRIB,
      )
      stream = sum
      return read
    }
    const whole = bias ? g.node('Add', [added, bias]) : added
    const sum = residual ? g.node('Add', [stream, whole]) : whole
    if (norm === 'post') {
      stream = norms.LayerNormalization(sum, gain, shift)
      return stream
    }
    stream = sum
    return norms[plain](sum, gain, shift)
  }
  const named = weights.layers.map((layer, l) => ({
    gain: row(`gain_${l}`, layer.gain),
    shift: row(`shift_${l}`, layer.shift),
    gainAfter: row(`gain_after_${l}`, layer.gainAfter),
    shiftAfter: row(`shift_after_${l}`, layer.shiftAfter),
  }))
  let read = norm === 'post' ? stream : norms[plain](stream, named[0].gain, named[0].shift)
  weights.layers.forEach((layer, l) => {
    const project = (side, bias) => {
      const product = g.node('MatMul', [read, matrix(`${side}_${l}`, layer[side], width)])
      return splitHeads(
        g,
        bias ? g.node('Add', [product, row(`${bias}_${l}`, layer[bias])]) : product,
        heads,
        d,
      )
    }
    const [q, k, v] = [project('wq', 'bq'), project('wk', 'bk'), project('wv')]
    const scores = g.node('MatMul', [q, g.node('Transpose', [k], { perm: [0, 1, 3, 2] })])
    const masked = g.node('Add', [g.node('Div', [scores, g.scalar(Math.sqrt(d))]), visibilityBias(g)])
    const attended = g.node('MatMul', [g.node('Softmax', [masked], { axis: -1 }), v])
    const out = g.node('MatMul', [joinHeads(g, attended, heads * d), matrix(`wo_${l}`, layer.wo, heads * d)])
    const { gainAfter, shiftAfter } = named[l]
    const inside = joined(out, row(`bo_${l}`, layer.bo), gainAfter, shiftAfter, `attention_${l}`)
    const up = g.node('Relu', [g.node('MatMul', [inside, matrix(`up_${l}`, layer.up, width)])])
    const down = g.node('MatMul', [up, matrix(`down_${l}`, layer.down, width)])
    const next = named[l + 1] ?? named[0]
    read = joined(down, undefined, next.gain, next.shift, `mlp_${l}`)
  })
  g.node('Identity', [read], {}, 'output')
  const inputs = ['input_ids', 'attention_mask'].map((name) => valueInfo(name, INT64, ['batch', 'seq']))
  const file = path.join(folder, `${norm}-${residual}.onnx`.replaceAll(' ', '-'))
  return g.write(file, inputs, [valueInfo('output', g.floatType, ['batch', 'seq', width])])
}

/** What a layer's queries or keys are of a token's own embedding at position 0: [vocabulary][head][d]. */
export function ownRows(layer, side, norm) {
  const { vocabulary, width, heads, headDim: d } = SIZES
  const { table, places, layers } = residualWeights()
  const { gain, shift, ...projections } = layers[layer]
  const [weight, bias] = [projections[`w${side}`], projections[`b${side}`]]
  return Array.from({ length: vocabulary }, (_, token) => {
    const x = Array.from({ length: width }, (_, i) => table[token * width + i] + places[i])
    const simple = norm.includes('rms') || /simplified/i.test(norm)
    const mean = simple ? 0 : x.reduce((a, b) => a + b) / width
    const root = Math.sqrt(x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width + EPSILON)
    const normal = x.map((value, i) => ((value - mean) / root) * gain[i] + (simple ? 0 : shift[i]))
    const from = norm === 'post' || norm === 'none' ? x : normal
    return Array.from({ length: heads }, (_, h) =>
      Array.from({ length: d }, (_, c) => {
        const column = h * d + c
        return bias[column] + from.reduce((sum, value, i) => sum + value * weight[i * heads * d + column], 0)
      }),
    )
  })
}
