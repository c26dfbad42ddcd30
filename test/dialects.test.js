/**
 * Every fused attention operator, one node at a time, against onnxruntime's own kernel: openModel compares the
 * attention output (and the scores, where the operator gives them) with those of the subgraph that stands for it.
 */

import path from 'node:path'
import test from 'ava'
import { openModel, QkError } from '../dist/index.js'
import { temporaryFolder } from './helpers/files.js'
import { FLOAT, GraphBuilder, INT32, INT64, valueInfo } from './helpers/graph-builder.js'
import { constant, given, random, writeOperator } from './helpers/operator-model.js'

const folder = temporaryFolder(test)
const MS = 'com.microsoft'
const B = 2
const S = 5
const H = 4
const D = 8

/** A case: what is written, and what is expected of the one site. */
function operator(title, spec, expected, limit = 1e-5) {
  test(title, async (t) => {
    const file = path.join(folder, `${title.replaceAll(/[^a-z0-9]+/gi, '-')}.onnx`)
    const model = await openModel(writeOperator(file, spec))
    t.deepEqual(model.unsupported, [])
    t.is(model.sites.length, 1)
    const [site] = model.sites
    const op = spec.domain ? `${spec.domain}.${spec.op}` : spec.op
    const { scale = site.scale, ...rest } = expected ?? {}
    t.like(site, { op, node: 'attention', headDim: D, ...rest })
    t.true(Math.abs(Number(site.scale) - scale) < 1e-6)
    t.true(site.relativeError < limit, `${site.relativeError}`)
  })
}

const mask = (dims, type = 'bool') => {
  const size = dims.reduce((a, b) => a * b, 1)
  const queries = dims.at(-2) ?? 1
  const keys = dims.at(-1)
  // Every row sees its first keys; one in three of the others is masked.
  const seen = Array.from({ length: size }, (_, i) =>
    Number(i % keys < 2 || (i + Math.floor(i / keys)) % 3 !== queries % 3),
  )
  return constant(
    type,
    dims,
    type === 'bool' || type.startsWith('int') ? seen : seen.map((s) => (s ? 0.3 : -1e4)),
  )
}

// --- ai.onnx.Attention -------------------------------------------------------------------------------------------

const T = 7
const four = (type = undefined) => [
  { ...given(B, H, S, D), type },
  { ...given(B, H, T, D), type },
  { ...given(B, H, T, D), type },
]
/** @typedef {Partial<Parameters<typeof writeOperator>[1]>} Spec What a case says of its model. */

const onnx = (title, /** @type {Spec} */ { inputs = four(), ...rest }, expected = {}, limit = undefined) =>
  operator(
    `Attention: ${title}`,
    { op: 'Attention', inputs, ...rest },
    { heads: H, kvHeads: H, ...expected },
    limit,
  )

onnx('plain', {}, { causal: false, scale: 1 / Math.sqrt(D) })
onnx('causal', { attributes: { is_causal: 1 } }, { causal: true })
onnx('scale', { floats: { scale: 0.7 } }, { scale: Math.fround(0.7) })
onnx('softcap', { floats: { softcap: 1.5 } })
onnx('float16', { type: 'float16', inputs: four('float16') }, {}, 2e-3)
onnx(
  'three axes, grouped heads',
  {
    inputs: [given(B, S, H * D), given(B, T, 2 * D), given(B, T, 2 * D)],
    attributes: { q_num_heads: H, kv_num_heads: 2, is_causal: 1 },
  },
  { kvHeads: 2 },
)
onnx(
  'four axes, grouped heads',
  {
    inputs: [given(B, H, S, D), given(B, 2, T, D), given(B, 2, T, D)],
  },
  { kvHeads: 2 },
)
onnx(
  'a single key head',
  { inputs: [given(B, H, S, D), given(B, 1, T, D), given(B, 1, T, D)] },
  { kvHeads: 1 },
)
onnx('values of another size', { inputs: [given(B, H, S, D), given(B, H, T, D), given(B, H, T, 6)] })
for (const type of ['bool', 'float']) {
  for (const dims of [
    [S, T],
    [H, S, T],
    [1, H, S, T],
    [B, 1, S, T],
  ]) {
    onnx(`${type} mask [${dims}]`, { inputs: [...four(), mask(dims, type)] })
  }
}
onnx(
  'causal, mask and softcap',
  {
    inputs: [...four(), mask([S, T], 'float')],
    attributes: { is_causal: 1 },
    floats: { softcap: 2 },
  },
  { causal: true },
)
for (const causal of [0, 1]) {
  onnx(
    `past, causal ${causal}`,
    {
      inputs: [
        given(B, H, S, D),
        given(B, H, S, D),
        given(B, H, S, D),
        null,
        random('float', [B, H, 3, D], 2),
        random('float', [B, H, 3, D], 3),
      ],
      outputs: 3,
      attributes: { is_causal: causal },
    },
    { causal: causal === 1 },
  )
}
for (const mode of [0, 1, 2, 3]) {
  onnx(`scores of mode ${mode}`, {
    inputs: [...four(), mask([S, T], 'float')],
    outputs: ['out', '', '', 'scores'],
    attributes: { qk_matmul_output_mode: mode },
    floats: { softcap: 1.5 },
  })
}
onnx('opset 24: fewer keys than the cache holds', {
  opset: 24,
  inputs: [...four(), null, null, null, constant('int64', [B], [T, 4])],
})
onnx(
  'opset 24: queries at the end of what each cache holds',
  {
    opset: 24,
    inputs: [...four(), null, null, null, constant('int64', [B], [T, S + 1])],
    attributes: { is_causal: 1 },
  },
  { causal: true },
)
onnx(
  'opset 24: queries before the start of a cache',
  {
    opset: 24,
    inputs: [...four(), null, null, null, constant('int64', [B], [T, 2])],
    attributes: { is_causal: 1 },
  },
  { causal: true },
)

