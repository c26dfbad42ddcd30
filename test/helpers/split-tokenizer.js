/** A WordPiece tokenizer that splits some words in two, as "apple" into "app" and "##le". */

import { writeFileSync } from 'node:fs'

/** Writes a tokenizer that knows every word of the texts, whole, or in two pieces if it is one of `split`. */
export function writeSplitTokenizer(file, texts, split) {
  const words = new Set(texts.flatMap((text) => text.match(/\w+|[^\w\s]+/g)))
  for (const word of split) {
    words.delete(word)
    words.add(word.slice(0, -2))
  }
  for (const word of split) {
    // WordPiece takes the longest beginning that it knows, be it another word's.
    let known = word.length - 1
    while (!words.has(word.slice(0, known))) {
      known -= 1
    }
    words.add(`##${word.slice(known)}`)
  }
  const vocab = Object.fromEntries(['[UNK]', ...words].map((word, i) => [word, i]))
  writeFileSync(
    file,
    JSON.stringify({
      version: '1.0',
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: { type: 'Whitespace' },
      post_processor: null,
      decoder: null,
      model: {
        type: 'WordPiece',
        unk_token: '[UNK]',
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
        vocab,
      },
    }),
  )
  return file
}
