/** Whether what a sweep finds is what the model uses: whole keys exchanged inside the model, head by head. */

import test from 'ava'
import {
  accumulate,
  boxesOrder,
  bundledFile,
  bundledWords,
  decompose,
  disposeSums,
  intervene,
  openModel,
  sweep,
} from '../../dist/index.js'

test('the heads that attend by the order of the boxes are those whose keys, exchanged, change the answer', async (t) => {
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  const of = (prompts, seed) => boxesOrder({ ...bundledWords(), prompts, seed })
  const found = await sweep(model, of(200, 1), { heldOut: 0 })
  const sums = await accumulate(model, of(60, 1))
  // Any subspace will do: only whole keys are looked at.
  const result = await decompose(sums, { rank: { rule: 'fixed', rank: 1 } })
  disposeSums(sums)
  const changed = []
  for (const heads of result.headNames) {
    const { variants } = await intervene(model, of(48, 9), { result, heads, randoms: 0, nulls: 0 })
    const { output } = variants.find(({ kind }) => kind === 'whole')
    if (output.kl.mean > 0.01) {
      changed.push(heads)
    }
  }
  t.deepEqual(Object.keys(found.roles).sort(), changed.sort())
  t.deepEqual(changed, ['L3H0'])
})
