/** Chat templates: the start token comes once, and positions move with the text. */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { formatTime } from '../dist/contrast/format-time.js'
import {
  applyChatTemplate,
  boxesLexical,
  boxesOrder,
  bundledFile,
  bundledWords,
  categoryPrompts,
  openModel,
  readTokenizerConfig,
  withChatTemplate,
} from '../dist/index.js'
import { temporaryFolder } from './helpers/files.js'
import { located, termWords } from './helpers/prompt-tokens.js'

const folder = temporaryFolder(test)
const { objects, boxes, categories } = bundledWords()

/** In the manner of Llama 3: headers, trimmed messages, the start token in front, the system's date. */
const LLAMA = `{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|head|>system<|tail|>\\n\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|end|>" }}
{%- for message in messages %}
    {%- if message.role not in ['user', 'assistant'] %}
        {{- raise_exception('no such role: ' + message.role) }}
    {%- endif %}
    {{- '<|head|>' + message['role'] + '<|tail|>\\n\\n'+ message['content'] | trim + '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|tail|>\\n\\n' }}
{%- endif %}
`
const OPENING = '<|head|>system<|tail|>\n\nToday Date: 26 Jul 2024\n\n<|end|><|head|>user<|tail|>\n\n'
const CLOSING = '<|end|><|head|>assistant<|tail|>\n\n'

const config = { chat_template: LLAMA, bos_token: { content: '<s>', lstrip: false }, eos_token: '<|end|>' }
const user = [{ role: 'user', content: 'Hello there' }]

/** The bundled tokenizer with the chat's tokens, which adds <s> in front, </s> behind, both or neither. */
function chatTokenizer(name, { front = [], behind = [] }) {
  const tokenizer = JSON.parse(readFileSync(bundledFile('boxes.tokenizer.json'), 'utf8'))
  const { vocab } = tokenizer.model
  for (const word of [
    'user',
    'assistant',
    'system',
    'Hello',
    'there',
    'Today',
    'Date',
    'Jul',
    '26',
    '2024',
  ]) {
    vocab[word] ??= Object.keys(vocab).length
  }
  for (const content of ['<|head|>', '<|tail|>', '<|end|>', '</s>']) {
    const id = Object.keys(vocab).length
    vocab[content] = id
    tokenizer.added_tokens.push({ ...tokenizer.added_tokens[2], id, content })
  }
  const token = (id) => ({ SpecialToken: { id, type_id: 0 } })
  const single = [...front.map(token), { Sequence: { id: 'A', type_id: 0 } }, ...behind.map(token)]
  const used = Object.fromEntries(
    [...front, ...behind].map((id) => [id, { id, ids: [vocab[id]], tokens: [id] }]),
  )
  tokenizer.post_processor =
    single.length === 1 ? null : { type: 'TemplateProcessing', single, pair: single, special_tokens: used }
  const file = path.join(folder, `${name}.json`)
  writeFileSync(file, JSON.stringify(tokenizer))
  return file
}
const adding = chatTokenizer('adding', { front: ['<s>'] })
const plain = chatTokenizer('plain', {})
const ending = chatTokenizer('ending', { behind: ['</s>'] })
const twofold = chatTokenizer('twofold', { front: ['<|head|>', '<s>'] })

test('a tokenizer that adds the start token gets a text without it, and there is one in the end', async (t) => {
  const text = await applyChatTemplate(config, user, { tokenizer: adding })
  t.is(text, `${OPENING}Hello there${CLOSING}`)
  const { words } = await located(text, adding)
  t.is(words[0], '<s>')
  t.is(words.filter((word) => word === '<s>').length, 1)
  const { words: doubled } = await located(`<s>${text}`, adding)
  t.deepEqual(doubled.slice(0, 2), ['<s>', '<s>'], 'what is avoided')
})

test('a tokenizer that adds none gets the template’s', async (t) => {
  for (const tokenizer of [plain, ending]) {
    const text = await applyChatTemplate(config, user, { tokenizer })
    t.is(text, `<s>${OPENING}Hello there${CLOSING}`)
    const { words } = await located(text, tokenizer)
    t.is(words.filter((word) => word === '<s>').length, 1)
  }
})

test('a template without a start token is left as it is', async (t) => {
  const bare = { ...config, chat_template: LLAMA.replace('{{- bos_token }}', '') }
  for (const tokenizer of [adding, plain, undefined]) {
    t.is(await applyChatTemplate(bare, user, { tokenizer }), `${OPENING}Hello there${CLOSING}`)
  }
})

test('of several tokens in front, those that the template has are taken off', async (t) => {
  t.is(await applyChatTemplate(config, user, { tokenizer: twofold }), `${OPENING}Hello there${CLOSING}`)
  const both = { ...config, chat_template: `<|head|>${LLAMA}` }
  t.is(await applyChatTemplate(both, user, { tokenizer: twofold }), `${OPENING}Hello there${CLOSING}`)
})

