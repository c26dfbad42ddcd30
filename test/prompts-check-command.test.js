/** `qkspace prompts check`: what it prints, and what it refuses. */

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { boxesOrder, bundledFile, bundledWords, checkPromptSet } from '../dist/index.js'
import { termSet } from './helpers/check-sets.js'
import { runCommand } from './helpers/command.js'
import { temporaryFolder } from './helpers/files.js'

const words = bundledWords()
const tokenizer = bundledFile('boxes.tokenizer.json')
const folder = temporaryFolder(test)
const run = (...args) => runCommand(folder, ['prompts', 'check', ...args])

function file(name, prompts) {
  const to = path.join(folder, name)
  writeFileSync(
    to,
    prompts.map((prompt) => `${typeof prompt === 'string' ? prompt : JSON.stringify(prompt)}\n`).join(''),
  )
  return to
}

test('one JSON document, with a tokenizer or a model', async (t) => {
  const prompts = boxesOrder({ ...words, prompts: 120, seed: 2 })
  const set = file('order.jsonl', prompts)
  const given = await run(set, '--tokenizer', tokenizer, '--json')
  t.is(given.status, 0)
  t.is(given.stderr, '')
  t.deepEqual(given.left, [])
  const { source, sha256, ...check } = JSON.parse(given.stdout)
  t.is(source, set)
  t.regex(sha256, /^[0-9a-f]{64}$/)
  const { source: memory, sha256: _, ...expected } = await checkPromptSet(prompts, { tokenizer })
  t.is(memory, 'memory')
  t.deepEqual(check, JSON.parse(JSON.stringify(expected)))
  const model = ['--model', bundledFile('boxes.onnx'), '--tokenizer', tokenizer]
  t.is((await run(set, ...model, '--json')).stdout, given.stdout)
  const other = JSON.parse((await run(set, '--tokenizer', tokenizer, '--json', '--seed', '5')).stdout)
  t.is(other.seed, 5)
  t.notDeepEqual(other.contrasts, check.contrasts)
})

test('findings and measures as text', async (t) => {
  const early = ({ keys }) => keys.sort((a, b) => a - b)
  const { status, stdout } = await run(file('early.jsonl', termSet(30, { arrange: early })))
  t.is(status, 0)
  t.regex(stdout, /early\.jsonl: 300 prompts, 2 warnings\n/)
  t.regex(stdout, /\nc \(terms\): 300 prompts, 300 terms, 300 units; positions are tokens\n/)
  t.regex(
    stdout,
    /\n {2}warning, position: Positives lie .*\(AUC 0\.00 ± 0\.00; swapped sides give 0\.4\d to 0\.5\d in 99%/,
  )
  t.regex(stdout, /\nposition +AUC +0\.000 +0\.5\d+ +0\.5\d+ +0\.0005 +300\n/)
  t.regex(stdout, /level 0\.01, shared over its measures/)
  const text = await run(file('text.jsonl', boxesOrder({ ...words, prompts: 100, seed: 2 })))
  t.is(text.status, 0)
  t.regex(text.stdout, /positions are characters, and tokens are the words/)
  t.regex(text.stdout, /no warning/)
})

test('what cannot be read is named with file and line, bad usage is another status', async (t) => {
  const prompts = termSet(31, { prompts: 3 })
  /** @type {Record<string, [any[], RegExp]>} */
  const failing = {
    'json.jsonl': [[...prompts, '{"contrast":'], /json\.jsonl:4: not JSON/],
    'field.jsonl': [[prompts[0], { ...prompts[1], colour: 1 }], /field\.jsonl:2: a prompt has no "colour"/],
    'empty.jsonl': [[], /empty\.jsonl holds no prompts/],
    'match.jsonl': [
      [
        {
          contrast: 'c',
          text: 'a b',
          terms: [{ query: -1, positive: [{ match: 'c' }], negative: [{ match: 'a' }] }],
        },
      ],
      /match\.jsonl:1: term 0: "c" is not in the text/,
    ],
  }
  for (const [name, [lines, message]] of Object.entries(failing)) {
    const { status, stdout, stderr } = await run(file(name, lines), '--json')
    t.is(status, 1, name)
    t.is(stdout, '')
    t.regex(stderr, message)
  }
  t.is((await run(path.join(folder, 'absent.jsonl'))).status, 1)
  const set = file('good.jsonl', prompts)
  t.is((await run(set, '--tokenizer', path.join(folder, 'absent.json'))).status, 1)
  for (const args of [[], [set, '--seed', 'x'], [set, '--prompts', '5'], [set, 'more']]) {
    t.is((await run(...args)).status, 2, args.join(' '))
  }
})
