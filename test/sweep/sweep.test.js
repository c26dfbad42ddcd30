/** A sweep over prompts: what is discovered, on what it is measured, what is written; from the command line too. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import {
  boxesLexical,
  boxesOrder,
  boxesUnused,
  bundledFile,
  bundledWords,
  loadResult,
  openModel,
  sweep,
  writePrompts,
} from '../../dist/index.js'
import { runCommand } from '../helpers/command.js'
import { temporaryFolder } from '../helpers/files.js'
import { shuffledAnswers } from '../helpers/shuffled-answers.js'

const folder = temporaryFolder(test)
const words = bundledWords()
const boxes = { model: bundledFile('boxes.onnx'), tokenizer: bundledFile('boxes.tokenizer.json') }
const openBoxes = () => openModel(boxes.model, { tokenizer: boxes.tokenizer })
const order = (prompts, seed = 1) => boxesOrder({ ...words, prompts, seed })

test('the heads that bind are found, measured on prompts that did not fit them, and attend as they should', async (t) => {
  const found = await sweep(await openBoxes(), order(300))
  const row = found.rows.find(({ head }) => head === 'L3H0')
  t.true(row.discovered && row.replication.replicated && row.role)
  t.true(row.attention.positive > 0.8)
  const { explained, swap, units } = row.heldOut
  t.true(units > 60 && units < 140)
  t.true(explained.exceedsNull && explained.value > explained.random)
  t.true(explained.null.mean <= explained.null.p95)
  t.is(explained.null.draws, 20)
  t.true(swap.moved.exceedsNull)
  t.true(swap.moved.whole > 0.9, 'the whole key moves it all')
  t.true(swap.moved.random < swap.moved.value)
  t.is(found.rows.length, 16)
  const still = found.rows.filter(({ discovered }) => !discovered)
  t.true(still.every(({ heldOut, rank, role }) => heldOut === undefined && rank === 0 && !role))
  const counts = found.toJSON().counts
  t.is(counts.tested, 16)
  t.is(counts.discovered, found.rows.filter(({ discovered }) => discovered).length)
})

test('with shuffled answers nothing is discovered, and nothing has a role', async (t) => {
  const found = await sweep(await openBoxes(), shuffledAnswers(order(300), 5))
  t.deepEqual(
    found.rows.filter(({ discovered }) => discovered),
    [],
  )
  t.deepEqual(found.roles, {})
})

test('counterfactuals and labels are measured as well', async (t) => {
  const prompts = [
    ...boxesLexical({ ...words, prompts: 200, seed: 2, asked: ['pear'] }),
    ...order(200, 4).map(({ text, terms: _, ...rest }, i) => {
      const count = 40
      const letters = Array.from({ length: count }, (_, at) => ((at * 7 + i) % 5 === 0 ? 'a' : 'b'))
      return { ...rest, text, contrast: 'letters', labels: { query: letters, causal: true } }
    }),
  ]
  const model = await openBoxes()
  const lengths = await Promise.all(prompts.map(({ text }) => model.tokenizer.encode(text)))
  prompts.forEach((prompt, i) => {
    if (prompt.labels) {
      const { length } = lengths[i].ids
      prompt.labels.query = Array.from({ length }, (_, at) => prompt.labels.query[at % 40])
    }
  })
  const found = await sweep(model, prompts, { heads: 'L3H0,L3H2,L0H0', heldOut: 60 })
  const lexical = found.rows.find(({ head, contrast }) => head === 'L3H0' && contrast === 'lexical')
  t.true(lexical.discovered)
  t.true(lexical.heldOut.explained.value > 0)
  t.true(lexical.heldOut.swap.moved.whole > 0)
  for (const { contrast, attention } of found.rows) {
    t.true(attention.positive >= 0 && attention.negative > 0, contrast)
  }
})

test('where both runs have the same key there is nothing to move', async (t) => {
  // What a counterfactual changes comes behind the key, which a causal model computed before.
  const prompts = boxesUnused({ ...words, prompts: 300, seed: 3 })
  const found = await sweep(await openBoxes(), prompts, { heads: 'L3H0', heldOut: 60 })
  const { discovered, heldOut } = found.rows.find(({ contrast }) => contrast === 'unused')
  t.true(discovered)
  t.deepEqual([heldOut.swap.moved, heldOut.swap.deltaP], [null, null])
  t.true(heldOut.swap.origin > 0.5)
})

test('the same seed gives the same rows, whatever the batches', async (t) => {
  const model = await openBoxes()
  const of = async (options) =>
    (await sweep(model, order(120), { heads: 'L3H0,L1H0', ...options })).toJSON().rows
  t.deepEqual(await of({}), await of({}))
  const [a, b] = [await of({}), await of({ batchSize: 7 })]
  t.deepEqual(
    a.map(({ p, rank, head }) => [p, rank, head]),
    b.map(({ p, rank, head }) => [p, rank, head]),
  )
  const near = (x, y) => Math.abs(x - y) < 1e-4
  t.true(near(a[0].heldOut.explained.value, b[0].heldOut.explained.value))
  // The target of each swap is the same one, too.
  t.true(near(a[0].heldOut.swap.moved.value, b[0].heldOut.swap.moved.value))
  const few = await sweep(model, order(120), { heads: 'L3H0', nulls: 5 })
  t.is(few.rows[0].heldOut.explained.exceedsNull, null)
})

test('wrong options are refused by name, and an abort ends it', async (t) => {
  const model = await openBoxes()
  const fails = (options, expected, prompts = order(40)) =>
    t.throwsAsync(sweep(model, prompts, options), expected)
  await fails({ role: true }, { code: 'ERR_ARGUMENT', message: /role/ })
  await fails({ roles: ['sink'] }, { code: 'ERR_ARGUMENT', message: /sink/ })
  await fails({ heldOut: -1 }, { code: 'ERR_ARGUMENT', message: /heldOut/ })
  await fails({ alpha: 2 }, { code: 'ERR_ARGUMENT' })
  await fails({ draws: Number.NaN }, { code: 'ERR_ARGUMENT', message: /draws/ })
  await fails({ mostDraws: 0 }, { code: 'ERR_ARGUMENT', message: /mostDraws/ })
  await fails({ roleFactor: -5 }, { code: 'ERR_ARGUMENT', message: /roleFactor/ })
  await fails({ roleAttention: 7 }, { code: 'ERR_ARGUMENT', message: /roleAttention/ })
  await fails({ roles: true, sequences: 1e9 }, { code: 'ERR_ARGUMENT', message: /sequences/ }, undefined)
  await t.throwsAsync(sweep(model, undefined), { code: 'ERR_ARGUMENT', message: /prompts, or roles/ })
  await fails({ signal: AbortSignal.abort() }, { code: 'ERR_ABORTED' })
  for (const stage of ['capture', 'tests', 'held out']) {
    const abort = new AbortController()
    await fails(
      { signal: abort.signal, onProgress: (at) => at.stage === stage && abort.abort() },
      { code: 'ERR_ABORTED' },
      order(200),
    )
  }
  const few = order(3).map(({ text }) => ({ text }))
  await fails({ roles: true }, { code: 'ERR_ARGUMENT', message: /20 prompts/ }, few)
  await fails(
    { roles: true },
    { code: 'ERR_PROMPT', message: /name of a role/ },
    order(30).map((prompt) => ({ ...prompt, contrast: 'induction' })),
  )
  const long = await openModel(bundledFile('induction.onnx'))
  /** @type {import('../../dist/index.js').QkError} */
  const error = await t.throwsAsync(sweep(long, undefined, { roles: true, length: 80 }), {
    code: 'ERR_INFERENCE',
  })
  t.regex(error.hint, /smaller length/)
})

