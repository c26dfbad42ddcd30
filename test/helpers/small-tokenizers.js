/** Tokenizers of a few words, as BERT's and as sentencepiece ones are. */

import { writeFileSync } from 'node:fs'

const added = (content, id) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
})
const piece = (kind, id, type = 0) => ({ [kind]: { id, type_id: type } })

/** `[CLS] A [SEP] B [SEP]`, words whole; ids 0 to 3 are special, then the words in order. */
export function bertLike(words) {
  const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]']
  const of = (token) => ({ id: token, ids: [special.indexOf(token)], tokens: [token] })
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map(added),
    normalizer: { type: 'Lowercase' },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [piece('SpecialToken', '[CLS]'), piece('Sequence', 'A'), piece('SpecialToken', '[SEP]')],
      pair: [
        piece('SpecialToken', '[CLS]'),
        piece('Sequence', 'A'),
        piece('SpecialToken', '[SEP]'),
        piece('Sequence', 'B', 1),
        piece('SpecialToken', '[SEP]', 1),
      ],
      special_tokens: { '[CLS]': of('[CLS]'), '[SEP]': of('[SEP]') },
    },
    decoder: null,
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries([...special, ...words].map((word, id) => [word, id])),
    },
  }
}

/** Characters and a few words; the space before a word is a token of its own unless a merge takes it in. */
export function sentencepieceLike(merges, more = {}) {
  const characters = [...'▁abcdefghijklmnopqrstuvwxyzBTé']
  const pieces = ['<unk>', '<s>', ...characters, ...merges.map((merge) => merge.replace(' ', ''))]
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [added('<unk>', 0), added('<s>', 1)],
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    post_processor: null,
    decoder: null,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(pieces.map((token, id) => [token, id])),
      merges,
    },
    ...more,
  }
}

export function writeTokenizer(file, json) {
  writeFileSync(file, typeof json === 'string' ? json : JSON.stringify(json))
  return file
}
