/** Options of tiny models, one set for every way in which attention or its weights are written. */

/** Heads of a multiple of eight, as GroupQueryAttention wants them, or of sixteen, where it rotates. */
const EIGHT = { headDim: 8 }
const SIXTEEN = { headDim: 16 }

const dialect = (attention, op, /** @type {Record<string, any>} */ options = {}) => ({
  title: attention,
  op,
  options: /** @type {Record<string, any>} */ ({ attention, ...options }),
})
const [MULTI_HEAD, GROUPED, PACKED] = ['MultiHeadAttention', 'GroupQueryAttention', 'Attention'].map(
  (name) => `com.microsoft.${name}`,
)

export const TINY_DIALECTS = [
  dialect('MultiHeadAttention, bias', MULTI_HEAD, { ending: 'skip-rms-norm' }),
  dialect('MultiHeadAttention, padding', MULTI_HEAD, { ending: 'skip-layer-norm', bias: true }),
  dialect('packed Attention', PACKED, { rope: false, kvHeads: 4, bias: true, ending: 'skip-layer-norm' }),
  dialect('GroupQueryAttention', GROUPED, { ...SIXTEEN, ending: 'skip-rms-norm' }),
  dialect('GroupQueryAttention, packed', GROUPED, { ...SIXTEEN, ending: 'skip-rms-norm' }),
  dialect('GroupQueryAttention, rotated before', GROUPED, { ...EIGHT, bias: true }),
  dialect('onnx Attention, three axes', 'Attention', { ending: 'skip-rms-norm' }),
  dialect('onnx Attention, three axes, contrib rotation', 'Attention', { ending: 'skip-layer-norm' }),
  dialect('onnx Attention, four axes', 'Attention', { ending: 'layer-norm', bias: true }),
]

/** onnxruntime multiplies quantised weights by activations that it quantises too, over the whole batch. */
const ROUNDED = { roundedActivations: true }
const quantised = (title, options, /** @type {{ roundedActivations?: boolean }} */ more = {}) => ({
  title,
  options: { width: 32, ...options },
  ...more,
})

export const QUANTISED_MODELS = [
  ...[
    { weights: 'qdq', title: 'DequantizeLinear of int8 weights', ...ROUNDED },
    { weights: 'dynamic', title: 'DynamicQuantizeLinear and MatMulInteger', ...ROUNDED },
    { weights: 'fused', title: 'DynamicQuantizeMatMul', ...ROUNDED },
    { weights: 'nbits-16', title: 'MatMulNBits in blocks of 16' },
    { weights: 'nbits-32', title: 'MatMulNBits in blocks of 32' },
  ].flatMap(({ weights, title, ...more }) => [
    quantised(title, { weights }, more),
    quantised(`${title}, packed`, { weights, packed: true, rope: false }, more),
    quantised(
      `${title}, GroupQueryAttention`,
      { weights, ...SIXTEEN, attention: 'GroupQueryAttention' },
      more,
    ),
  ]),
]
