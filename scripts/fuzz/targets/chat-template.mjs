import { applyChatTemplate, readTokenizerConfig } from '../../../dist/contrast/chat-template.js'
import { changedBytes, changedJson, changedText } from '../mutate.mjs'

const TEMPLATES = [
  "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] | trim + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
  "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set s = messages[0].content %}{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}{% for m in loop_messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endfor %}",
  "{%- macro show(m) -%}{{ m.role | upper }}: {{ m.content | replace('a', 'b') }}{%- endmacro -%}{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ show(m) }}{{ ns.n }}{% endfor %}{{ strftime_now('%d %b %Y') }}{{ messages | tojson(indent=2) }}",
]
const WORDS = [
  '{{',
  '}}',
  '{%',
  '%}',
  '{#',
  '#}',
  '-%}',
  '|',
  '(',
  ')',
  '[',
  ']',
  '.',
  ',',
  '~',
  '%',
  '//',
  '**',
  ':',
  "'",
  'for',
  'in',
  'endfor',
  'if',
  'elif',
  'else',
  'endif',
  'set',
  'endset',
  'macro',
  'call',
  'filter',
  'break',
  'range',
  'loop',
  'messages',
  'namespace',
  'strftime_now',
  'raise_exception',
  'none',
  'true',
  'is',
  'defined',
  'join',
  'map',
  'selectattr',
  'sort',
  'length',
  'tojson',
  'items',
  'split',
  'strip',
  'not',
  'and',
  'or',
  'loop.cycle',
]

/** Configurations with a template, its pieces, the other fields or any bytes changed. */
export const target = {
  extension: 'json',
  prepare: async () =>
    TEMPLATES.flatMap((template) => [
      { bos_token: '<s>', eos_token: { content: '</s>' }, add_bos_token: true, chat_template: template },
      {
        eos_token: '</s>',
        chat_template: [
          { name: 'default', template },
          { name: 'tool', template },
        ],
      },
    ]),
  make: (random, seeds) => {
    const seed = random.pick(seeds)
    const kind = random.next()
    if (kind < 0.2) {
      return Buffer.from(JSON.stringify(changedJson(random, seed)) ?? '')
    }
    if (kind < 0.3) {
      return changedBytes(random, Buffer.from(JSON.stringify(seed)))
    }
    const template = changedText(random, random.pick(TEMPLATES), WORDS)
    return Buffer.from(JSON.stringify({ ...seed, chat_template: template }))
  },
  run: async (file) => {
    const config = readTokenizerConfig(file)
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'What is in the box?' },
      { role: 'assistant', content: 'A cat.' },
    ]
    await applyChatTemplate(config, messages)
  },
}
