/** Messages that a first user meets: what was wrong, and what to do, in the words of the place where it was typed. */

import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { bundledFile, bundledWords } from '../dist/bundled/files.js'
import {
  accumulate,
  attribute,
  boxesOrder,
  capture,
  decompose,
  intervene,
  openModel,
  readAttribution,
} from '../dist/index.js'
import { counted } from '../dist/validate.js'
import { runCommand } from './helpers/command.js'
import { cli, temporaryFolder } from './helpers/files.js'
import { readTree } from './helpers/layers.js'
import { boxesResult } from './helpers/small-results.js'

const folder = temporaryFolder(test)
const model = bundledFile('boxes.onnx')
const tokenizer = bundledFile('boxes.tokenizer.json')
const open = () => openModel(model, { tokenizer })
const prompts = (count, seed = 1) => boxesOrder({ ...bundledWords(), prompts: count, seed })
const jsonl = (list) => list.map((prompt) => `${JSON.stringify(prompt)}\n`).join('')

test('a prompt, or a tokenizer, in the place of an object: how it is given', async (t) => {
  /** @type {import('../dist/index.js').QkError} */
  // @ts-expect-error a text in the place of a prompt
  const asked = await t.throwsAsync(capture(await open(), 'hello'), {
    code: 'ERR_TYPE',
    message: /got a string/,
  })
  t.regex(asked.hint, /\{ text: /)
  /** @type {import('../dist/index.js').QkError} */
  // @ts-expect-error a text in the place of the model
  const none = await t.throwsAsync(capture('hello'), { code: 'ERR_TYPE' })
  t.regex(none.hint, /openModel/)
  /** @type {import('../dist/index.js').QkError} */
  // @ts-expect-error a path in the place of the options
  const named = await t.throwsAsync(openModel(model, 'tok.json'), {
    code: 'ERR_TYPE',
    message: /"tok\.json"/,
  })
  t.regex(named.hint, /\{ tokenizer: 'tok\.json' \}/)
  /** @type {import('../dist/index.js').QkError} */
  // @ts-expect-error without a path
  const missing = await t.throwsAsync(openModel(), { code: 'ERR_TYPE', message: /got undefined/ })
  t.regex(missing.hint, /openModel\('model\.onnx'\)/)
  await t.throwsAsync(openModel(''), { code: 'ERR_ARGUMENT', message: /empty text/ })
  // @ts-expect-error without a path
  await t.throwsAsync(readAttribution(), { code: 'ERR_TYPE', message: /named by its path/ })
  // @ts-expect-error without options
  t.throws(() => boxesOrder(), { code: 'ERR_TYPE', message: /an object of options, got undefined/ })
})

test('a hint of the library that names a flag names the option of the API beside it', (t) => {
  const files = readTree(fileURLToPath(new URL('..', import.meta.url)), 'lib')
  // These tell which command wrote a file, how the package is built or how a cluster is run: there is only the command.
  const ofCommands = /^lib\/(cli|cluster|report)\/|^lib\/citation\/read-source|^lib\/backend\/addon\//
  for (const [file, text] of files) {
    if (!file.endsWith('.ts') || ofCommands.test(file)) {
      continue
    }
    for (const line of text
      .split('\n')
      .filter((one) => /['"`].*--[a-z]/.test(one) && !/^\s*(\/\/|\*|\/\*)/.test(one))) {
      t.regex(line, /\{ ?\w+|batchSize/, `${file}: ${line}`)
    }
  }
})

test('ids outside the vocabulary are shown as ids', async (t) => {
  const { tokenizer: own } = await open()
  for (const id of [99_999, -1, 2 ** 33, 1.5]) {
    t.is(own.token(id), `#${id}`)
  }
  t.not(own.token(3), '#3')
  await t.throwsAsync(capture(await open(), { tokens: [1, 99_999] }), {
    code: 'ERR_PROMPT',
    message: /token 1 has the id 99999, and the model's table of embeddings has 198 rows/,
  })
})

test('a key that is positive and negative is refused; of two runs it may have the same place', async (t) => {
  const own = await open()
  const terms = [{ query: -1, positive: [1, 2], negative: [0, { match: 'apple' }] }]
  const set = path.join(folder, 'both.jsonl')
  writeFileSync(set, jsonl([{ text: 'The apple is', contrast: 'c', terms }]))
  const { status, stderr } = await runCommand(folder, [
    'decompose',
    '--model',
    model,
    '--tokenizer',
    tokenizer,
    '--prompts',
    set,
    '--out',
    'r',
  ])
  t.is(status, 1)
  t.regex(stderr, /both\.jsonl:1: term 0: the key at \d is both positive and negative/)
  const counterfactual = {
    text: 'The apple is',
    contrast: 'c',
    terms: [{ query: -1, positive: [1] }],
    counterfactual: { text: 'The pear is', terms: [{ query: -1, negative: [1] }] },
  }
  await t.notThrowsAsync(accumulate(own, [counterfactual], { heads: 'L0H0' }))
})

test('a fixed rank that no head has is refused', async (t) => {
  const sums = await accumulate(await open(), prompts(24), { heads: 'L0H0' })
  const fixed = (rank) => decompose(sums, { rank: { rule: 'fixed', rank } })
  t.is((await fixed(32)).head('L0H0').contrast('order').rank, 32)
  await t.throwsAsync(fixed(99), { code: 'ERR_ARGUMENT', message: /fixed rank is 99, .* at most d = 32/ })
})

test('figures on the prompts that a result was made from carry a warning', async (t) => {
  const own = await open()
  const result = await boxesResult({}, { heads: 'L3H0', prompts: 24 })
  const options = { result, randoms: 1, points: 0 }
  const edits = { result, randoms: 1, nulls: 0 }
  const same = /made from these very prompts/
  const said = ({ warnings = [] }) => warnings.some((warning) => same.test(warning))
  t.true(said(await attribute(own, prompts(24), options)))
  t.true(said(await intervene(own, prompts(24), edits)))
  t.false(said(await attribute(own, prompts(24, 2), options)))
  t.false(said(await intervene(own, prompts(24, 2), edits)))
})

test('a misspelt option is named with the nearest one, also where it is a required one', async (t) => {
  const rest = ['--prompts', 'y', '--out', 'z']
  for (const [args, typo, meant] of [
    [['decompose', '--modle', 'x', ...rest], '--modle', '--model'],
    [['decompose', '--model', 'x', '--promts', 'y', '--out', 'z'], '--promts', '--prompts'],
    [['report', 'x.safetensors', '--otu', 'y.html'], '--otu', '--out'],
    [['toy', 'train', '--taks', '1', '--r1', '3', '--r2', '3', '--out', 'x.onnx'], '--taks', '--task'],
  ]) {
    const { status, stderr } = await runCommand(folder, args)
    t.is(status, 2)
    t.true(stderr.includes(`unknown option '${typo}'`), stderr)
    t.true(stderr.includes(`Did you mean ${meant}?`), stderr)
  }
  const missing = await runCommand(folder, ['decompose', ...rest])
  t.is(missing.status, 2)
  t.regex(missing.stderr, /required option '--model/)
})

test('more controls than anyone waits for are bad usage', async (t) => {
  for (const [command, flag] of [
    ['attribute', '--randoms'],
    ['intervene', '--randoms'],
    ['intervene', '--nulls'],
    ['explain', '--randoms'],
    ['explain', '--nulls'],
    ['decompose', '--nulls'],
    ['sweep', '--nulls'],
  ]) {
    const { status, stderr } = await runCommand(folder, [command, flag, '1e9'])
    t.is(status, 2)
    t.regex(
      stderr,
      new RegExp(`'${flag} <n>' argument '1e9' is invalid. Expected a whole number from 0 to 10000`),
    )
  }
})

/** The command with a text on standard input. */
async function piped(args, text) {
  const cwd = mkdtempSync(path.join(folder, 'piped-'))
  const child = spawn(process.execPath, [cli, ...args], { cwd })
  const [stdout, stderr, status] = await Promise.all([
    child.stdout.setEncoding('utf8').toArray(),
    child.stderr.setEncoding('utf8').toArray(),
    new Promise((resolve) => child.once('close', resolve)),
    new Promise((resolve) => child.stdin.end(text, () => resolve(undefined))),
  ])
  return { stdout: stdout.join(''), stderr: stderr.join(''), status, left: readdirSync(cwd), cwd }
}

test('every command that takes prompts reads them from standard input', async (t) => {
  const opened = ['--model', model, '--tokenizer', tokenizer]
  const set = jsonl(prompts(24))
  const file = path.join(folder, 'set.jsonl')
  writeFileSync(file, set)
  const args = ['decompose', ...opened, '--heads', 'L3H0', '--json', '--prompts']
  const fromInput = await piped([...args, '-', '--out', 'r'], set)
  t.is(fromInput.status, 0, fromInput.stderr)
  const fromFile = await piped([...args, file, '--out', 'r'], '')
  t.deepEqual(JSON.parse(fromInput.stdout).heads, JSON.parse(fromFile.stdout).heads)
  t.like(JSON.parse(fromInput.stdout).prompts, {
    source: 'standard input',
    sha256: JSON.parse(fromFile.stdout).prompts.sha256,
  })
  const result = path.join(fromInput.cwd, 'r')
  const few = jsonl(prompts(2, 3))
  for (const more of [
    ['attribute', ...opened, '--result', result, '--randoms', '1', '--prompts', '-'],
    ['intervene', ...opened, '--result', result, '--randoms', '1', '--nulls', '0', '--prompts', '-'],
    ['explain', ...opened, '--prompts', '-'],
    ['capture', ...opened, '--heads', 'L0H0', '--out', 'c', '--prompts', '-'],
    ['prompts', 'check', '-'],
  ]) {
    const { status, stderr } = await piped(more, few)
    t.is(status, 0, `${more[0]}: ${stderr}`)
  }
  const swept = await piped(['sweep', ...opened, '--heads', 'L3H0', '--held-out', '0', '--prompts', '-'], set)
  t.is(swept.status, 0, swept.stderr)
  const bad = await piped([...args, '-', '--out', 'r'], `${few}\n{"text":\n`)
  t.is(bad.status, 1)
  t.regex(bad.stderr, /standard input:4: not JSON/)
  const empty = await piped([...args, '-', '--out', 'r'], '')
  t.is(empty.status, 1)
  t.regex(empty.stderr, /standard input holds no prompts/)
  t.deepEqual(empty.left, [])
})

test('numbers of one are told in the singular', async (t) => {
  t.is(counted(1, 'prompt'), '1 prompt')
  t.is(counted(0, 'prompt'), '0 prompts')
  t.is(counted(2, 'query'), '2 queries')
  const file = path.join(folder, 'one.jsonl')
  writeFileSync(file, jsonl(prompts(1)))
  const out = await runCommand(folder, ['prompts', 'boxes', '--prompts', '1', '--out', 'one.jsonl'])
  const args = ['--model', model, '--tokenizer', tokenizer, '--prompts', file, '--heads', 'L3H0']
  const found = await runCommand(folder, ['decompose', ...args, '--rank', 'fixed:1', '--out', 'r'])
  const split = await runCommand(folder, [
    'attribute',
    ...args,
    '--result',
    path.join(found.cwd, 'r'),
    '--randoms',
    '0',
  ])
  const edits = await runCommand(folder, [
    'intervene',
    ...args,
    '--result',
    path.join(found.cwd, 'r'),
    '--randoms',
    '0',
  ])
  for (const { status, stdout, stderr } of [out, found, split, edits]) {
    t.is(status, 0, stderr)
    t.notRegex(stdout + stderr, /(^|[^\d.,])1 (prompts|heads|terms|units|rows|contrasts|tokens|steps)\b/m)
  }
  t.regex(found.stdout, /1 prompt, 1 head, /)
  t.true(readFileSync(path.join(out.cwd, 'one.jsonl'), 'utf8').length > 0)
})