test('without a tokenizer, the configuration says whether the start token is added', async (t) => {
  const say = (add_bos_token) => applyChatTemplate({ ...config, add_bos_token }, user)
  t.is(await say(true), `${OPENING}Hello there${CLOSING}`)
  t.is(await say(false), `<s>${OPENING}Hello there${CLOSING}`)
  await t.throwsAsync(say(undefined), {
    code: 'ERR_TOKENIZER',
    message: /starts with <s>, and it is not known/,
  })
})

test('an opened model’s tokenizer will do', async (t) => {
  const { tokenizer } = await openModel(bundledFile('boxes.onnx'), {
    tokenizer: bundledFile('boxes.tokenizer.json'),
  })
  t.false((await applyChatTemplate(config, user, { tokenizer })).startsWith('<s>'))
})

test('generation prompt, system, further variables and the date', async (t) => {
  const say = (options, messages = user) =>
    applyChatTemplate(config, messages, { tokenizer: adding, ...options })
  t.is(await say({ addGenerationPrompt: false }), `${OPENING}Hello there<|end|>`)
  t.true((await say({ variables: { date_string: 'today' } })).includes('Today Date: today\n'))
  t.true((await say({ date: new Date(Date.UTC(2025, 0, 2)) })).includes('Today Date: 02 Jan 2025\n'))
  t.true(
    (await say({}, [{ role: 'system', content: ' Be brief. ' }, ...user])).includes(
      '2024\n\nBe brief.<|end|>',
    ),
  )
  await t.throwsAsync(say({ generate: true }), { code: 'ERR_ARGUMENT' })
})

test('dates are written as Python writes them', (t) => {
  const date = new Date(Date.UTC(2024, 6, 6, 9, 5, 7))
  t.is(
    formatTime(date, '%A %a %d %B %b %Y %y %m %H:%M:%S %% %Q'),
    'Saturday Sat 06 July Jul 2024 24 07 09:05:07 % %Q',
  )
})

test('templates have what Python gives them', async (t) => {
  const chat_template =
    '{% for i in range(1, 8, 3) %}{{ i }}{% endfor %}{% for i in range(2) %}{{ i }}{% endfor %}' +
    '{{ none is none }}{{ eos_token }}{{ pad_token }}{{ messages[0].content }}'
  const text = await applyChatTemplate({ ...config, chat_template, pad_token: null }, user, {
    tokenizer: adding,
  })
  t.is(text, '14701true<|end|>Hello there')
})

test('named templates: the default one', async (t) => {
  const named = (names) => ({
    ...config,
    chat_template: names.map((name) => ({ name, template: `${name} {{ messages[0].content }}` })),
  })
  const options = { tokenizer: adding }
  t.is(await applyChatTemplate(named(['tool_use', 'default']), user, options), 'default Hello there')
  await t.throwsAsync(applyChatTemplate(named(['tool_use', 'rag']), user, options), {
    code: 'ERR_TEMPLATE',
    message: /there are tool_use, rag/,
  })
})

/** @type {[string, string | undefined, RegExp][]} */
const wrongTemplates = [
  ['no template', undefined, /has no chat_template/],
  ['a template that is none', '{% if %}', /not understood/],
  ['a template that refuses', "{{ raise_exception('users first') }}", /users first/],
  ['a template that calls what is not there', '{{ unheard_of(1) }}', /the chat template failed/],
]
for (const [what, chat_template, message] of wrongTemplates) {
  test(`refuses ${what}`, async (t) => {
    const wrong = { ...config, chat_template }
    await t.throwsAsync(applyChatTemplate(wrong, user, { tokenizer: adding }), {
      code: 'ERR_TEMPLATE',
      message,
    })
  })
}

const CASES = {
  order: boxesOrder({ objects, boxes, prompts: 12, seed: 1 }),
  lexical: boxesLexical({ objects, boxes, prompts: 12, seed: 1 }),
  category: categoryPrompts({ categories, prompts: 12, seed: 1, matching: 2 }),
}
for (const [contrast, prompts] of Object.entries(CASES)) {
  test(`${contrast}: in a chat, positions are the same words`, async (t) => {
    const chats = await withChatTemplate(prompts, config, {
      tokenizer: adding,
      system: 'The apple is in Box O.',
    })
    t.is(chats.length, prompts.length)
    for (const [i, chat] of chats.entries()) {
      const { text, counterfactual } = prompts[i]
      t.true(chat.text.endsWith(`<|head|>user<|tail|>\n\n${text}${CLOSING}`))
      if (counterfactual) {
        t.true(chat.counterfactual.text.includes(counterfactual.text))
      }
      const terms = await termWords(prompts[i], contrast, adding)
      const moved = await termWords(chat, contrast, adding)
      const last = { query: '<|tail|>', queryNeg: '<|tail|>' }
      t.deepEqual(
        moved,
        terms.map((term) => ({ ...term, ...last })),
      )
    }
  })
}

