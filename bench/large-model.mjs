/**
 * Writes a decoder of any size with random weights in an external file, to measure memory and long prompts on: pre-norm,
 * attention written out, no position embeddings, so that prompts may be of any length.
 *
 *   node bench/large-model.mjs --out FOLDER [--layers 12] [--width 768] [--heads 12] [--vocabulary 50257]
 */

import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { create } from '@bufbuild/protobuf'
import { seededRandom } from '../dist/math/random.js'
import {
  TensorProto_DataLocation as DataLocation,
  StringStringEntryProtoSchema,
  TensorProtoSchema,
} from '../dist/model/onnx/proto/onnx_pb.js'
import { FLOAT, GraphBuilder, INT64, valueInfo } from '../test/helpers/graph-builder.js'

/** Path of the model. The same sizes give the same file. */
export function writeLargeModel(folder, { layers, width, heads, vocabulary }) {
  mkdirSync(folder, { recursive: true })
  const weights = new ExternalWeights(folder, 'model.onnx_data')
  const g = new GraphBuilder()
  const stored = (name, dims, scale) => {
    g.initializers.push(weights.tensor(name, dims, scale))
    return name
  }
  const norm = (x, name) =>
    g.node(
      'LayerNormalization',
      [x, stored(`${name}.gain`, [width], 0), stored(`${name}.shift`, [width], 0.02)],
      {
        axis: -1,
        epsilon: 1e-5,
      },
    )
  const linear = (x, name, from, to) =>
    g.node('MatMul', [x, stored(name, [from, to], 1 / Math.sqrt(from))], {}, `${name}.out`)
  const d = width / heads
  const split = (x) =>
    g.node('Transpose', [g.node('Reshape', [x, g.ints([0, 0, heads, d])])], { perm: [0, 2, 1, 3] })

  const table = stored('embedding', [vocabulary, width], 0.05)
  let x = g.node('Gather', [table, 'input_ids'])
  const visible = causal(g)
  for (let layer = 0; layer < layers; layer++) {
    const name = (part) => `layer.${layer}.${part}`
    const y = norm(x, name('norm1'))
    const [q, k, v] = ['q', 'k', 'v'].map((side) => split(linear(y, name(side), width, width)))
    const product = g.node('MatMul', [q, g.node('Transpose', [k], { perm: [0, 1, 3, 2] })])
    const scaled = g.node('Mul', [product, g.scalar(1 / Math.sqrt(d))])
    const pattern = g.node('Softmax', [g.node('Where', [visible, scaled, g.scalar(-3.4e38)])], { axis: -1 })
    const attended = g.node('Transpose', [g.node('MatMul', [pattern, v])], { perm: [0, 2, 1, 3] })
    const joined = g.node('Reshape', [attended, g.ints([0, 0, width])])
    x = g.node('Add', [x, linear(joined, name('o'), width, width)])
    const inner = linear(norm(x, name('norm2')), name('up'), width, 4 * width)
    const bent = g.node('Mul', [inner, g.node('Sigmoid', [g.node('Mul', [inner, g.scalar(1.702)])])])
    x = g.node('Add', [x, linear(bent, name('down'), 4 * width, width)])
  }
  const ids = norm(x, 'norm')
  g.node('MatMul', [ids, g.node('Transpose', [table], { perm: [1, 0] })], {}, 'logits')
  weights.close()
  const inputs = [valueInfo('input_ids', INT64, ['batch', 'sequence'])]
  const outputs = [valueInfo('logits', FLOAT, ['batch', 'sequence', vocabulary])]
  return g.write(path.join(folder, 'model.onnx'), inputs, outputs, { opset: 17 })
}

/** Keys up to the query, bool [sequence, sequence]. */
function causal(g) {
  const length = g.node('Gather', [g.node('Shape', ['input_ids']), g.ints([1], [])])
  const range = g.node('Range', [g.ints([0], []), length, g.ints([1], [])])
  const rows = g.node('Unsqueeze', [range, g.ints([1])])
  return g.node('GreaterOrEqual', [rows, g.node('Unsqueeze', [range, g.ints([0])])])
}

/** Weights in one file, written piece by piece. */
class ExternalWeights {
  #offset = 0
  #file
  #name
  #random = seededRandom(1)

  constructor(folder, name) {
    this.#name = name
    this.#file = openSync(path.join(folder, name), 'w')
  }

  /** Uniform about 0 with the given scale; ones where the scale is 0. */
  tensor(name, dims, scale) {
    const size = dims.reduce((a, b) => a * b, 1)
    // Random enough, and written faster than drawn one by one.
    const piece = Float32Array.from({ length: Math.min(size, 1 << 16) }, () =>
      scale === 0 ? 1 : (2 * this.#random.next() - 1) * scale * Math.sqrt(3),
    )
    const bytes = Buffer.from(piece.buffer)
    for (let left = size * 4; left > 0; ) {
      left -= writeSync(this.#file, bytes, 0, Math.min(left, bytes.length))
    }
    const entries = { location: this.#name, offset: this.#offset, length: size * 4 }
    this.#offset += size * 4
    return create(TensorProtoSchema, {
      name,
      dims: dims.map(BigInt),
      dataType: FLOAT,
      dataLocation: DataLocation.EXTERNAL,
      externalData: Object.entries(entries).map(([key, value]) =>
        create(StringStringEntryProtoSchema, { key, value: `${value}` }),
      ),
    })
  }

  close() {
    closeSync(this.#file)
  }
}

if (import.meta.filename === process.argv[1]) {
  const { values } = parseArgs({
    options: {
      out: { type: 'string' },
      layers: { type: 'string', default: '12' },
      width: { type: 'string', default: '768' },
      heads: { type: 'string', default: '12' },
      vocabulary: { type: 'string', default: '50257' },
    },
  })
  const { out, ...sizes } = values
  if (!out) {
    process.stderr.write('--out FOLDER is missing\n')
    process.exit(2)
  }
  const numbers = Object.fromEntries(Object.entries(sizes).map(([name, value]) => [name, Number(value)]))
  process.stdout.write(`${writeLargeModel(out, numbers)}\n`)
}
