/** What heads do: told by `sweep --roles`, against attention that is plainly measured. */

import test from 'ava'
import { bundledInduction } from '../../dist/bundled/files.js'
import { bundledFile, openModel, sweep } from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'
import { randomSequences } from '../../dist/sweep/roles/random-sequences.js'
import { roleTerms } from '../../dist/sweep/roles/role-terms.js'
import { sharedModel, temporaryFolder, withSharedModels } from '../helpers/files.js'
import { writeTinyModel } from '../helpers/tiny-model.js'

const folder = temporaryFolder(test)

test('the heads of the model that nobody guided are named as plain attention names them', async (t) => {
  const model = await openModel(bundledFile('induction.onnx'))
  const found = await sweep(model, undefined, { roles: true })
  const { attention } = bundledInduction()
  const named = (head, role) => (found.roles[head] ?? []).some((own) => own.role === role)
  for (const [head, { previous, induction }] of Object.entries(attention)) {
    // Between the two a head does it partly, and either is true.
    for (const [role, plain] of Object.entries({ 'previous token': previous, induction })) {
      if (plain >= 0.5) {
        t.true(named(head, role), `${head}: ${role}, plainly ${plain}`)
      }
      if (plain < 0.2) {
        t.false(named(head, role), `${head}: ${role}, plainly ${plain}`)
      }
    }
  }
  t.deepEqual(
    found.rows.filter(({ role, contrast }) => role && !['previous token', 'induction'].includes(contrast)),
    [],
  )
  const best = found.rows.filter(({ head, contrast }) => head.startsWith('L1') && contrast === 'induction')
  for (const { heldOut } of best) {
    t.true(heldOut.explained.exceedsNull)
    t.true(heldOut.units > 60 && heldOut.units < 140)
    t.true(heldOut.swap.moved.whole > heldOut.swap.moved.random)
  }
})

test('a model with random weights gets no role', async (t) => {
  for (const seed of [1, 2, 3]) {
    const file = writeTinyModel(folder, {
      seed,
      rope: true,
      vocabulary: 60,
      width: 32,
      heads: 8,
      kvHeads: 8,
      headDim: 8,
    })
    const found = await sweep(await openModel(file), undefined, { roles: true, heldOut: 0, length: 32 })
    t.true(found.rows.length > 0)
    t.deepEqual(found.roles, {})
  }
})

test('a vocabulary in which every preference is a role is refused', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 1, vocabulary: 4 }))
  await t.throwsAsync(sweep(model, undefined, { roles: true }), { code: 'ERR_ARGUMENT', message: /4 tokens/ })
})

test('roles follow their definitions on a sequence that can be read', (t) => {
  //            0  1  2  3  4   5  6  7  8  9  10 11 12 13 14  15
  const ids = [90, 1, 2, 3, 4, 99, 5, 6, 7, 8, 1, 2, 9, 5, 11, 12]
  const all = roleTerms({ ids, causal: true, isDelimiter: (id) => id === 99 }, seededRandom(1), 100)
  const term = (role, query) => all.get(role)?.find((own) => own.query === query)
  t.deepEqual(term('previous token', 8), { query: 8, positive: [7], negative: [3, 4, 5, 6] })
  t.deepEqual(term('same token', 11), { query: 11, positive: [2], negative: [1, 3, 4, 5, 6] })
  // The token at 10 is that at 1, which 2 follows.
  t.deepEqual(term('induction', 10), { query: 10, positive: [2], negative: [1, 3, 4, 5, 6] })
  t.deepEqual(term('induction', 13), { query: 13, positive: [7], negative: [3, 4, 5, 6, 8, 9, 10, 11] })
  t.deepEqual(term('first token', 6), { query: 6, positive: [0], negative: [1, 2, 3, 4] })
  t.deepEqual(term('delimiter', 12), { query: 12, positive: [5], negative: [1, 2, 3, 4, 6, 7, 8, 9] })
  t.deepEqual(term('block', 12), { query: 12, positive: [6, 7], negative: [3, 4] })
  t.is(term('block', 7), undefined, 'too near its block')
  t.is(term('induction', 8), undefined, 'no earlier copy')
  t.false(all.has('next token'))
  const both = roleTerms({ ids, causal: false }, seededRandom(1), 100)
  t.deepEqual(
    both.get('next token').find(({ query }) => query === 3),
    {
      query: 3,
      positive: [4],
      negative: [1, 2, 5, 6, 7, 8],
    },
  )
  t.deepEqual(both.get('same token').find(({ query }) => query === 2).positive, [11])
  t.false(both.has('delimiter'))
  t.true(roleTerms({ ids, causal: true }, seededRandom(1), 3).get('previous token').length === 3)
})

test('random sequences repeat a segment at a distance of their own, between what the tokenizer puts around texts', async (t) => {
  const bare = await openModel(bundledFile('induction.onnx'))
  const sequences = await randomSequences(bare, { sequences: 60, length: 48, seed: 3 })
  const distances = new Set()
  for (const { tokens } of sequences) {
    t.is(tokens.length, 48)
    const at = (i, by) => [0, 1, 2, 3, 4, 5].every((j) => tokens[i + j] === tokens[i + by + j])
    let found
    for (let by = 6; by < 42 && !found; by++) {
      for (let i = 0; i + by + 6 <= 48 && !found; i++) {
        if (at(i, by)) {
          found = by
        }
      }
    }
    t.truthy(found)
    distances.add(found)
  }
  t.true(distances.size > 10)
  t.deepEqual(await randomSequences(bare, { sequences: 60, length: 48, seed: 3 }), sequences)
  const boxes = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  const begin = boxes.tokenizer.encode('').then(({ ids }) => ids)
  for (const { tokens } of await randomSequences(boxes, { sequences: 5, length: 30, seed: 1 })) {
    t.is(tokens.length, 30)
    t.is(tokens[0], (await begin)[0])
  }
  const toy = await openModel(bundledFile('toys/toy-task1-r3-r3-d16.onnx'))
  await t.throwsAsync(sweep(toy, undefined, { roles: true }), { code: 'ERR_ARGUMENT', message: /takes none/ })
})

const sharedTest = withSharedModels(test)

sharedTest('L3H6 of the story model is a previous-token head', async (t) => {
  const stories = sharedModel('tinystories-260k/eager.onnx')
  const tokenizer = sharedModel('tinystories-260k/tokenizer.json')
  for (const options of [{}, { tokenizer }]) {
    const found = await sweep(await openModel(stories, options), undefined, { roles: true, heldOut: 0 })
    const [[head, [first]]] = Object.entries(found.roles)
    t.is(head, 'L3H6')
    t.is(first.role, 'previous token')
    t.true(first.attention > 0.6)
  }
})
