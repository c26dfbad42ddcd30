/** Program of a child process: normalises texts with the normalizer from standard input, or crashes. */

import { readFileSync } from 'node:fs'
import { Tokenizer } from 'tokenizers'

const normalizer: unknown = JSON.parse(readFileSync(0, 'utf8'))

const tokenizer = Tokenizer.fromString(
  JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: { type: 'WordLevel', vocab: { x: 0 }, unk_token: 'x' },
  }),
)

/** Characters of all alphabetic scripts, punctuation, some CJK, and characters beyond the basic plane. */
function* characters(): Generator<string> {
  for (const [from, to] of [
    [0x00, 0x3200],
    [0x4e00, 0x4e40],
    [0xac00, 0xac40],
    [0xf900, 0xfa00],
    [0xfb00, 0xfffe],
    [0x1d400, 0x1d440],
    [0x1f600, 0x1f640],
  ]) {
    for (let code = from; code < to; code++) {
      yield String.fromCodePoint(code)
    }
  }
}

const texts = [
  '',
  ' ',
  'a',
  'A',
  '1',
  '.',
  '\n',
  'é',
  'The box, it is\tin  Box 12.\n',
  [...characters()].join(''),
]
for (const text of texts) {
  await tokenizer.encode(text)
}
