/** The attention of a tiny model by a fused operator, from the same weights as attention that is written out. */

import {
  halvesRotation,
  joinHeads,
  positionRange,
  repeatHeads,
  sequenceLength,
  splitHeads,
  visibilityBias,
  visibleKeys,
} from './attention-parts.js'
import { INT32 } from './graph-builder.js'
import { packedWeights } from './packed-weights.js'
import { writeProjection } from './quantised-weights.js'
import { rotaryTable, tinySizes } from './tiny-weights.js'

const CONTRIB = 'com.microsoft'

/** By name; each writes [batch, pos, heads * d]. */
const OPERATORS = {
  'MultiHeadAttention, bias': (parts) => multiHead(parts, { bias: true }),
  'MultiHeadAttention, padding': (parts) => multiHead(parts, { bias: false }),
  'packed Attention': packedAttention,
  GroupQueryAttention: groupQuery,
  'GroupQueryAttention, packed': groupQueryPacked,
  'GroupQueryAttention, rotated before': groupQueryRotated,
  'onnx Attention, three axes': (parts) => onnxFlat(parts, onnxRotation),
  'onnx Attention, three axes, contrib rotation': (parts) => onnxFlat(parts, contribRotation),
  'onnx Attention, four axes': onnxByHead,
}

/**
 * `project` writes queries, keys and values [batch, pos, heads * d]; operators that project themselves take x and
 * the weights.
 */
export function fusedAttention(name, { options, ...parts }) {
  return OPERATORS[name]({ ...parts, options, sizes: tinySizes(options) })
}

/** As many keys as queries, so they are repeated before; rotation is written out. */
function multiHead({ g, project, options: { rope = true }, sizes }, { bias }) {
  const { heads, kvHeads, headDim: d } = sizes
  const projected = project()
  const rotate = rope ? halvesRotation(g, d) : (name) => name
  const q = rotate(splitHeads(g, projected[0], heads, d))
  const k = repeatHeads(g, rotate(splitHeads(g, projected[1], kvHeads, d)), sizes)
  const v = repeatHeads(g, splitHeads(g, projected[2], kvHeads, d), sizes)
  const rows = [q, k, v].map((name) => joinHeads(g, name, heads * d))
  return bias
    ? contrib(g, 'MultiHeadAttention', [...rows, '', '', visibilityBias(g)], { num_heads: heads })
    : contrib(g, 'MultiHeadAttention', [...rows, '', paddingMask(g)], { num_heads: heads, unidirectional: 1 })
}

/** Projects by itself and cannot rotate. */
function packedAttention({ g, x, weights, sizes }) {
  const { heads, kvHeads, headDim: d, width } = sizes
  const columns = [heads, kvHeads, kvHeads].map((n) => n * d)
  const [shape, values] = packedWeights(weights, columns, width)
  const biases = [weights.bq, weights.bk, weights.bv].flatMap((b) => [...b])
  const inputs = [
    x,
    g.float('w_qkv', shape, values),
    g.float('b_qkv', [biases.length], biases),
    paddingMask(g),
  ]
  return contrib(g, 'Attention', inputs, { num_heads: heads, unidirectional: 1 })
}

function groupQuery({ g, project, sizes }) {
  return groupQueryOn(g, project(), sizes, { rotates: true })
}

function groupQueryPacked({ g, x, weights, options, sizes }) {
  const { heads, kvHeads, headDim: d, width } = sizes
  const columns = [heads, kvHeads, kvHeads].map((n) => n * d)
  const rows = writeProjection(g, x, 'w_qkv', ...packedWeights(weights, columns, width), options.weights)
  return groupQueryOn(g, [rows, '', ''], sizes, { rotates: true })
}

function groupQueryRotated({ g, project, sizes }) {
  const [q, k, v] = project()
  const rotate = contribRotation(g, sizes)
  return groupQueryOn(g, [rotate(q, sizes.heads), rotate(k, sizes.kvHeads), v], sizes, { rotates: false })
}

function groupQueryOn(g, rows, { heads, kvHeads, headDim }, { rotates }) {
  const lengths = g.node('ReduceSum', ['attention_mask', g.ints([1])], { keepdims: 0 })
  const last = g.node('Cast', [g.node('Sub', [lengths, g.ints([1])])], { to: INT32 })
  const total = g.node('Cast', [sequenceLength(g)], { to: INT32 })
  const inputs = [...rows, '', '', last, total, ...(rotates ? rotaryTables(g, headDim) : [])]
  const attributes = { num_heads: heads, kv_num_heads: kvHeads, do_rotary: Number(rotates) }
  const outputs = ['attended', 'present_key', 'present_value']
  return contrib(g, 'GroupQueryAttention', inputs, attributes, outputs)
}

/** Masked by an added bias alone. */
function onnxFlat({ g, project, options: { rope = true }, sizes }, rotationOf) {
  const { heads, kvHeads } = sizes
  const [q, k, v] = project()
  const rotate = rope ? rotationOf(g, sizes) : (name) => name
  const inputs = [rotate(q, heads), rotate(k, kvHeads), v, visibilityBias(g)]
  return g.node('Attention', inputs, { q_num_heads: heads, kv_num_heads: kvHeads }, 'attended')
}

/** Masked by a boolean mask and by being causal. */
function onnxByHead({ g, project, options: { rope = true }, sizes }) {
  const { heads, kvHeads, headDim: d } = sizes
  const projected = project()
  const rotate = rope ? onnxRotation(g, sizes) : (name) => name
  const [q, k, v] = [heads, kvHeads, kvHeads].map((n, i) => splitHeads(g, projected[i], n, d))
  const inputs = [rotate(q), rotate(k), v, visibleKeys(g)]
  return joinHeads(g, g.node('Attention', inputs, { is_causal: 1 }, 'attended'), heads * d)
}

/** Rotates by ai.onnx.RotaryEmbedding; without `heads`, what has its heads on an axis. */
function onnxRotation(g, { headDim }) {
  const tables = rotaryTables(g, headDim)
  const positions = everyPosition(g)
  return (name, heads) =>
    g.node('RotaryEmbedding', [name, ...tables, positions], heads ? { num_heads: heads } : {})
}

/** Rotates by com.microsoft.RotaryEmbedding. */
function contribRotation(g, { headDim }) {
  const tables = rotaryTables(g, headDim)
  const positions = everyPosition(g)
  return (name, heads) =>
    contrib(g, 'RotaryEmbedding', [name, positions, ...tables], { num_heads: heads }, [`${name}_rotated`])
}

/** Cosines and sines, [positions, headDim / 2]. */
function rotaryTables(g, headDim) {
  const columns = headDim / 2
  return [Math.cos, Math.sin].map((f) => g.float(f.name, [64, columns], rotaryTable(f, { columns, headDim })))
}

/** int64 [batch, pos] */
function everyPosition(g) {
  return g.node('Expand', [positionRange(g), g.node('Shape', ['input_ids'])])
}

/** int32 [batch, keyPos], one where there is a token. */
function paddingMask(g) {
  return g.node('Cast', ['attention_mask'], { to: INT32 })
}

/** A com.microsoft operator; the result is its first output. */
function contrib(g, opType, inputs, attributes, outputs = ['attended']) {
  return g.node(opType, inputs, attributes, outputs, CONTRIB)[0]
}