test('the command writes a table, JSON, CSV, subspaces and a map', async (t) => {
  const prompts = path.join(folder, 'order.jsonl')
  await writePrompts(prompts, order(120))
  const out = path.join(folder, 'sweep')
  const base = ['sweep', '--model', boxes.model, '--tokenizer', boxes.tokenizer, '--prompts', prompts]
  const { stdout, status } = await runCommand(folder, [...base, '--out', out])
  t.is(status, 0)
  t.regex(stdout, /L3H0 +order +yes/)
  t.regex(stdout, /of 16 tests of an effect discovered at a false discovery rate of 0.05/)
  t.regex(stdout, /what heads do/)
  const document = JSON.parse(readFileSync(path.join(out, 'sweep.json'), 'utf8'))
  t.is(document.format, 'qkspace-sweep')
  const csv = readFileSync(path.join(out, 'sweep.csv'), 'utf8').trim().split('\r\n')
  t.is(csv.length, 17)
  t.is(new Set(csv.map((line) => line.split(',').length)).size, 1)
  const result = await loadResult(path.join(out, 'sweep.safetensors'))
  t.is(result.head('L3H0').contrast('order').rank, document.rows.find((row) => row.head === 'L3H0').rank)
  t.true(readFileSync(path.join(out, 'sweep.html'), 'utf8').startsWith('<!doctype html>'))
  const again = await runCommand(folder, [...base, '--json', '--heads', 'L3H0'])
  t.is(JSON.parse(again.stdout).rows.length, 1)
  const foreign = path.join(folder, 'foreign')
  mkdirSync(foreign)
  writeFileSync(path.join(foreign, 'sweep.csv'), 'name,price\n')
  const refused = await runCommand(folder, [...base, '--out', foreign])
  t.is(refused.status, 1)
  t.regex(refused.stderr, /sweep\.csv: it exists, and is not rows of a sweep/)
  t.is((await runCommand(folder, [...base, '--out', out, '--heads', 'L3H0', '--held-out', '0'])).status, 0)
  const empty = await runCommand(folder, ['sweep', '--model', boxes.model, '--roles', ''])
  t.is(empty.status, 2)
  t.regex(empty.stderr, /names/)
  const usage = await runCommand(folder, ['sweep', '--model', boxes.model])
  t.is(usage.status, 2)
  t.regex(usage.stderr, /--prompts, or --roles/)
})
