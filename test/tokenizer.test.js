/** Tokenizers: files that would end the process, pairs of texts, added spaces, and vocabularies of other models. */

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { buildBatch } from '../dist/capture/batch.js'
import { encodePrompt } from '../dist/capture/encode.js'
import { resolvePosition } from '../dist/contrast/positions.js'
import { promptSet } from '../dist/contrast/prompt-set.js'
import { checkTokenPositions } from '../dist/contrast/token-positions.js'
import {
  accumulate,
  attribute,
  capture,
  decompose,
  loadResult,
  openModel,
  readPrompts,
  withChatTemplate,
} from '../dist/index.js'
import { tensorValues } from '../dist/model/inference/values.js'
import { loadTokenizer } from '../dist/model/tokenizer/tokenizer.js'
import { runCommand } from './helpers/command.js'
import { temporaryFolder } from './helpers/files.js'
import { ENERGY } from './helpers/rank-rules.js'
import { bertLike, sentencepieceLike, writeTokenizer } from './helpers/small-tokenizers.js'
import { writeTinyModel } from './helpers/tiny-model.js'

const folder = temporaryFolder(test)
let files = 0
const written = (json) => writeTokenizer(path.join(folder, `${files++}.json`), json)

const WORDS = ['the', 'a', 'cup', 'box', 'is', 'in']
const bert = bertLike(WORDS)
const template = bert.post_processor
const [cls, first] = template.single
const unknown = { SpecialToken: { id: 'x', type_id: 0 } }
const bpe = sentencepieceLike(['t h', 'th e'])
const sequence = (name, ...steps) => ({ type: 'Sequence', [name]: steps })
const replace = (pattern) => ({ type: 'Replace', pattern, content: '_' })

// Each of these ends the process in the native package: on loading, or with the first text.
/** @type {[string, object, RegExp][]} */
const fatal = [
  [
    'a template of an unknown token',
    { ...bert, post_processor: { ...template, single: [unknown, first] } },
    /post_processor \(TemplateProcessing\) names the token "x" in "single".*"special_tokens"/,
  ],
  [
    'a pair template of an unknown token',
    { ...bert, post_processor: { ...template, pair: [cls, first, unknown] } },
    /"x" in "pair"/,
  ],
  [
    'such a template in a sequence',
    { ...bert, post_processor: sequence('processors', { ...template, special_tokens: {} }) },
    /"\[CLS\]" in "single"/,
  ],
  [
    'the second text in a template of one',
    { ...bert, post_processor: { ...template, single: [{ Sequence: { id: 'B', type_id: 0 } }] } },
    /"B" in "single"/,
  ],
  [
    'an empty text to prepend',
    { ...bert, normalizer: { type: 'Prepend', prepend: '' } },
    /normalizer \(Prepend\)/,
  ],
  [
    'an empty text to replace',
    { ...bert, normalizer: sequence('normalizers', replace({ String: '' })) },
    /normalizer \(Replace\)/,
  ],
  [
    'pieces of no length',
    { ...bert, pre_tokenizer: { type: 'FixedLength', length: 0 } },
    /pre_tokenizer \(FixedLength\)/,
  ],
  [
    'merges that do not go on',
    { ...bpe, model: { ...bpe.model, continuing_subword_prefix: '##' } },
    /model \(BPE\).*"##".*merge 0/,
  ],
  [
    'a prefix that cuts a letter',
    { ...bpe, model: { ...bpe.model, merges: [['t', 'é']], continuing_subword_prefix: '#' } },
    /merge 0/,
  ],
  [
    'a table that is none',
    { ...bert, normalizer: { type: 'Precompiled', precompiled_charsmap: 'AAAA' } },
    /normalizer \(Precompiled\) cannot be used: .*Cannot parse/,
  ],
  [
    'a table that leads out of itself',
    {
      ...bert,
      normalizer: sequence('normalizers', { type: 'Precompiled', precompiled_charsmap: 'BAAAAAEAAABhYmM=' }),
    },
    /normalizer \(Precompiled\) cannot be used: index out of bounds/,
  ],
]
for (const [what, json, message] of fatal) {
  test(`a file with ${what} is refused when it is loaded`, async (t) => {
    const file = written(json)
    const error = await t.throwsAsync(loadTokenizer(file), { code: 'ERR_TOKENIZER', message })
    t.true(error.message.startsWith(`${file}: `))
  })
}

