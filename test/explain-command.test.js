/** `qkspace explain`: what it prints and writes, and how it refuses. */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import {
  boxesOrder,
  bundledFile,
  bundledWords,
  explain,
  loadResult,
  openModel,
  promptLine,
} from '../dist/index.js'
import { runCommand } from './helpers/command.js'
import { temporaryFolder } from './helpers/files.js'
import { boxesResult } from './helpers/small-results.js'
import { writeTinyModel } from './helpers/tiny-model.js'

const folder = temporaryFolder(test)
const boxes = ['--model', bundledFile('boxes.onnx'), '--tokenizer', bundledFile('boxes.tokenizer.json')]
const result = path.join(folder, 'boxes.safetensors')
const set = path.join(folder, 'held-out.jsonl')
const held = boxesOrder({ ...bundledWords(), prompts: 3, seed: 99 })

const run = (...args) => runCommand(folder, ['explain', ...args])

test.before(async () => {
  await (await boxesResult({ rank: { rule: 'fixed', rank: 4 }, nulls: 20 })).save(result)
  writeFileSync(set, held.map((prompt) => `${promptLine(prompt)}\n`).join(''))
})

test('without a result it lists heads by their attention, and says what finds features', async (t) => {
  const { stdout, stderr, status } = await run(...boxes, '--prompt', held[0].text)
  t.is(stderr, '')
  t.is(status, 0)
  t.regex(stdout, /^the prompt: <s> The /)
  t.regex(stdout, /\n43 "Box" attends most to:\nhead +attention +token\n/)
  t.regex(stdout, /\nL3H0 +9\d\.\d% +\d+ "[A-Z]"\n/)
  t.regex(stdout, /and 8 heads more/)
  t.regex(stdout, /qkspace decompose --model .* --prompts SET\.jsonl --out R\.safetensors/)
})

test('with a result it tells parts and exchanges beside their nulls', async (t) => {
  const args = [...boxes, '--prompts', set, '--result', result, '--examples', '1', '--out', 'why.json']
  const { stdout, stderr, status, left, cwd } = await run(...args)
  t.is(stderr, '')
  t.is(status, 0)
  const report = JSON.parse(readFileSync(path.join(cwd, 'why.json'), 'utf8'))
  t.deepEqual(left, ['why.json'])
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  const direct = await explain(model, held, { result: await loadResult(result), examples: 1 })
  t.deepEqual({ ...report.prompts[0], where: '' }, { ...direct.prompts[0], where: '' })
  const { features, attention } = report.prompts[0].heads.find(({ head }) => head === 'L3H0')
  const [{ gain, swap, rank }] = features
  const two = (x) => (Math.abs(x) < 0.005 ? '0.00' : x.toFixed(2)).replace('.', '\\.')
  const percent = (x) => `${(100 * x).toFixed(1).replace('.', '\\.')}%`
  t.regex(
    stdout,
    new RegExp(`\n${'order'} +${rank} +${two(gain.value)} +${two(gain.nulls.mean)} +${two(gain.nulls.p95)}`),
  )
  const { origin, target, after, nulls, whole } = swap
  const cells = [`${origin} "\\w"`, percent(attention[origin]), percent(after[origin]), `${target} "\\w"`]
  const rest = [percent(attention[target]), percent(after[target]), percent(nulls.target.mean)]
  const row = [...cells, ...rest, percent(nulls.target.p95), '\\S+', percent(whole[target])].join(' +')
  t.regex(stdout, new RegExp(`\norder +${row}`))
  const all = report.prompts[0].heads.flatMap((head) => head.features ?? [])
  const within = [
    ...all.filter((feature) => !feature.gain.exceedsNull),
    ...all.filter((feature) => feature.swap.after[feature.swap.target] <= feature.swap.nulls.target.p95),
  ]
  t.is(stdout.split('within null').length - 1, within.length)
  t.regex(stdout, /\nsaved why\.json\n$/)
})

test('heads are named once or several times; --json prints the document alone', async (t) => {
  const heads = ['--head', 'L3H0', '--head', 'L1H0,2.1']
  const { stdout, status } = await run(
    ...boxes,
    '--prompt',
    held[0].text,
    ...heads,
    '--query',
    '-2',
    '--json',
  )
  t.is(status, 0)
  const { prompts, seed } = JSON.parse(stdout)
  t.is(seed, 0)
  t.deepEqual(prompts[0].heads.map(({ head }) => head).sort(), ['L1H0', 'L2H1', 'L3H0'])
  t.is(prompts[0].query, prompts[0].tokens.length - 2)
  t.true(prompts[0].heads.every(({ pattern }) => pattern.length === prompts[0].tokens.length))
})

test('token ids, in a model without a tokenizer', async (t) => {
  const tiny = writeTinyModel(folder, { seed: 5 })
  const { stdout, status } = await run('--model', tiny, '--tokens', '1,5,7')
  t.is(status, 0)
  t.regex(stdout, /2 "#7" attends most to:/)
  const text = await run('--model', tiny, '--prompt', 'words')
  t.is(text.status, 1)
  t.regex(
    text.stderr,
    /--prompt is text, and .* has no tokenizer beside it\n {2}Give --tokenizer .*--tokens 1,2,3/,
  )
})

test('nulls that are left out or absent are said', async (t) => {
  const args = [
    ...boxes,
    '--prompts',
    set,
    '--result',
    result,
    '--examples',
    '1',
    '--head',
    'L3H0',
    '--nulls',
    '0',
  ]
  const { stdout, status } = await run(...args)
  t.is(status, 0)
  t.regex(stdout, /no null: null subspaces were left out/)
  t.regex(stdout, /no null +no null/)
})

test('bad usage exits with 2, failed work with 1, and nothing is left behind', async (t) => {
  const prompt = ['--prompt', held[0].text]
  /** @type {[number, string[], RegExp][]} */
  const cases = [
    [2, [], /no prompt is given\n {2}Give one of/],
    [2, [...prompt, '--prompts', set], /--prompt and --prompts are given together/],
    [2, ['--tokens', '1,x'], /token ids with commas/],
    [2, [...prompt, '--head', 'L3'], /"L3" does not name a head/],
    [2, [...prompt, '--query', '1.5'], /whole number/],
    [2, [...prompt, '--features', 'order'], /contrasts of a result/],
    [
      2,
      [...prompt, '--out', 'why.txt'],
      /no ending that an explanation is saved by\n {2}Endings: \.json, \.html\./,
    ],
    [1, [...prompt, '--out', 'no/folder.json'], /there is no folder/],
    [1, [...prompt, '--head', 'L9H0'], /there is no head L9H0/],
    [
      1,
      [...prompt, '--query', '99'],
      /the query is 99 in a prompt of 44 tokens\n {2}Choose a position from 0 to 43/,
    ],
    [1, [...prompt, '--result', 'none.safetensors'], /cannot open none\.safetensors/],
    [1, ['--prompts', 'none.jsonl'], /cannot open the prompts none\.jsonl/],
    [1, [...prompt, '--result', result, '--features', 'other'], /no contrast "other"/],
  ]
  for (const [expected, args, message] of cases) {
    const { status, stderr, stdout, left } = await run(...boxes, ...args)
    t.regex(stderr, message)
    t.is(status, expected, stderr)
    t.is(stdout, '')
    t.deepEqual(left, [])
  }
})
