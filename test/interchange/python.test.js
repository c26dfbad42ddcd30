/** The examples in Python open what is saved here, and save what is opened here: the same numbers on both sides. */

import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import {
  bundledFile,
  capture,
  exportSubspaces,
  openModel,
  QKCovariance,
  readActivations,
  writeSubspaces,
} from '../../dist/index.js'
import { writeNpz } from '../../dist/store/zip/write-npz.js'
import { temporaryFolder } from '../helpers/files.js'
import { pythonJson, withPython } from '../helpers/python.js'
import { boxesResult } from '../helpers/small-results.js'

const folder = temporaryFolder(test)
const at = (name) => path.join(folder, name)
const example = (name) => fileURLToPath(new URL(`../../examples/python/${name}`, import.meta.url))
const near = (t, a, b, within = 1e-9) =>
  t.true(Math.abs(a - b) <= within * (1 + Math.abs(b)), `${a} and ${b}`)

let result
test.before(async () => {
  result = await boxesResult()
})

withPython(test, 'numpy')('read_result.py reads safetensors and npz', async (t) => {
  const { u, s, rank, headDim, test: own } = result.head('L3H0').contrast('order')
  t.true(rank > 1)
  for (const format of ['safetensors', 'npz']) {
    const file = at(`result.${format}`)
    await result.save(file)
    const read = pythonJson(example('read_result.py'), file, 'L3H0', 'order')
    t.is(read.rank, rank)
    t.deepEqual(read.s, [...s])
    t.is(read.null_p95, own.null.p95)
    t.deepEqual(
      read.first_query_direction,
      Array.from({ length: headDim }, (_, i) => u[i * rank]),
    )
    t.true(read.orthogonality < 1e-5)
  }
})

/** Root mean square change of a head's scores, where q loses its projection on the columns of u [d, rank]. */
function changeOfScores(q, k, head, u, rank) {
  const [, positions, heads, d] = q.shape
  const keyHeads = k.shape[2]
  const keyHead = Math.floor((head * keyHeads) / heads)
  let sum = 0
  for (let i = 0; i < positions; i++) {
    const query = q.data.subarray((i * heads + head) * d, (i * heads + head + 1) * d)
    const removed = new Float64Array(d)
    for (let c = 0; c < rank; c++) {
      let along = 0
      for (let x = 0; x < d; x++) {
        along += query[x] * u[x * rank + c]
      }
      for (let x = 0; x < d; x++) {
        removed[x] += along * u[x * rank + c]
      }
    }
    for (let j = 0; j < positions; j++) {
      let change = 0
      for (let x = 0; x < d; x++) {
        change += removed[x] * k.data[(j * keyHeads + keyHead) * d + x]
      }
      sum += (change / Math.sqrt(d)) ** 2
    }
  }
  return Math.sqrt(sum / positions ** 2)
}

withPython(test, 'torch')('ablate_subspace.py takes the subspace out in a forward hook', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'), {
    tokenizer: bundledFile('boxes.tokenizer.json'),
  })
  const text = 'The apple is in Box O, the pear is in Box A. Which box is the pear in? Box'
  const { activations } = await capture(model, { text }, { heads: 'L3H0,L3H1,L3H2,L3H3' })
  const [q, k] = ['q', 'k'].map((side) => {
    const { data, shape } = activations[`blocks.3.attn.hook_rot_${side}`]
    return { data: Float32Array.from(data), shape }
  })
  await writeNpz(
    at('activations.npz'),
    [
      ['blocks.3.attn.hook_rot_q', q],
      ['blocks.3.attn.hook_rot_k', k],
    ],
    {},
  )
  await writeSubspaces(at('order.npz'), exportSubspaces(result))
  const found = pythonJson(example('ablate_subspace.py'), at('order.npz'), at('activations.npz'), '3')
  for (const [name, index] of [
    ['L3H0', 0],
    ['L3H1', 1],
  ]) {
    const { u, rank, nulls } = result.head(name).contrast('order')
    near(t, found.change[index], changeOfScores(q, k, index, u, rank))
    const size = u.length
    const draws = Array.from({ length: nulls?.count ?? 0 }, (_, b) =>
      changeOfScores(q, k, index, Float32Array.from(nulls.u.subarray(b * size, (b + 1) * size)), rank),
    )
    near(t, found.null_largest[index], Math.max(0, ...draws), 1e-6)
  }
  t.true(found.change[0] > 0.01)
  // Heads that were not in the result have no subspace: nothing is taken out.
  t.deepEqual(found.change.slice(2), [0, 0])
})

withPython(test, 'torch')('save_activations.py saves what covariances are made of', async (t) => {
  pythonJson(
    '-c',
    'import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name="__main__"); print("null")',
    example('save_activations.py'),
    at('saved.npz'),
  )
  const [layer] = await readActivations(at('saved.npz'))
  t.deepEqual(
    [layer.q.shape, layer.k.shape],
    [
      [6, 10, 4, 8],
      [6, 10, 2, 8],
    ],
  )
  const covariance = new QKCovariance({ heads: 4, kvHeads: 2, headDim: 8, contrasts: ['c'] })
  const rows = Array.from({ length: 6 }, (_, b) => b * 10)
  const offsets = Array.from({ length: 7 }, (_, i) => i)
  await covariance.add({
    q: layer.q,
    k: layer.k,
    terms: {
      contrast: 'c',
      query: rows.map((row) => row + 9),
      posOffsets: offsets,
      pos: rows.map((row) => row + 2),
      negOffsets: offsets,
      neg: rows.map((row) => row + 4),
    },
  })
  const { cPos, cNeg } = await covariance.read()
  const script = `
import json, sys, numpy
file = numpy.load(sys.argv[1])
q, k = (file['blocks.0.attn.hook_' + side].astype('float64') for side in 'qk')
k = k.repeat(2, axis=2)
delta = numpy.einsum('bhi,bhj->hij', q[:, 9], k[:, 2] - k[:, 4]) / len(q)
print(json.dumps(delta.ravel().tolist()))
`
  const delta = pythonJson('-c', script, at('saved.npz'))
  delta.forEach((value, i) => {
    near(t, cPos[i] - cNeg[i], value, 1e-6)
  })
  t.true(delta.some((value) => Math.abs(value) > 0.05))
})