// --- com.microsoft.MultiHeadAttention ----------------------------------------------------------------------------

const flat = [given(B, S, H * D), given(B, S, H * D), given(B, S, H * D)]
const multiHead = (title, { inputs = flat, attributes = {}, ...rest }, expected, limit) =>
  operator(
    `MultiHeadAttention: ${title}`,
    {
      op: 'MultiHeadAttention',
      domain: MS,
      opset: 17,
      inputs,
      attributes: { num_heads: H, ...attributes },
      ...rest,
    },
    { heads: H, kvHeads: H, ...expected },
    limit,
  )

const bias = random('float', [3 * H * D], 5)
multiHead('plain', {}, { causal: false, scale: 1 / Math.sqrt(D) })
multiHead('unidirectional', { attributes: { unidirectional: 1 } }, { causal: true })
multiHead('scale and bias', { inputs: [...flat, bias], floats: { scale: 0.6 } }, { scale: Math.fround(0.6) })
multiHead('lengths of keys', { inputs: [...flat, bias, constant('int32', [B], [S, 3])] })
multiHead('mask [batch, keys]', {
  inputs: [...flat, null, mask([B, S], 'int32')],
  floats: { mask_filter_value: -5e4 },
})
multiHead('mask [batch, queries, keys]', { inputs: [...flat, null, mask([B, S, S], 'int32')] })
for (const dims of [
  [B, H, S, S],
  [1, 1, S, S],
  [B, 1, S, S],
  [1, H, S, S],
]) {
  multiHead(`attention bias [${dims}]`, { inputs: [...flat, null, null, random('float', dims, 7)] })
}
const past = [random('float', [B, H, 3, D], 2), random('float', [B, H, 3, D], 3)]
multiHead('past', { inputs: [...flat, bias, null, null, ...past], outputs: 3 })
multiHead(
  'past, unidirectional',
  {
    inputs: [...flat, null, null, null, ...past],
    outputs: 3,
    attributes: { unidirectional: 1 },
  },
  { causal: true },
)
multiHead('past, mask and attention bias', {
  inputs: [...flat, null, mask([B, S + 3], 'int32'), random('float', [1, H, S, S + 3], 8), ...past],
  outputs: 3,
})
multiHead(
  'keys of an encoder',
  { inputs: [given(B, S, H * D), given(B, H, T, D), given(B, H, T, D)] },
  { cross: true },
)
multiHead(
  'more keys than queries',
  { inputs: [given(B, S, H * D), given(B, T, H * D), given(B, T, H * D)] },
  { cross: true },
)
multiHead('values of another size', { inputs: [given(B, S, H * D), given(B, T, H * D), given(B, T, H * 6)] })

// --- com.microsoft.Attention -------------------------------------------------------------------------------------

const IN = 12
const weights = random('float', [IN, 3 * H * D], 4, 0.4)
const packed = (title, { inputs = [], attributes = {}, ...rest }, expected, limit) =>
  operator(
    `contrib Attention: ${title}`,
    {
      op: 'Attention',
      domain: MS,
      opset: 17,
      inputs: [given(B, S, IN), weights, bias, ...inputs],
      attributes: { num_heads: H, ...attributes },
      ...rest,
    },
    { heads: H, kvHeads: H, cross: false, ...expected },
    limit,
  )

