import { readFileSync } from 'node:fs'
import { bundledFile } from '../../../dist/bundled/files.js'
import { loadTokenizer } from '../../../dist/model/tokenizer/tokenizer.js'
import { bertLike, sentencepieceLike } from '../../../test/helpers/small-tokenizers.js'
import { changedBytes, changedJson } from '../mutate.mjs'

const TEXTS = ['', ' ', 'The box has a cat.', 'é𝒳 12\n\t<s>', 'x'.repeat(300)]

const NORMALIZERS = {
  type: 'Sequence',
  normalizers: [
    { type: 'Prepend', prepend: '▁' },
    { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    { type: 'NFKC' },
    { type: 'Strip', strip_left: true, strip_right: false },
    {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
  ],
}
const DECODERS = {
  type: 'Sequence',
  decoders: [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: 1, stop: 0 },
  ],
}
const PRE_TOKENIZERS = {
  type: 'Sequence',
  pretokenizers: [
    { type: 'Split', pattern: { Regex: '\\p{N}{1,3}' }, behavior: 'Isolated', invert: false },
    { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    { type: 'Digits', individual_digits: true },
    { type: 'Punctuation', behavior: 'Isolated' },
  ],
}
const UNIGRAM = {
  type: 'Unigram',
  unk_id: 0,
  byte_fallback: false,
  vocab: ['<unk>', '▁', 'T', 'h', 'e', '▁the', 'box', 'a'].map((token, i) => [token, -i]),
}

/** Tokenizers of every model, with fields or any bytes changed; loaded, and used on a few texts. */
export const target = {
  extension: 'json',
  prepare: async () => {
    const bundled = JSON.parse(readFileSync(bundledFile('boxes.tokenizer.json'), 'utf8'))
    const pieces = sentencepieceLike(['▁ t', '▁t h', '▁th e'])
    return [
      bundled,
      bertLike(['the', 'box', 'has', 'a', '##s', 'cat']),
      pieces,
      { ...pieces, normalizer: NORMALIZERS, decoder: DECODERS, pre_tokenizer: PRE_TOKENIZERS },
      { ...bundled, model: UNIGRAM, post_processor: { type: 'ByteLevel', trim_offsets: true } },
    ]
  },
  make: (random, seeds) => {
    const seed = random.pick(seeds)
    if (random.next() < 0.15) {
      return changedBytes(random, Buffer.from(JSON.stringify(seed)))
    }
    return Buffer.from(JSON.stringify(changedJson(random, seed)) ?? '')
  },
  run: async (file) => {
    const tokenizer = await loadTokenizer(file)
    for (const text of TEXTS) {
      const { ids } = await tokenizer.encode(text)
      for (const id of ids) {
        tokenizer.token(id)
      }
    }
    await tokenizer.encode('a b', 'c d')
  },
}
