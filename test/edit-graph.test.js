/** Edits inside the model against the model itself and against float64 arithmetic on captured rows. */

import test from 'ava'
import { bundledFile } from '../dist/bundled/files.js'
import { interveneArrays, openModel } from '../dist/index.js'
import {
  capturedRows,
  editor,
  identity,
  plainLogits,
  randomSubspace,
  tokenItem,
  zeros,
} from './helpers/edits.js'
import { sharedModel, temporaryFolder, withSharedModels } from './helpers/files.js'
import { relativeDifference } from './helpers/linear-algebra.js'
import { writeTinyModel } from './helpers/tiny-model.js'
import { TINY } from './helpers/tiny-weights.js'

const folder = temporaryFolder(test)

/** Items of unequal length, so that some runs are padded. */
const items = (vocabulary) => [
  tokenItem(9, { origin: 2, target: 5, seed: 1, vocabulary }),
  tokenItem(12, { origin: 7, target: 1, seed: 2, vocabulary }),
]

/** Runs `check(t, model, its vocabulary)` on a bundled model and on those of the shared collection. */
function onModels(title, check) {
  test(`${title}: boxes`, async (t) => check(t, await openModel(bundledFile('boxes.onnx')), 190))
  for (const [name, vocabulary] of [
    ['tinystories-260k/eager.onnx', 500],
    ['tinystories-260k/packed.onnx', 500],
    ['tinystories-260k/mha.onnx', 500],
    ['tinystories-260k/attn23.onnx', 500],
    ['babyllama-105/eager.onnx', 100],
    ['babyllama-105/gqa.onnx', 100],
  ]) {
    withSharedModels(test)(`${title}: ${name}`, async (t) =>
      check(t, await openModel(sharedModel(name)), vocabulary),
    )
  }
}

onModels('an edit of zero strength changes nothing', async (t, model, vocabulary) => {
  const last = model.sites.length - 1
  const heads = [0, 2]
  const { run, close } = await editor(model, [
    [0, heads],
    [last, heads],
  ])
  const none = heads.map(() => zeros(model.sites[0].headDim))
  const own = items(vocabulary)
  const { logits } = await run(own, {}, [none, none])
  await close()
  const plain = await plainLogits(model, own)
  t.true(relativeDifference(logits, plain) < 1e-6, `${relativeDifference(logits, plain)}`)
})

onModels('a swap of whole keys swaps two columns of the scores', async (t, model, vocabulary) => {
  // The edit of layer 1 must not be seen by layer 1's own queries and keys, only by what follows.
  const heads = [1, 3]
  const { run, close } = await editor(model, [[1, heads]])
  const d = model.sites[1].headDim
  const own = items(vocabulary)
  const before = await run(own, {}, [heads.map(() => zeros(d))])
  const after = await run(own, {}, [heads.map(() => identity(d))])
  await close()
  own.forEach(({ origin, target }, r) => {
    heads.forEach((_, h) => {
      const expected = [...before.patterns[0][r][h]]
      ;[expected[origin], expected[target]] = [expected[target], expected[origin]]
      t.true(relativeDifference(after.patterns[0][r][h], expected) < 1e-5)
    })
  })
  t.true(relativeDifference(after.logits, before.logits) > 1e-5, 'the output feels it')
})

onModels('a swap in a subspace is what float64 on the captured rows says', async (t, model, vocabulary) => {
  const heads = [0, 3]
  const { headDim: d, scale } = model.sites[0]
  const subspaces = heads.map((_, h) => randomSubspace(d, 3, 7 + h))
  const { run, close } = await editor(model, [[0, heads]])
  const own = items(vocabulary)
  const { patterns } = await run(own, {}, [subspaces.map((s) => s.projection)])
  await close()
  for (const [r, item] of own.entries()) {
    for (const [h, head] of heads.entries()) {
      const { q, k } = await capturedRows(model, 0, head, item)
      const keys = k.length
      const { pattern } = interveneArrays({
        q: { data: Float64Array.from(q), shape: [1, d] },
        k: { data: Float64Array.from(k.flat()), shape: [1, keys, d] },
        scale,
        edit: 'swap',
        basis: subspaces[h].basis,
        origin: Int32Array.of(item.origin),
        target: Int32Array.of(item.target),
      })
      t.true(relativeDifference(patterns[0][r][h].slice(0, keys), pattern) < 1e-5)
    }
  }
})

test('later layers see the edits of earlier ones', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'))
  const all = [0, 1, 2, 3]
  const { run, close } = await editor(model, [
    [0, all],
    [3, all],
  ])
  const d = model.sites[0].headDim
  const [none, whole] = [zeros, identity].map((make) => all.map(() => make(d)))
  const own = items(190)
  const before = await run(own, {}, [none, none])
  const early = await run(own, { rows: 'all' }, [whole, none])
  const both = await run(own, { rows: 'all' }, [whole, whole])
  await close()
  t.true(relativeDifference(early.patterns[1].flat(), before.patterns[1].flat()) > 1e-3)
  own.forEach(({ origin, target }, r) => {
    all.forEach((_, h) => {
      const expected = [...early.patterns[1][r][h]]
      ;[expected[origin], expected[target]] = [expected[target], expected[origin]]
      t.true(relativeDifference(both.patterns[1][r][h], expected) < 1e-4)
    })
  })
})

