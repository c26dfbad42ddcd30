/** Null subspaces: made of the same matrices that the test draws from, saved and loaded, absent where nothing was kept. */

import path from 'node:path'
import test from 'ava'
import {
  accumulate,
  boxesLexical,
  boxesOrder,
  bundledFile,
  bundledWords,
  decompose,
  disposeSums,
  loadResult,
  openModel,
} from '../../dist/index.js'
import { SumsNullData } from '../../dist/spectrum/rank/null-data.js'
import { svd } from '../../dist/spectrum/svd.js'
import { temporaryFolder } from '../helpers/files.js'
import { relativeDifference } from '../helpers/linear-algebra.js'
import { ENERGY } from '../helpers/rank-rules.js'

const folder = temporaryFolder(test)
const words = bundledWords()
const openBoxes = () =>
  openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
const prompts = [
  ...boxesOrder({ ...words, prompts: 120, seed: 1 }),
  ...boxesLexical({ ...words, prompts: 120, seed: 2 }, 'question', 'match'),
]

/** ||A - B|| of projectors on columns [d, rank] is small where the spans are the same. */
function spanDifference(a, b, d, rank) {
  let overlap = 0
  for (let x = 0; x < rank; x++) {
    for (let y = 0; y < rank; y++) {
      let dot = 0
      for (let i = 0; i < d; i++) {
        dot += a[i * rank + x] * b[i * rank + y]
      }
      overlap += dot ** 2
    }
  }
  return rank - overlap
}

test('null matrices are sums of the units with the signs of the test, under both hypotheses', async (t) => {
  const sums = await accumulate(await openBoxes(), prompts, { heads: 'L3H0,L3H1' })
  const data = new SumsNullData(sums, 7)
  for (const [contrast, name] of sums.contrasts.entries()) {
    for (const hypothesis of /** @type {const} */ (['effect', 'interaction'])) {
      const [group] = sums.sites.at(-1).groups
      const source = await data.of(group, group.kept, contrast).data.source(hypothesis)
      const heads = group.heads.map((_, h) => h)
      const d = source.headDim
      const matrices = await source.matrices(heads, 0, 40)
      const values = await source.values({ heads, from: 0, to: 40, components: 1 })
      const observed = await source.observed(heads)
      const first = matrices.slice(0, heads.length * d * d)
      t.true(relativeDifference(first, observed) < 1e-6, `${name} ${hypothesis}: draw 0 is what was observed`)
      const { s } = await svd(matrices, { n: 40 * heads.length, rows: d, cols: d, rank: 1 })
      for (let draw = 0; draw < 40; draw++) {
        for (const h of heads) {
          const [mine, tested] = [s[draw * heads.length + h], values[h * 40 + draw]]
          t.true(Math.abs(mine - tested) < 1e-5 * tested, `${name} ${hypothesis}, draw ${draw}, head ${h}`)
        }
      }
      source.release()
    }
  }
  disposeSums(sums)
})

test('a discovered head has twenty null subspaces of its rank, the same after saving and loading', async (t) => {
  const model = await openBoxes()
  const sums = await accumulate(model, prompts)
  const result = await decompose(sums)
  const { nulls, directions, rank, headDim: d } = result.head('L3H0').contrast('order')
  t.true(rank > 0)
  t.is(nulls.count, 20)
  t.is(nulls.u.length, 20 * d * rank)
  t.is(nulls.v.length, 20 * d * rank)
  for (const side of [nulls.u, nulls.v]) {
    for (let b = 0; b < 20; b++) {
      const own = side.subarray(b * d * rank, (b + 1) * d * rank)
      t.true(Math.abs(spanDifference(own, own, d, rank)) < 1e-5, 'orthonormal columns')
      if (b > 0) {
        t.true(spanDifference(own, side.subarray(0, d * rank), d, rank) > 1e-3, 'each its own')
      }
    }
  }
  t.true(Math.abs(Math.hypot(...directions.meanQuery) - 1) < 1e-9)
  t.is(directions.keyComponents.length % d, 0)
  const undiscovered = result.headNames.find((head) => result.head(head).contrast('order').rank === 0)
  t.is(result.head(undiscovered).contrast('order').nulls, undefined)

  const file = path.join(folder, 'nulls.safetensors')
  await result.save(file)
  const loaded = (await loadResult(file)).head('L3H0').contrast('order')
  t.is(loaded.nulls.count, 20)
  t.true(relativeDifference(loaded.nulls.v, nulls.v) < 1e-6)
  t.true(relativeDifference(loaded.directions.keyComponents, directions.keyComponents) < 1e-6)
  disposeSums(sums)
})

test('under the energy rule null subspaces come on request, and never without kept rows', async (t) => {
  const model = await openBoxes()
  const [kept, bare] = [
    await accumulate(model, prompts, { heads: 'L3H0' }),
    await accumulate(model, prompts, { heads: 'L3H0', nullBytes: 0 }),
  ]
  const of = async (sums, options) =>
    (await decompose(sums, { rank: ENERGY, ...options })).head('L3H0').contrast('order')
  t.is((await of(kept, {})).nulls, undefined)
  t.is((await of(kept, { nulls: 5 })).nulls.count, 5)
  t.is((await of(bare, { nulls: 5 })).nulls, undefined)
  await t.throwsAsync(decompose(kept, { nulls: -1 }), { code: 'ERR_ARGUMENT' })
  for (const sums of [kept, bare]) {
    disposeSums(sums)
  }
})