test('what the native package refuses by itself names the file too', async (t) => {
  for (const json of [
    '{',
    '[]',
    'null',
    '{}',
    { ...bert, model: { type: 'None' } },
    { ...bert, normalizer: replace({ Regex: '(' }) },
  ]) {
    const file = written(json)
    const error = await t.throwsAsync(loadTokenizer(file), { code: 'ERR_TOKENIZER' })
    t.true(error.message.includes(file))
  }
  const lost = written({ ...bert, model: { ...bert.model, unk_token: '[NONE]' } })
  const tokenizer = await loadTokenizer(lost)
  const error = await t.throwsAsync(tokenizer.encode('zebra'), {
    code: 'ERR_TOKENIZER',
    message: /cannot encode "zebra"/,
  })
  t.true(error.message.includes(lost))
})

const located = async (tokenizer, text, pair) => {
  const tokens = await tokenizer.encode(text, pair)
  return { length: tokens.ids.length, text, pair, tokens }
}

test('a space that the tokenizer adds is no part of a position', async (t) => {
  // The beginning has a token that is only the added space, then one with a space of its own.
  for (const [merges, text, expected] of [
    [[], 'Box the', ['▁', 'B', 'o', 'x', '▁', 't', 'h', 'e']],
    [['▁ t', 't h', 'h e'], 'Box the', ['▁', 'B', 'o', 'x', '▁t', 'he']],
    [['▁ B', 't h'], 'Box the', ['▁B', 'o', 'x', '▁', 'th', 'e']],
  ]) {
    const tokenizer = await loadTokenizer(written(sentencepieceLike(merges)))
    const run = await located(tokenizer, text)
    const tokens = run.tokens.ids.map(tokenizer.token)
    t.deepEqual(tokens, expected)
    const at = (position) => tokens[resolvePosition(position, run, 'here')]
    const starts = merges.includes('▁ B') ? '▁B' : 'B'
    t.is(at({ match: 'Box', token: 'first' }), starts)
    t.is(at({ match: 'B', token: 'first' }), starts)
    t.is(at({ char: [0, 1], token: 'first' }), starts)
    t.is(at({ char: [0, 1] }), starts)
    t.is(at({ match: 'Box' }), 'x')
    const word = { '▁ t': '▁t', '▁ B': 'th' }[merges[0]] ?? 't'
    t.is(at({ match: 'the', token: 'first' }), word)
    t.is(at({ match: ' the', token: 'first' }), word)
    t.is(at({ match: 'x the', token: 'first' }), 'x')
  }
})

test('added spaces: a single letter, beyond the basic plane, behind a special token, in text that has a space', async (t) => {
  const tokenizer = await loadTokenizer(written(sentencepieceLike([])))
  const at = async (text, position) => {
    const run = await located(tokenizer, text)
    return resolvePosition({ ...position, token: 'first' }, run, '')
  }
  t.is(await at('a', { match: 'a' }), 1)
  t.is(await at('é a', { match: 'é' }), 1)
  t.is(await at('😀 a', { match: '😀' }), 1)
  t.is(await at('<s>ab', { match: 'a' }), 2)
  t.is(await at(' ab', { match: 'a' }), 1)
  const prepend = sentencepieceLike([], {
    pre_tokenizer: null,
    normalizer: sequence(
      'normalizers',
      { type: 'Prepend', prepend: '▁' },
      { ...replace({ String: ' ' }), content: '▁' },
    ),
  })
  const llama = await loadTokenizer(written(prepend))
  const run = await located(llama, 'a the')
  t.deepEqual(run.tokens.ids.map(llama.token), ['▁', 'a', '▁', 't', 'h', 'e'])
  t.is(resolvePosition({ match: 'a', token: 'first' }, run, ''), 1)
  t.is(resolvePosition({ match: 'the', token: 'first' }, run, ''), 3)
  // A character that spaces are written as, in the text itself, is what it is.
  t.deepEqual((await llama.encode('▁')).spans.at(-1), [0, 1])
})

const pairs = { text: 'the cup is', pair: 'the box 😀 is' }