test('match positions are found in the user’s own text', async (t) => {
  const text = ' The pear is in Box A, the ring is in Box B. Which box is the pear in? Box '
  /** @type {import('../dist/index.js').Term[]} */
  const terms = [
    {
      query: { match: 'pear', nth: 1, token: 'first' },
      positive: [{ match: 'Box A' }],
      negative: [{ match: 'Box B', token: 'first' }, { char: [0, 4] }],
    },
  ]
  // The system's message has the same words, and the template trims the user's.
  const system = 'The pear is in Box A, the ring is in Box B'
  const [chat] = await withChatTemplate([{ contrast: 'c', text, terms }], config, {
    tokenizer: adding,
    system,
  })
  const { index, words } = await located(chat.text, adding)
  const start = words.lastIndexOf('user') + 2
  const [{ query, positive, negative }] = chat.terms
  t.deepEqual(words.slice(start, start + 2), ['The', 'pear'])
  t.is(index(positive[0]), start + 5)
  t.is(index(negative[0]), start + 11)
  t.is(index(negative[1]), start)
  t.is(words[index(query)], 'pear')
  t.true(index(query) > start + 15)
})

test('a prefill begins the answer', async (t) => {
  const options = { tokenizer: adding, prefill: 'Box' }
  const [chat] = await withChatTemplate(CASES.order, config, options)
  t.true(chat.text.endsWith(` in?${CLOSING}Box`))
  const [term] = await termWords(chat, 'order', adding)
  t.is(term.query, 'Box')
  t.deepEqual(term.positive, (await termWords(CASES.order[0], 'order', adding))[0].positive)
  const { text } = CASES.order[0]
  const at = (char) => [
    { contrast: 'c', text, terms: [{ query: { char }, positive: [{ match: 'The' }], negative: [-1] }] },
  ]
  const [last] = await withChatTemplate(at([text.length - 3, text.length]), config, options)
  const { index, words } = await located(last.text, adding)
  t.is(index(last.terms[0].query), words.length - 1)
  await t.throwsAsync(withChatTemplate(at([text.length - 7, text.length]), config, options), {
    code: 'ERR_POSITION',
    message: /not in one piece/,
  })
  await t.throwsAsync(withChatTemplate(CASES.category, config, options), {
    code: 'ERR_ARGUMENT',
    message: /prompt category-0: the text does not end with "Box"/,
  })
})

const text = 'The pear is in Box A'
/** @type {[string, object, string, RegExp][]} */
const wrongPrompts = [
  [
    'token ids',
    { tokens: [1, 2], terms: [{ query: -1, positive: [0], negative: [1] }] },
    'ERR_PROMPT',
    /given as "text"/,
  ],
  ['labels', { text, labels: { query: ['a', 'b'] } }, 'ERR_PROMPT', /labels, one a token/],
  [
    'token indices',
    { text, terms: [{ query: -1, positive: [3], negative: [1] }] },
    'ERR_POSITION',
    /the token 3/,
  ],
  [
    'a word that is not there',
    { text, terms: [{ query: -1, positive: [{ match: 'plum' }], negative: [-1] }] },
    'ERR_MATCH',
    /"plum"/,
  ],
]
for (const [what, prompt, code, message] of wrongPrompts) {
  test(`a chat refuses ${what}`, async (t) => {
    const given = /** @type {import('../dist/index.js').Prompt[]} */ ([{ id: 'p', contrast: 'c', ...prompt }])
    await t.throwsAsync(withChatTemplate(given, config, { tokenizer: adding }), { code, message })
    await t.throwsAsync(withChatTemplate(given, config, { tokenizer: adding }), { message: /^prompt p/ })
  })
}

/** @type {[string, string, RegExp][]} */
const CHANGING = [
  ['changes the text', "{{ messages[0].content | replace('Box', 'Crate') }}", /changes the user's text/],
  ['leaves the text out', 'Hello', /exactly once/],
  ['has the text twice', '{{ messages[0].content }} {{ messages[0].content }}', /exactly once/],
]
for (const [what, chat_template, message] of CHANGING) {
  test(`refuses a template that ${what}`, async (t) => {
    const changing = withChatTemplate(CASES.order, { ...config, chat_template }, { tokenizer: adding })
    await t.throwsAsync(changing, { code: 'ERR_TEMPLATE', message })
  })
}

test('configurations are read from files, with a template beside them', async (t) => {
  const file = path.join(folder, 'tokenizer_config.json')
  writeFileSync(file, JSON.stringify({ bos_token: '<s>' }))
  await t.throwsAsync(applyChatTemplate(readTokenizerConfig(file), user), { code: 'ERR_TEMPLATE' })
  writeFileSync(path.join(folder, 'chat_template.jinja'), 'beside {{ messages[0].content }}')
  t.is(await applyChatTemplate(readTokenizerConfig(file), user), 'beside Hello there')
  writeFileSync(file, JSON.stringify({ chat_template: 'inside {{ messages[0].content }}' }))
  t.is(await applyChatTemplate(readTokenizerConfig(file), user), 'inside Hello there')
  writeFileSync(file, '[]')
  t.throws(() => readTokenizerConfig(file), { code: 'ERR_FORMAT' })
  t.throws(() => readTokenizerConfig(path.join(folder, 'none.json')), { code: 'ERR_FILE' })
})