packed('plain', {}, { causal: false })
packed('unidirectional', { attributes: { unidirectional: 1 } }, { causal: true })
packed('ends of keys', { inputs: [constant('int32', [B], [S, 3])] })
packed('ends and starts of keys', { inputs: [constant('int32', [2 * B], [S, 4, 0, 1])] })
packed('mask [batch, keys]', { inputs: [mask([B, S], 'int32')], attributes: { unidirectional: 1 } })
packed('mask [batch, queries, keys]', { inputs: [mask([B, S, S], 'int32')] })
packed('scale and filter', {
  inputs: [mask([B, S], 'int32')],
  floats: { scale: 0.5, mask_filter_value: -7e3 },
})
packed('past', {
  inputs: [null, random('float', [2, B, H, 3, D], 6)],
  outputs: 2,
  attributes: { unidirectional: 1 },
})
packed('attention bias', { inputs: [null, null, random('float', [B, H, S, S], 9)] })
operator('contrib Attention: values of another size', {
  op: 'Attention',
  domain: MS,
  opset: 17,
  inputs: [
    given(B, S, IN),
    random('float', [IN, (2 * D + 6) * H], 4, 0.4),
    random('float', [(2 * D + 6) * H], 5),
  ],
  attributes: { num_heads: H, qkv_hidden_sizes: [H * D, H * D, H * 6] },
})

// --- com.microsoft.DecoderMaskedMultiHeadAttention ---------------------------------------------------------------

const step = [given(B, 1, H * D), given(B, 1, H * D), given(B, 1, H * D)]
const masked = (title, { inputs, attributes = {}, ...rest }, expected) =>
  operator(
    `DecoderMaskedMultiHeadAttention: ${title}`,
    {
      op: 'DecoderMaskedMultiHeadAttention',
      domain: MS,
      opset: 17,
      inputs,
      attributes: { num_heads: H, ...attributes },
      ...rest,
    },
    { heads: H, kvHeads: H, ...expected },
  )

const filled = [
  random('float', [B, H, 6, D], 2),
  random('float', [B, H, 6, D], 3),
  constant('int32', [1], [3]),
]
masked('past in a shared buffer', {
  inputs: [...step, null, null, ...filled],
  outputs: 3,
  attributes: { past_present_share_buffer: 1 },
})
masked('bias, mask and attention bias', {
  inputs: [...step, mask([B, 4], 'int32'), random('float', [1, H, 1, 4], 8), ...filled, null, null, bias],
  outputs: 3,
  attributes: { past_present_share_buffer: 1 },
})
masked(
  'keys of an encoder',
  {
    inputs: [given(B, 1, H * D), given(B, H, T, D), given(B, H, T, D)],
  },
  { cross: true },
)

// --- com.microsoft.GroupQueryAttention ---------------------------------------------------------------------------

const G = 2
/** onnxruntime rotates heads of a multiple of 16. */
const WIDE = 16
const projected = (length = S, batch = B) => [
  given(batch, length, H * WIDE),
  given(batch, length, G * WIDE),
  given(batch, length, G * WIDE),
]
const total = (n) => constant('int32', [], [n])
const lengths = (...ends) =>
  constant(
    'int32',
    [ends.length],
    ends.map((n) => n - 1),
  )
const MAX = 12
const table = (f, width) =>
  constant(
    'float',
    [MAX, width],
    Array.from({ length: MAX * width }, (_, i) => f(Math.floor(i / width) * 50 ** -((i % width) / width))),
  )
const tables = (width = WIDE / 2) => [table(Math.cos, width), table(Math.sin, width)]
const grouped = (
  title,
  {
    rows = projected(),
    pasts = [null, null],
    sizes = [lengths(S, S), total(S)],
    more = [],
    attributes = {},
    ...rest
  },
  expected,
  limit,
) =>
  operator(
    `GroupQueryAttention: ${title}`,
    {
      op: 'GroupQueryAttention',
      domain: MS,
      opset: 17,
      inputs: [...rows, ...pasts, ...sizes, ...more],
      outputs: 3,
      attributes: { num_heads: H, kv_num_heads: G, ...attributes },
      ...rest,
    },
    { heads: H, kvHeads: G, headDim: WIDE, causal: true, cross: false, ...expected },
    limit,
  )
const rotate = { do_rotary: 1 }

