/**
 * Weights of a projection in the formats of quantised models:
 *
 *   float      as they are
 *   qdq        int8, DequantizeLinear before the product
 *   dynamic    int8, times activations quantised as they come: DynamicQuantizeLinear, MatMulInteger, Cast, Mul
 *   fused      the same in one operator, com.microsoft.DynamicQuantizeMatMul
 *   nbits-16   4 bits in blocks of 16 rows, com.microsoft.MatMulNBits
 *   nbits-32   in blocks of 32
 */

import { FLOAT, INT8, UINT8 } from './graph-builder.js'

const CONTRIB = 'com.microsoft'

/** Writes x [.., rows] times values [rows, columns]. */
export function writeProjection(g, x, name, [rows, columns], values, format = 'float') {
  if (format === 'float') {
    return g.node('MatMul', [x, g.float(name, [rows, columns], values)])
  }
  if (format.startsWith('nbits-')) {
    return inBlocks(g, x, name, [rows, columns], values, blockOf(format))
  }
  const { steps, scales } = bytesOf(values, [rows, columns])
  const stored = g.stored(name, INT8, [rows, columns], steps)
  const scale = g.stored(`${name}_scale`, FLOAT, [columns], scales)
  if (format === 'qdq') {
    const zero = g.stored(`${name}_zero`, INT8, [columns], new Int8Array(columns))
    return g.node('MatMul', [x, g.node('DequantizeLinear', [stored, scale, zero], { axis: 1 })])
  }
  if (format === 'fused') {
    return g.node('DynamicQuantizeMatMul', [x, stored, scale], {}, `${name}_product`, CONTRIB)
  }
  const activations = ['steps', 'scale', 'zero'].map((part) => `${name}_input_${part}`)
  g.node('DynamicQuantizeLinear', [x], {}, activations)
  const [bytes, step, zero] = activations
  const product = g.node('Cast', [g.node('MatMulInteger', [bytes, stored, zero])], { to: FLOAT })
  return g.node('Mul', [product, g.node('Mul', [step, scale])])
}

/** What a format leaves of the weights. */
export function restoredWeights(values, [rows, columns], format) {
  if (format === 'float') {
    return values
  }
  const block = format.startsWith('nbits-') ? blockOf(format) : rows
  const { steps, scales } = format.startsWith('nbits-')
    ? nibblesOf(values, [rows, columns], block)
    : bytesOf(values, [rows, columns])
  return values.map((_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns]
    return steps[i] * scales[Math.floor(row / block) + column * Math.ceil(rows / block)]
  })
}

const blockOf = (format) => Number(format.slice('nbits-'.length))

/** -127 to 127 times the scale of a column. */
function bytesOf(values, shape) {
  const { steps, scales } = inSteps(values, shape, { block: shape[0], most: 127 })
  return { steps: Int8Array.from(steps), scales }
}

/** -7 to 7 times the scale of a block of a column. */
function nibblesOf(values, shape, block) {
  return inSteps(values, shape, { block, most: 7 })
}

/** Symmetric: the largest weight of a block is `most` steps. Scales are [columns, blocks]. */
function inSteps(values, [rows, columns], { block, most }) {
  const blocks = Math.ceil(rows / block)
  const scales = new Float32Array(columns * blocks)
  const scaleAt = (i) => (i % columns) * blocks + Math.floor(Math.floor(i / columns) / block)
  values.forEach((value, i) => {
    scales[scaleAt(i)] = Math.max(scales[scaleAt(i)], Math.abs(value) / most)
  })
  return { steps: Array.from(values, (value, i) => Math.round(value / scales[scaleAt(i)])), scales }
}

/** Two weights a byte, the earlier row in its lower half, [columns, blocks, block / 2]; 8 stands for zero. */
function inBlocks(g, x, name, [rows, columns], values, block) {
  const blocks = Math.ceil(rows / block)
  const { steps, scales } = nibblesOf(values, [rows, columns], block)
  const packed = new Uint8Array((columns * blocks * block) / 2).fill(0x88)
  steps.forEach((step, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns]
    const place = column * blocks * block + row
    const half = place % 2 === 0 ? { keep: 0xf0, shift: 0 } : { keep: 0x0f, shift: 4 }
    packed[place >> 1] = (packed[place >> 1] & half.keep) | ((step + 8) << half.shift)
  })
  const stored = g.stored(name, UINT8, [columns, blocks, block / 2], packed)
  const scale = g.stored(`${name}_scale`, FLOAT, [columns * blocks], scales)
  const attributes = { K: rows, N: columns, bits: 4, block_size: block }
  return g.node('MatMulNBits', [x, stored, scale], attributes, `${name}_product`, CONTRIB)
}
