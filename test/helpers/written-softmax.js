/** Ways to write the softmax of scores [batch, heads, query, key], and what may stand around it. */

import { INT8 } from './graph-builder.js'

/**
 * The pattern, [batch, heads, query, key]. `softmax`: 'plain', 'exp' (exponentials over their sum), 'shifted' (the same
 * of what the largest score leaves), 'reciprocal', 'log' (exponentials of a LogSoftmax). `sink`: 'first' or 'last', one
 * more column. `quantised`: scores go through eight bits.
 */
export function writePattern(g, given, { softmax = 'plain', sink, quantised = false, heads }) {
  let scores = given
  if (quantised) {
    const step = () => [g.scalar(0.05), g.stored(`zero_${g.initializers.length}`, INT8, [], Int8Array.of(0))]
    scores = g.node('DequantizeLinear', [g.node('QuantizeLinear', [scores, ...step()]), ...step()])
  }
  if (!sink) {
    return writeSoftmax(g, scores, softmax, 'pattern')
  }
  const rows = g.node('Slice', [g.node('Shape', [scores]), g.ints([0]), g.ints([3])])
  const shape = g.node('Concat', [rows, g.ints([1])], { axis: 0 })
  const stored = g.float(
    'sink',
    [1, heads, 1, 1],
    Float64Array.from({ length: heads }, (_, h) => h / 4),
  )
  const column = g.node('Expand', [stored, shape])
  const wide = sink === 'first' ? [column, scores] : [scores, column]
  const all = writeSoftmax(g, g.node('Concat', wide, { axis: 3 }), softmax, 'wide_pattern')
  const bounds = sink === 'first' ? [1, 2 ** 31 - 1] : [0, -1]
  return g.node('Slice', [all, ...bounds.map((at) => g.ints([at])), g.ints([3])], {}, 'pattern')
}

function writeSoftmax(g, scores, how, output) {
  if (how === 'plain') {
    return g.node('Softmax', [scores], { axis: -1 }, output)
  }
  if (how === 'log') {
    return g.node('Exp', [g.node('LogSoftmax', [scores], { axis: -1 })], {}, output)
  }
  const shifted =
    how === 'shifted'
      ? g.node('Sub', [scores, g.node('ReduceMax', [scores], { axes: [-1], keepdims: 1 })])
      : scores
  const exponential = g.node('Exp', [shifted])
  const sum = g.node('ReduceSum', [exponential, g.ints([-1])], { keepdims: 1 })
  return how === 'reciprocal'
    ? g.node('Mul', [exponential, g.node('Reciprocal', [sum])], {}, output)
    : g.node('Div', [exponential, sum], {}, output)
}
