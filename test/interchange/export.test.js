/** Subspaces in the shapes that hooks of other tools take. */

import { readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { exportSubspaces, loadResult, writeSubspaces } from '../../dist/index.js'
import { project, unionOf } from '../../dist/math/basis.js'
import { readSafetensors } from '../../dist/store/safetensors.js'
import { readNpz, readNpzText } from '../../dist/store/zip/read-npz.js'
import { runCommand } from '../helpers/command.js'
import { temporaryFolder } from '../helpers/files.js'
import { boxesResult, unrotatedResult } from '../helpers/small-results.js'

const folder = temporaryFolder(test)
const at = (name) => path.join(folder, name)

const made = {}
test.before(async () => {
  made.boxes = await boxesResult()
  made.unrotated = await unrotatedResult(folder)
})

/** @import { StoredTensor } from '../../dist/index.js' */
/** @import { Basis } from '../../dist/math/basis.js' */

/**
 * An exported array [d, width] in float64.
 * @param {StoredTensor} stored
 * @returns {Basis}
 */
const basisOf = ({ data, shape: [d, width] }) => ({ data: Float64Array.from(data), shape: [d, width] })

/** Columns [d, width] of one head out of [head, d, width]. */
const ofHead = (/** @type {StoredTensor} */ { data, shape: [, d, width] }, head) =>
  basisOf({ data: data.subarray(head * d * width, (head + 1) * d * width), shape: [d, width] })

/** Largest difference between the projections of the axes on two spans: the same span gives 0. */
function apart(a, b) {
  const [d] = a.shape
  const axes = Float64Array.from({ length: d * d }, (_, i) => (i % (d + 1) === 0 ? 1 : 0))
  const [x, y] = [a, b].map((basis) => project(basis, axes))
  return Math.max(...x.map((value, i) => Math.abs(value - y[i])))
}

/** @returns {Basis} */
const subspace = (result, head, contrast, side) => {
  const own = result.head(head).contrast(contrast)
  return { data: own[side], shape: [own.headDim, own.rank] }
}

test('for TransformerLens: a basis a head by hook name, padded by zeros, null subspaces beside it', (t) => {
  const { arrays, info } = exportSubspaces(made.boxes)
  const q = arrays.get('blocks.3.attn.hook_rot_q')
  const width = Math.max(...Object.values(info.ranks))
  t.deepEqual(q.shape, [4, 32, width])
  for (const head of ['L3H0', 'L3H1']) {
    const found = made.boxes.head(head).contrast('order')
    if (found.rank === 0) {
      continue
    }
    t.true(apart(ofHead(q, Number(head.at(-1))), subspace(made.boxes, head, 'order', 'u')) < 1e-9)
  }
  t.true(ofHead(q, 3).data.every((value) => value === 0))
  const nulls = arrays.get('blocks.3.attn.hook_rot_q.null')
  t.deepEqual(nulls.shape, [20, 4, 32, width])
  const own = made.boxes.head('L3H0').contrast('order')
  const draw = { data: own.nulls.u.slice(0, 32 * own.rank), shape: [32, own.rank] }
  t.true(apart(ofHead({ data: nulls.data, shape: [4, 32, width] }, 0), draw) < 1e-6)
  t.like(info, { format: 'qkspace-subspaces', for: 'transformer-lens', contrast: 'order', nulls: 20 })
  t.is(info.ranks.L3H0, own.rank)
})

test('a key head has the span of all the query heads that read it', (t) => {
  const { arrays } = exportSubspaces(made.unrotated)
  const k = arrays.get('blocks.0.attn.hook_k')
  t.deepEqual(k.shape.slice(0, 2), [2, 4])
  for (const [keyHead, readers] of [
    ['L0H0', 'L0H1'],
    ['L0H2', 'L0H3'],
  ].entries()) {
    const both = unionOf(
      readers.map((head) => subspace(made.unrotated, head, 'c', 'v')),
      4,
    )
    t.true(apart(ofHead(k, keyHead), both) < 1e-9)
  }
  const one = exportSubspaces(made.unrotated, { heads: ['L0H2'] }).arrays
  t.true(apart(ofHead(one.get('blocks.0.attn.hook_k'), 1), subspace(made.unrotated, 'L0H2', 'c', 'v')) < 1e-9)
  t.true(ofHead(one.get('blocks.0.attn.hook_k'), 0).data.every((value) => value === 0))
})

test('for nnsight: one matrix on the output of a projection, heads side by side', (t) => {
  const { arrays } = exportSubspaces(made.unrotated, { for: 'nnsight' })
  const matrix = arrays.get('layers.0.q_proj.output')
  t.deepEqual(matrix.shape, [16, 8])
  // The projection of a whole row is that of each head by itself.
  const row = Float64Array.from({ length: 16 }, (_, i) => Math.cos(3 * i))
  const found = project(basisOf(matrix), row)
  for (let head = 0; head < 4; head++) {
    const alone = project(
      subspace(made.unrotated, `L0H${head}`, 'c', 'u'),
      row.subarray(head * 4, head * 4 + 4),
    )
    alone.forEach((value, i) => {
      t.true(Math.abs(found[head * 4 + i] - value) < 1e-9)
    })
  }
  t.deepEqual(arrays.get('layers.0.k_proj.output').shape[0], 8)
  t.deepEqual(arrays.get('layers.0.q_proj.output.null').shape, [3, 16, 8])
})

test('for pyvene: the weight of a low-rank rotation for each head', (t) => {
  const { arrays } = exportSubspaces(made.unrotated, { for: 'pyvene' })
  const queries = [0, 1, 2, 3].map((head) => arrays.get(`layers.0.head_query_output.${head}`))
  for (const [head, { data, shape }] of queries.entries()) {
    t.deepEqual(shape, [4, 2])
    t.deepEqual(data, made.unrotated.head(`L0H${head}`).contrast('c').u)
  }
  t.deepEqual(arrays.get('layers.0.head_query_output.1.null').shape, [3, 4, 2])
  t.true(arrays.has('layers.0.head_key_output.1'))
  t.false(arrays.has('layers.0.head_key_output.2'))
})

test('layers with rotation are refused where a tool acts before it', (t) => {
  for (const tool of /** @type {const} */ (['nnsight', 'pyvene'])) {
    /** @type {import('../../dist/index.js').QkError} */
    const error = t.throws(() => exportSubspaces(made.boxes, { for: tool }), {
      code: 'ERR_ARGUMENT',
      message: new RegExp(`layer 3: .* rotated by position, and ${tool} acts before`),
    })
    t.regex(error.hint, /transformer-lens/)
  }
})

test('wrong names are refused', (t) => {
  const fails = (options, expected) => t.throws(() => exportSubspaces(made.boxes, options), expected)
  fails({ for: 'baukit' }, { code: 'ERR_ARGUMENT', message: /baukit/ })
  fails({ contrast: 'colour' }, { code: 'ERR_UNKNOWN_CONTRAST' })
  fails({ heads: ['L9H9'] }, { code: 'ERR_UNKNOWN_HEAD' })
  fails({ heads: 'L3H0' }, { code: 'ERR_TYPE', message: /array of names/ })
  // @ts-expect-error an object that is no result
  t.throws(() => exportSubspaces({ info: {} }), { code: 'ERR_TYPE' })
  fails({ head: 'L3H0' }, { code: 'ERR_ARGUMENT', message: /"head"/ })
  const flat = made.boxes.headNames.find((head) => made.boxes.head(head).contrast('order').rank === 0)
  fails({ heads: [flat] }, { code: 'ERR_ARGUMENT', message: new RegExp(`${flat} has no subspace`) })
})

test('files hold the arrays and say what they are, and replace nothing else', async (t) => {
  const exported = exportSubspaces(made.unrotated)
  await writeSubspaces(at('s.safetensors'), exported)
  await writeSubspaces(at('s.npz'), exported)
  await writeSubspaces(at('s.npz'), exported)
  const { tensors, metadata } = await readSafetensors(at('s.safetensors'))
  const arrays = await readNpz(at('s.npz'), (names) => names.filter((name) => name !== 'qkspace'), 2 ** 20)
  for (const [name, { data, shape }] of exported.arrays) {
    t.deepEqual(tensors.get(name).data, data)
    t.deepEqual(arrays.get(name).data, data)
    t.deepEqual(arrays.get(name).shape, shape)
  }
  t.deepEqual(JSON.parse(metadata.qkspace), JSON.parse(JSON.stringify(exported.info)))
  t.deepEqual(JSON.parse(await readNpzText(at('s.npz'), 'qkspace', 2 ** 20)), JSON.parse(metadata.qkspace))
  await made.unrotated.save(at('result.npz'))
  await t.throwsAsync(writeSubspaces(at('result.npz'), exported), {
    code: 'ERR_FILE',
    message: /is not exported subspaces/,
  })
  await t.throwsAsync(writeSubspaces(at('s.csv'), exported), { code: 'ERR_ARGUMENT', message: /\.csv/ })
})

test('the command writes them, and says what it cannot', async (t) => {
  const result = at('boxes.safetensors')
  await made.boxes.save(result)
  t.true((await loadResult(result)).headNames.includes('L3H0'))
  const done = await runCommand(folder, ['export', result, '--heads', 'L3H0', '--out', 'order.npz', '--json'])
  t.is(done.status, 0, done.stderr)
  const { ranks, arrays } = JSON.parse(done.stdout)
  t.deepEqual(Object.keys(ranks), ['L3H0'])
  t.deepEqual(
    arrays.map(({ name }) => name),
    ['q', 'q.null', 'k', 'k.null'].map((part) => `blocks.3.attn.hook_rot_${part}`),
  )
  t.true(readFileSync(path.join(done.cwd, 'order.npz')).length > 1000)
  const table = await runCommand(folder, ['export', result, '--out', 'order.safetensors'])
  t.regex(table.stdout, /blocks\.3\.attn\.hook_rot_q +\[4, 32, \d+\]/)
  const rotated = await runCommand(folder, ['export', result, '--for', 'pyvene', '--out', 'order.npz'])
  t.is(rotated.status, 1)
  t.regex(rotated.stderr, /rotated by position/)
  /** @type {[string[], RegExp][]} */
  const wrong = [
    [['--for', 'baukit', '--out', 'x.npz'], /no tool "baukit"/],
    [['--out', 'x.csv'], /Formats: \.safetensors, \.npz/],
    [[], /required option '--out/],
  ]
  for (const [args, message] of wrong) {
    const refused = await runCommand(folder, ['export', result, ...args])
    t.is(refused.status, 2)
    t.regex(refused.stderr, message)
    t.deepEqual(refused.left, [])
  }
  t.regex((await runCommand(folder, ['export', '--help'])).stdout, /Example:\n +qkspace export/)
})