test('a query without coordinates attends to all that it may see alike; scaled, its scores are', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'))
  const { run, close } = await editor(model, [[1, [2]]])
  const d = model.sites[1].headDim
  const own = [...items(190), tokenItem(10, { query: 6, origin: 1, target: 4, seed: 3, vocabulary: 190 })]
  const before = await run(own, { side: 'query', edit: 'scale', factor: 2 }, [[zeros(d)]])
  const none = await run(own, { side: 'query', edit: 'ablate' }, [[identity(d)]])
  const twice = await run(own, { side: 'query', edit: 'scale', factor: 2 }, [[identity(d)]])
  await close()
  own.forEach(({ query }, r) => {
    const uniform = none.patterns[0][r][0].map((_, j) => (j <= query ? 1 / (query + 1) : 0))
    t.true(relativeDifference(none.patterns[0][r][0], uniform) < 1e-5)
    const squared = before.patterns[0][r][0].map((a) => a * a)
    const sum = squared.reduce((a, b) => a + b, 0)
    const expected = squared.map((a) => a / sum)
    t.true(relativeDifference(twice.patterns[0][r][0], expected) < 1e-4)
  })
})

test('a query patched from another run looks as that run does, at its own keys', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'))
  const { run, close } = await editor(model, [[1, [0]]])
  const d = model.sites[1].headDim
  const [item, other] = items(190)
  const donor = { run: other.run, query: 5, key: 3 }
  const patched = await run([{ ...item, donor }], { side: 'query', edit: 'patch' }, [[identity(d)]])
  const keyed = await run([{ ...item, donor }], { side: 'key', edit: 'patch' }, [[identity(d)]])
  await close()
  const own = await capturedRows(model, 1, 0, item)
  const there = await capturedRows(model, 1, 0, { run: other.run, query: 5 })
  const softmax = (q, k) => {
    const scores = k.map((row) => Number(model.sites[1].scale) * row.reduce((s, x, i) => s + x * q[i], 0))
    const exps = scores.map((s) => Math.exp(s - Math.max(...scores)))
    const sum = exps.reduce((a, b) => a + b, 0)
    return exps.map((e) => e / sum)
  }
  const keys = own.k.length
  t.true(relativeDifference(patched.patterns[0][0][0].slice(0, keys), softmax(there.q, own.k)) < 1e-4)
  const changed = own.k.map((row, j) => (j === item.origin ? there.k[donor.key] : row))
  t.true(relativeDifference(keyed.patterns[0][0][0].slice(0, keys), softmax(own.q, changed)) < 1e-4)
})

test('a key ablated to a mean has the mean’s score', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'))
  const { run, close } = await editor(model, [[0, [1]]])
  const d = model.sites[0].headDim
  const [item] = items(190)
  const mean = Float32Array.from({ length: d }, (_, i) => Math.sin(i))
  const { patterns } = await run([item], { edit: 'ablate' }, [[identity(d)]], [[mean]])
  await close()
  const { q, k } = await capturedRows(model, 0, 1, item)
  const scale = Number(model.sites[0].scale)
  const scores = k.map(
    (row, j) => scale * q.reduce((s, x, i) => s + x * (j === item.origin ? mean[i] : row[i]), 0),
  )
  const ratio = patterns[0][0][0][item.origin] / patterns[0][0][0][item.target]
  const expected = Math.exp(scores[item.origin] - scores[item.target])
  t.true(Math.abs(ratio / expected - 1) < 1e-4)
})

for (const [name, variant] of Object.entries({
  plain: {},
  'grouped einsum': { product: 'einsum' },
  'scale on the query': { scale: 'query' },
  'split scale, keys tiled': { scale: 'split', repeat: 'tile' },
  'where mask, packed': { mask: 'where', packed: true },
  'no mask, rope and norm': { mask: 'none', rope: true, norm: true },
  'folded heads': { fold: 'plain' },
  'folded heads, no mask': { fold: 'untraceable', mask: 'none' },
  float16: { half: true },
})) {
  test(`a swap of whole keys, spelt otherwise: ${name}`, async (t) => {
    const model = await openModel(writeTinyModel(folder, { seed: 11, ...variant }))
    const heads = [0, 3]
    const { run, close } = await editor(model, [[0, heads]])
    const own = [tokenItem(8, { origin: 2, target: 5, vocabulary: TINY.vocabulary })]
    const { headDim: d } = model.sites[0]
    const before = await run(own, {}, [heads.map(() => zeros(d))])
    const after = await run(own, {}, [heads.map(() => identity(d))])
    await close()
    heads.forEach((_, h) => {
      const expected = [...before.patterns[0][0][h]]
      ;[expected[2], expected[5]] = [expected[5], expected[2]]
      t.true(relativeDifference(after.patterns[0][0][h], expected) < (variant.half ? 5e-3 : 1e-5))
    })
  })
}
