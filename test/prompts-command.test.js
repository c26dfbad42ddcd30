/** `qkspace prompts`: what it writes, and what it refuses. */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import {
  boxesLexical,
  boxesOrder,
  boxesUnused,
  bundledFile,
  bundledWords,
  categoryPrompts,
  payloadPrompts,
  readPrompts,
} from '../dist/index.js'
import { runCommand } from './helpers/command.js'
import { temporaryFolder } from './helpers/files.js'

const folder = temporaryFolder(test)
const run = (...args) => runCommand(folder, ['prompts', ...args])
const { objects, boxes, categories } = bundledWords()
const tokenizer = bundledFile('boxes.tokenizer.json')
const toy = bundledFile('toy-task1-r3-r3-d16.onnx')
const lines = (prompts) => prompts.map((prompt) => `${JSON.stringify(prompt)}\n`).join('')

function file(name, content) {
  const to = path.join(folder, name)
  writeFileSync(to, typeof content === 'string' ? content : JSON.stringify(content))
  return to
}

test('boxes: the library’s prompts, on standard output', async (t) => {
  const { stdout, stderr, status, left } = await run('boxes', '--prompts', '3', '--seed', '4')
  t.is(status, 0)
  t.is(stderr, '')
  t.deepEqual(left, [])
  const family = { objects, boxes, prompts: 3, seed: 4 }
  t.is(stdout, lines([...boxesOrder(family), ...boxesLexical(family), ...boxesUnused(family)]))
})

test('boxes: words, direction and variant as asked for', async (t) => {
  const listed = file('objects.txt', 'pen\n\nred cup\r\nkey\n')
  const named = file('boxes.json', { boxes: ['1', '2', '3', '4'] })
  const { stdout, status } = await run(
    'boxes',
    '--objects',
    listed,
    '--boxes',
    named,
    '--pairs',
    '2',
    '--variant',
    'unused',
    '--asked',
    '4, 2',
    '--question',
    'object-of-box',
    '--prompts',
    '5',
    '--seed',
    '1',
  )
  t.is(status, 0)
  const family = {
    objects: ['pen', 'red cup', 'key'],
    boxes: ['1', '2', '3', '4'],
    pairs: 2,
    prompts: 5,
    seed: 1,
  }
  t.is(stdout, lines(boxesUnused({ ...family, asked: ['4', '2'], question: 'object-of-box' })))
})

test('categories: a file, a summary as one document', async (t) => {
  const { stdout, stderr, status, left, cwd } = await run(
    'categories',
    '--prompts',
    '16',
    '--items',
    '4',
    '--seed',
    '2',
    '--out',
    'c.jsonl',
    '--json',
    '--tokenizer',
    tokenizer,
  )
  t.is(status, 0)
  t.is(stderr, '')
  t.deepEqual(left, ['c.jsonl'])
  const each = Object.fromEntries(Object.keys(categories).map((name) => [name, 2]))
  t.deepEqual(JSON.parse(stdout), {
    family: 'categories',
    prompts: 16,
    seed: 2,
    contrasts: { ...each, category: 16 },
    files: ['c.jsonl'],
  })
  const written = readFileSync(path.join(cwd, 'c.jsonl'), 'utf8')
  t.is(written, lines(categoryPrompts({ categories, prompts: 16, items: 4, seed: 2 })))
  t.is((await readPrompts(path.join(cwd, 'c.jsonl')).summary()).prompts, 16)
})

test('categories: lists, selection and wording as asked for', async (t) => {
  const own = { gem: ['opal', 'ruby', 'jade'], metal: ['iron', 'tin', 'zinc'] }
  const { stdout, status } = await run(
    'categories',
    '--categories',
    file('own.json', own),
    '--select',
    'last',
    '--matching',
    '3',
    '--items',
    '5',
    '--asked',
    'metal',
    '--template',
    '{items}\\nLast {category}:',
    '--prompts',
    '2',
    '--seed',
    '1',
  )
  t.is(status, 0)
  const template = '{items}\nLast {category}:'
  const family = { categories: own, matching: 3, items: 5, asked: ['metal'], template }
  t.is(stdout, lines(categoryPrompts({ ...family, select: 'last', prompts: 2, seed: 1 })))
  const wrapped = await run(
    'categories',
    '--categories',
    file('words.json', { categories: own }),
    '--items',
    '3',
  )
  t.is(wrapped.status, 0)
  t.regex(wrapped.stdout, /opal|ruby|jade/)
})

test('payload: arrays beside the set, which decompose takes', async (t) => {
  const given = await run('payload', '--model', toy, '--prompts', '40', '--seed', '6', '--out', 'p.jsonl')
  t.is(given.status, 0)
  t.deepEqual(given.left, ['p.context.npy', 'p.jsonl', 'p.query.npy'])
  t.regex(given.stdout, /saved p\.jsonl, p\.context\.npy, p\.query\.npy: 40 prompts/)
  // The same task by its numbers: the bundled toys have seed 1.
  const sizes = ['--task', '1', '--r1', '3', '--r2', '3', '--toy-seed', '1']
  const told = await run('payload', ...sizes, '--prompts', '40', '--seed', '6', '--out', 'p.jsonl')
  for (const name of given.left) {
    t.deepEqual(readFileSync(path.join(given.cwd, name)), readFileSync(path.join(told.cwd, name)), name)
  }
  const result = await runCommand(folder, [
    'decompose',
    '--model',
    toy,
    '--prompts',
    path.join(given.cwd, 'p.jsonl'),
    '--out',
    'r',
    '--json',
  ])
  t.is(result.status, 0, result.stderr)
  t.is(JSON.parse(result.stdout).heads.L0H0.z1.terms, 160)
})