grouped('plain', {}, { rotary: false })
grouped('scale and softcap', { floats: { scale: 0.6, softcap: 1.5 } }, { scale: Math.fround(0.6) })
grouped('rotation', { attributes: rotate, more: tables() }, { rotary: true })
grouped(
  'interleaved rotation',
  { attributes: { ...rotate, rotary_interleaved: 1 }, more: tables() },
  { rotary: true },
)
grouped(
  'packed',
  { rows: [given(B, S, (H + 2 * G) * WIDE), null, null], attributes: rotate, more: tables() },
  { rotary: true },
)
grouped('local window', { attributes: { local_window_size: 2 } })
grouped('smooth softmax', { attributes: { smooth_softmax: 1 } })
grouped('sink of each head', { more: [null, null, null, null, random('float', [H], 3)] })
grouped('padding behind a sequence', { sizes: [lengths(S, 3), total(S)], attributes: rotate, more: tables() })
const cache = (length, batch = B) => [
  random('float', [batch, G, length, WIDE], 2),
  random('float', [batch, G, length, WIDE], 3),
]
grouped('one step after a past', {
  rows: projected(1),
  pasts: cache(4),
  sizes: [lengths(5, 5), total(5)],
  attributes: rotate,
  more: tables(),
})
grouped('one step after pasts of two lengths, in a buffer', {
  rows: projected(1),
  pasts: cache(9),
  sizes: [lengths(5, 3), total(5)],
  attributes: rotate,
  more: tables(),
})
grouped('several steps after a past', {
  rows: projected(3, 1),
  pasts: cache(4, 1),
  sizes: [lengths(7), total(7)],
  attributes: { ...rotate, local_window_size: 3 },
  more: tables(),
})
grouped('positions', {
  attributes: rotate,
  more: [...tables(), constant('int64', [B, S], [2, 3, 4, 5, 6, 2, 3, 4, 5, 6])],
})
grouped('positions of one step', {
  rows: projected(1),
  pasts: cache(4),
  sizes: [lengths(5, 5), total(5)],
  attributes: rotate,
  more: [...tables(), constant('int64', [B, 1], [7, 2])],
})
grouped('attention bias', { more: [null, null, null, random('float', [B, 1, S, S], 9)] })
grouped('both directions', { attributes: { causal: 0 } }, { causal: false })
grouped('without names for its cache', { outputs: ['out', '', ''] })
grouped(
  'float16',
  {
    type: 'float16',
    rows: projected().map((x) => ({ ...x, type: 'float16' })),
  },
  {},
  2e-3,
)

// --- what is refused ---------------------------------------------------------------------------------------------

/** A model whose only attention is not captured: the error names node, reason and what is needed. */
function refused(title, spec, reason) {
  test(`refused: ${title}`, async (t) => {
    const file = path.join(folder, `refused-${title.replaceAll(/[^a-z0-9]+/gi, '-')}.onnx`)
    const error = await t.throwsAsync(openModel(writeOperator(file, { domain: MS, opset: 17, ...spec })), {
      instanceOf: QkError,
      code: 'ERR_NO_ATTENTION',
    })
    t.regex(error.message, /attention \(com\.microsoft\./)
    t.regex(error.message, reason)
    t.regex(error.message, /; needed: /)
  })
}

const two = [given(B, S, H * D)]
refused(
  'packed sequences',
  { op: 'PackedMultiHeadAttention', inputs: two, attributes: { num_heads: H } },
  /on GPUs only/,
)
refused('quantised projection', { op: 'QAttention', inputs: two, attributes: { num_heads: H } }, /quantised/)
refused(
  'block-sparse',
  { op: 'SparseAttention', inputs: two, attributes: { num_heads: H } },
  /blocks of keys/,
)
refused(
  'rotation inside com.microsoft.Attention',
  { op: 'Attention', inputs: [given(B, S, IN), weights, bias], attributes: { num_heads: H, do_rotary: 1 } },
  /rotates inside/,
)
refused(
  'a cache that drops keys',
  {
    op: 'GroupQueryAttention',
    inputs: [...projected(), null, null, lengths(S, S), total(S)],
    attributes: { num_heads: H, kv_num_heads: G, sliding_window_cache: 1 },
  },
  /drops old keys/,
)

test('an operator beside which its subgraph does not run is named, and the rest is captured', async (t) => {
  const g = new GraphBuilder()
  // A shape that nothing but a run can tell, and heads that are said for three axes but lie along four.
  const shape = g.node('Cast', [g.node('Cast', [g.node('Shape', ['x'])], { to: INT32 })], { to: INT64 })
  const hidden = g.node('Reshape', ['x', shape])
  const attributes = { q_num_heads: 5, kv_num_heads: 5 }
  g.node('Attention', [hidden, hidden, hidden], attributes, 'fused')
  const scores = g.node('MatMul', ['x', g.node('Transpose', ['x'], { perm: [0, 1, 3, 2] })])
  g.node('MatMul', [g.node('Softmax', [scores], { axis: -1 }), 'x'], {}, 'written')
  const inputs = [valueInfo('x', FLOAT, ['batch', 5, 'length', 8])]
  const file = g.write(path.join(folder, 'half.onnx'), inputs, ['fused', 'written'], { opset: 23 })
  const model = await openModel(file)
  t.deepEqual(
    model.sites.map(({ op }) => op),
    ['MatMul'],
  )
  t.is(model.unsupported.length, 1)
  t.like(model.unsupported[0], { node: 'fused', op: 'Attention' })
  t.regex(model.unsupported[0].reason, /what stands for it does not run: .*onnxruntime/)
})