test('pairs: the tokenizer’s own template, token types and positions in either text', async (t) => {
  const tokenizer = await loadTokenizer(written(bert))
  const run = await located(tokenizer, pairs.text, pairs.pair)
  // As transformers' tokenizer(text, pair): input_ids, token_type_ids.
  t.deepEqual(run.tokens.ids, [2, 4, 6, 8, 3, 4, 7, 1, 8, 3])
  t.deepEqual(run.tokens.segments, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
  t.deepEqual(run.tokens.spans.slice(5), [
    [0, 3],
    [4, 7],
    [8, 10],
    [11, 13],
    [0, 0],
  ])
  const at = (position) => resolvePosition(position, run, 'here')
  t.is(at({ match: 'the' }), 1)
  t.is(at({ match: 'the', in: 'text' }), 1)
  t.is(at({ match: 'the', in: 'pair' }), 5)
  t.is(at({ char: [11, 13], in: 'pair' }), 8)
  t.is(at({ match: 'the box', in: 'pair', token: 'first' }), 5)
  t.is(at(-1), 9)
  t.throws(() => at({ match: 'box' }), { code: 'ERR_MATCH' })
  t.throws(() => at({ match: 'cup', in: 'pair' }), { code: 'ERR_MATCH' })
  t.throws(() => at({ match: 'cup', in: 'both' }), {
    code: 'ERR_POSITION',
    message: /"in" is "text" or "pair"/,
  })
  const alone = await located(tokenizer, pairs.text)
  t.throws(() => resolvePosition({ match: 'is', in: 'pair' }, alone, 'here'), {
    code: 'ERR_POSITION',
    message: /with a "pair"/,
  })
})

const modelOptions = { segments: true, mask: 'none' }
/** @type {import('../dist/index.js').Term} */
const term = {
  query: { match: 'cup' },
  positive: [{ match: 'cup', in: 'pair' }],
  negative: [{ match: 'the', in: 'pair' }],
}

test('pairs: token types reach the model, alone, in batches and in counterfactuals', async (t) => {
  const model = await openModel(writeTinyModel(folder, modelOptions), { tokenizer: written(bert) })
  const both = await capture(model, { text: 'a cup', pair: 'the cup' })
  t.deepEqual(both.tokens, [2, 5, 6, 3, 4, 6, 3])
  // In the second text, "cup" (6) is what "box" (7) is in the first.
  const swapped = await capture(model, { tokens: [2, 5, 6, 3, 4, 7, 3] })
  const queries = ({ activations }) =>
    activations['blocks.0.attn.hook_q'] ?? activations['blocks.0.attn.hook_rot_q']
  const row = (found, position) => {
    const { data, shape } = queries(found)
    const width = shape[2] * shape[3]
    return [...data.subarray(position * width, (position + 1) * width)]
  }
  const near = (a, b) => a.every((x, i) => Math.abs(x - b[i]) < 1e-5)
  t.true(near(row(both, 5), row(swapped, 5)))
  t.true(near(row(both, 2), row(swapped, 2)))
  t.false(near(row(both, 4), row(swapped, 4)))

  const prompt = { contrast: 'c', text: 'a cup', pair: 'the cup', terms: [term] }
  /** @type {import('../dist/index.js').Prompt} */
  const other = {
    contrast: 'd',
    text: 'a cup',
    pair: 'the cup',
    terms: [{ query: term.query, positive: term.positive }],
    counterfactual: {
      text: 'a cup',
      pair: 'cup the cup',
      terms: [{ query: term.query, negative: [{ match: 'cup', nth: 1, in: 'pair' }] }],
    },
  }
  const encoded = []
  for await (const placed of promptSet([prompt, other])) {
    encoded.push(await encodePrompt(model, placed))
  }
  t.deepEqual(encoded[0].rules[0].terms[0].positive, [5])
  t.deepEqual(encoded[1].rules[0].terms[0].negative, [6])
  t.deepEqual(encoded[1].runs[1].segments, [0, 0, 0, 0, 1, 1, 1, 1])
  const batch = buildBatch(encoded, ['c', 'd'], model.inputs, { size: 2, padded: true, mostRuns: () => 8 }, 0)
  const types = tensorValues(batch.inferences[0].feeds.token_type_ids)
  t.is(types.join(''), '000011100000111000001111')
  await t.notThrowsAsync(accumulate(model, [prompt, other]))
  await t.notThrowsAsync(checkTokenPositions([prompt, other], model.tokenizer))
})

test('pairs that are none are refused', async (t) => {
  const model = await openModel(writeTinyModel(folder, modelOptions), { tokenizer: written(bert) })
  const refused = (prompt, message) =>
    t.throwsAsync(accumulate(model, [{ contrast: 'c', terms: [term], ...prompt }]), {
      code: 'ERR_PROMPT',
      message,
    })
  await refused({ text: 'a cup', pair: 3 }, /"pair" is a string/)
  await refused({ tokens: [1, 2], pair: 'the cup' }, /"pair" is a string, the second text beside "text"/)
  await refused({ text: 'a cup', pair: 'the cup', answer: 'box' }, /prompt of one text/)
  await t.throwsAsync(capture(model, { text: 'a', pair: 'a' }, { newTokens: 1 }), { code: 'ERR_PROMPT' })
  const chat = { chat_template: '{{ messages[0].content }}' }
  await t.throwsAsync(
    withChatTemplate([{ contrast: 'c', text: 'a cup', pair: 'the cup', terms: [term] }], chat),
    { code: 'ERR_PROMPT', message: /"pair"/ },
  )
})

const plain = (more = {}) => ({
  contrast: 'c',
  text: 'the cup is in the box',
  terms: [{ query: -1, positive: [2], negative: [3] }],
  ...more,
})

test('a tokenizer with more ids than the table has rows, or far fewer, is warned of', async (t) => {
  const file = written(bert)
  const opened = (vocabulary, tokenizer = file) =>
    openModel(writeTinyModel(folder, { vocabulary }), { tokenizer })
  for (const rows of [10, 11, 12, 200, 266]) {
    t.deepEqual((await opened(rows)).warnings, [], `${rows}`)
  }
  for (const rows of [8, 9, 267, 1000]) {
    const [warning, ...more] = (await opened(rows)).warnings
    t.is(
      warning,
      `${file} has 10 token ids, and the model's table of embeddings ${rows} rows: is it the tokenizer of this model?`,
    )
    t.is(more.length, 0)
  }
})

test('added tokens that do not get the ids of the file are warned of', async (t) => {
  const [pad] = bert.added_tokens
  const file = written({ ...bert, added_tokens: [...bert.added_tokens, { ...pad, id: 40, content: '[X]' }] })
  const { size, warnings } = await loadTokenizer(file)
  t.is(size, 11)
  t.deepEqual(warnings, [
    `${file}: 1 added tokens do not get the ids that the file gives them: "[X]" has 40 and gets 10`,
  ])
  const model = await openModel(writeTinyModel(folder, { vocabulary: 11 }), { tokenizer: file })
  t.deepEqual(model.warnings, warnings)
})

test('ids beyond the table are refused before the model runs, with file, token and id', async (t) => {
  const file = written(bert)
  const model = await openModel(writeTinyModel(folder, { vocabulary: 9 }), { tokenizer: file })
  t.is(model.vocabulary, 9)
  const set = path.join(folder, 'beyond.jsonl')
  writeFileSync(set, JSON.stringify(plain()))
  const error = await t.throwsAsync(accumulate(model, readPrompts(set)), { code: 'ERR_PROMPT' })
  t.true(
    error.message.startsWith(
      `${set}:1: token 4 has the id 9 ("in" in ${file}), and the model's table of embeddings has 9 rows`,
    ),
  )
  await t.throwsAsync(accumulate(model, [plain({ text: undefined, tokens: [1, 2, 9] })]), {
    code: 'ERR_PROMPT',
    message: /token 2 has the id 9, and the model's table of embeddings has 9 rows/,
  })
  await t.throwsAsync(
    capture(model, {
      inputs: { input_ids: { data: [1, 9], shape: [1, 2] }, attention_mask: { data: [1, 1], shape: [1, 2] } },
    }),
    { code: 'ERR_PROMPT', message: /id 9/ },
  )
})

test('words that the tokenizer does not know are counted and named, and go with sums, results and reports', async (t) => {
  const model = await openModel(writeTinyModel(folder, { vocabulary: 10 }), { tokenizer: written(bert) })
  const known = await accumulate(model, [plain()])
  t.deepEqual(known.warnings, [])
  t.false('warnings' in (await decompose(known, { rank: ENERGY })).info)
  const prompts = [
    plain(),
    plain({ id: 'odd', text: 'the zebra is in a zebra-box, the cup' }),
    plain({ text: '[UNK] is the cup in' }),
  ]
  const sums = await accumulate(model, prompts)
  // "-" and "," too.
  const warning =
    '4 of 28 tokens are words that the tokenizer does not know, first in prompt odd: "zebra", "zebra-box,"'
  t.deepEqual(sums.warnings, [warning])
  const result = await decompose(sums, { rank: ENERGY })
  const saved = path.join(folder, 'r.safetensors')
  await result.save(saved)
  t.deepEqual((await loadResult(saved)).info.warnings, [warning])
  // They are the prompts of the result, which is said first.
  const { warnings } = await attribute(model, prompts, { result, points: 0 })
  t.is(warnings.length, 2)
  t.regex(warnings[0], /made from these very prompts/)
  t.is(warnings[1], warning)
})

test('decompose prints each warning once, on standard error', async (t) => {
  const set = path.join(folder, 'odd.jsonl')
  writeFileSync(
    set,
    `${JSON.stringify(plain())}\n${JSON.stringify(plain({ text: 'the zebra is in the cup' }))}`,
  )
  const args = [
    'decompose',
    '--model',
    writeTinyModel(folder, { vocabulary: 900 }),
    '--tokenizer',
    written(bert),
    '--prompts',
    set,
    '--out',
    'r.safetensors',
    '--rank',
    'energy:0.99',
    '--json',
  ]
  const { stdout, stderr, status } = await runCommand(folder, args)
  t.is(status, 0, stderr)
  t.is(stderr.match(/qkspace: warning: .* table of embeddings 900 rows/g).length, 1)
  t.is(stderr.match(/1 of 16 tokens .*odd\.jsonl:2: "zebra"/g).length, 1)
  t.is(JSON.parse(stdout).warnings.length, 2)
})