test('payload: without a file, tensors stand in the lines', async (t) => {
  const { stdout, status } = await run(
    'payload',
    '--task',
    '2',
    '--r1',
    '2',
    '--r2',
    '1',
    '--toy-seed',
    '9',
    '--prompts',
    '2',
    '--seed',
    '3',
  )
  t.is(status, 0)
  /** @type {any[]} */
  const [prompt] = payloadPrompts({ task: 2, r1: 2, r2: 1, toySeed: 9, prompts: 2, seed: 3 })
  const { inputs } = JSON.parse(stdout.split('\n')[0])
  t.deepEqual(inputs.query.data, [...prompt.inputs.query.data])
  t.deepEqual(inputs.context.shape, prompt.inputs.context.shape)
})

const chat = file('tokenizer_config.json', {
  bos_token: '<s>',
  chat_template:
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}" +
    '{% if add_generation_prompt %}[assistant] {% endif %}',
})

test('a chat template, with a system message and the beginning of the answer', async (t) => {
  const { stdout, stderr, status } = await run(
    'boxes',
    '--variant',
    'order',
    '--prompts',
    '1',
    '--chat-template',
    chat,
    '--tokenizer',
    tokenizer,
    '--system',
    'Be brief.',
    '--prefill',
    'Box',
  )
  t.is(status, 0, stderr)
  const [{ text }] = boxesOrder({ objects, boxes, prompts: 1, seed: 0 })
  const user = text.slice(0, -' Box'.length)
  t.is(JSON.parse(stdout).text, `[system] Be brief.\n[user] ${user}\n[assistant] Box`)
})

const noise = file('noise.txt', 'not a prompt set\n')
const sizes = ['--task', '1', '--r1', '2', '--r2', '2']
/** @type {[string, string[], number, RegExp][]} */
const failures = [
  ['no family', [], 2, /payload/],
  ['an unknown family', ['poems'], 2, /unknown command 'poems'/],
  ['payload without a task', ['payload', '--r1', '2'], 2, /needs --model, or --task, --r1 and --r2/],
  ['payload with a model and a task', ['payload', '--model', toy, ...sizes], 2, /--model already says/],
  ['payload of a third task', ['payload', '--task', '3', '--r1', '2', '--r2', '2'], 2, /tasks are 1 and 2/],
  ['payload of another model', ['payload', '--model', bundledFile('boxes.onnx')], 1, /is not a toy model/],
  ['an unknown selection', ['categories', '--select', 'middle'], 2, /Allowed choices are all, first, last/],
  ['one item', ['categories', '--items', '1'], 2, /whole number of at least 2/],
  ['more matching items than items', ['categories', '--matching', '6'], 2, /leave none/],
  ['an unknown category', ['categories', '--asked', 'gem'], 2, /"gem", which is not one of the categories/],
  ['a template without items', ['categories', '--template', '{category}'], 2, /\{items\} 0 times/],
  ['missing categories', ['categories', '--categories', 'none.json'], 1, /cannot open the words none\.json/],
  ['categories that are none', ['categories', '--categories', noise], 1, /is not JSON/],
  [
    'categories in a list',
    ['categories', '--categories', file('list.json', ['a'])],
    1,
    /holds no categories/,
  ],
  [
    'objects that are no list',
    ['boxes', '--objects', file('no.json', { a: 1 })],
    1,
    /holds no list of words/,
  ],
  ['more pairs than boxes', ['boxes', '--pairs', '27'], 2, /27 pairs need 27 boxes, and there are 26/],
  [
    'an unknown variant',
    ['boxes', '--variant', 'syntax'],
    2,
    /Allowed choices are order, lexical, unused, all/,
  ],
  ['an unknown question', ['boxes', '--question', 'why'], 2, /Allowed choices are box-of-object/],
  ['a seed beyond the generator', ['boxes', '--seed', '4294967296'], 2, /at most 4294967295/],
  ['no prompts', ['boxes', '--prompts', '0'], 2, /whole number of at least 1/],
  ['--json without a file', ['boxes', '--json'], 2, /standard output is taken by the prompts/],
  ['a prefill without a chat', ['boxes', '--prefill', 'Box'], 2, /there is no --chat-template/],
  [
    'a prefill that no text ends with',
    ['boxes', '--chat-template', chat, '--tokenizer', tokenizer, '--prefill', 'A'],
    2,
    /does not end with "A"/,
  ],
  [
    'a chat whose start token is not known',
    ['boxes', '--chat-template', chat],
    1,
    /it is not known whether the tokenizer adds it/,
  ],
  ['a missing chat template', ['boxes', '--chat-template', 'none.json'], 1, /cannot open none\.json/],
  ['a missing tokenizer', ['boxes', '--tokenizer', 'none.json'], 1, /cannot open the tokenizer/],
  ['a file in the way', ['boxes', '--out', noise], 1, /it exists, and is not a prompt set/],
  ['a folder that does not exist', ['boxes', '--out', 'no/set.jsonl'], 1, /there is no folder/],
]
for (const [what, args, expected, message] of failures) {
  test(`${what}: exit status ${expected}`, async (t) => {
    const { stdout, stderr, status, left } = await run(...args)
    t.is(status, expected)
    t.regex(stderr, message)
    t.notRegex(stderr, /\n\s+at /, 'no stack')
    t.is(stdout, '')
    t.deepEqual(left, [])
  })
}
