/** Damaged and foreign files: every reader says what is wrong and where, and takes no more memory than the file has bytes. */

import { spawnSync } from 'node:child_process'
import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { bundledFile } from '../dist/bundled/files.js'
import { promptsFromInput } from '../dist/contrast/prompt-set.js'
import { accumulate, capture, loadResult, openModel, readActivations, readPrompts } from '../dist/index.js'
import { fileHash } from '../dist/store/file-hash.js'
import { readNpy } from '../dist/store/npy.js'
import { readSafetensors } from '../dist/store/safetensors.js'
import { withFields } from './helpers/damage.js'
import { temporaryFolder } from './helpers/files.js'
import { boxesResult } from './helpers/small-results.js'

const folder = temporaryFolder(test)
const at = (name) => path.join(folder, name)

/** A safetensors file with this header, and so many bytes behind it. */
function writeRaw(name, header, bytes) {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  writeFileSync(at(name), Buffer.concat([length, json, Buffer.alloc(bytes)]))
  return at(name)
}

const f32 = (shape, from, to) => ({ dtype: 'F32', shape, data_offsets: [from, to] })

/** @type {Record<string, [string | object, RegExp]>} */
const headers = {
  'tensors that overlap': [{ a: f32([2], 0, 8), b: f32([2], 4, 12) }, /tensor b begins at byte 4, inside/],
  'one range for two tensors': [{ a: f32([4], 0, 16), b: f32([4], 0, 16) }, /tensor b begins at byte 0/],
  'a tensor twice': [
    '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}',
    /tensor a begins at byte 8, behind bytes of no tensor/,
  ],
  'bytes behind the last tensor': [{ a: f32([2], 0, 8) }, /8 bytes behind its last tensor/],
  'a tensor outside the file': [{ a: f32([8], 0, 32) }, /lies at bytes 0 to 32/],
  'a shape of another size': [{ a: f32([3], 0, 16) }, /expected 12 bytes/],
  'metadata that is null': ['{"__metadata__":null}', /its metadata is not an object/],
  'metadata that is a list': ['{"__metadata__":[1]}', /its metadata is not an object/],
  'metadata that is no text': ['{"__metadata__":{"qkspace":5}}', /"qkspace" of its metadata is not a text/],
  'a tensor that is null': ['{"a":null}', /tensor a is malformed/],
  'offsets that are null': ['{"a":{"dtype":"F32","shape":[1],"data_offsets":null}}', /tensor a is malformed/],
  'a list for a header': ['[1,2,3]', /header is not a JSON object/],
  'null for a header': ['null', /header is not a JSON object/],
}

for (const [what, [header, message]] of Object.entries(headers)) {
  test(`safetensors: ${what} is refused`, async (t) => {
    const file = writeRaw(`${what.replaceAll(' ', '-')}.safetensors`, header, 16)
    await t.throwsAsync(readSafetensors(file), { code: 'ERR_FORMAT', message })
    await t.throwsAsync(loadResult(file), { code: 'ERR_FORMAT', message })
    await t.throwsAsync(readActivations(file), { code: 'ERR_FORMAT', message })
  })
}

test('safetensors: a thousand names for the same bytes do not take a thousand times the memory', async (t) => {
  const header = Object.fromEntries(
    Array.from({ length: 1000 }, (_, i) => [`t${i}`, f32([2 ** 18], 0, 2 ** 20)]),
  )
  const file = writeRaw('doubled.safetensors', header, 2 ** 20)
  const before = process.memoryUsage().arrayBuffers
  await t.throwsAsync(readSafetensors(file), { code: 'ERR_FORMAT' })
  t.true(process.memoryUsage().arrayBuffers - before < 2 ** 24)
})

test('files of captures: a document that is none is refused', async (t) => {
  const good = { heads: ['L0H0'], kvHeads: [0], keyHeads: [0], hooks: { q: 'blocks.0.attn.hook_q' } }
  for (const [document, message] of [
    ['{', /metadata: the document is not JSON/],
    [undefined, /metadata: the document is not JSON/],
    ['null', /metadata: the document is null, expected an object/],
    ['{"sites":[]}', /metadata: prompts is missing/],
    [JSON.stringify({ sites: null, prompts: [] }), /sites is null, expected a list/],
    [
      JSON.stringify({ sites: [{ ...good, hooks: null }], prompts: [] }),
      /sites\.0\.hooks is null, expected an object/,
    ],
    [
      JSON.stringify({ sites: [{ ...good, kvHeads: ['0'] }], prompts: [] }),
      /sites\.0\.kvHeads is a list, expected a list of/,
    ],
  ]) {
    const metadata = { format: 'qkspace-capture', ...(document !== undefined && { qkspace: document }) }
    const file = writeRaw('captures.safetensors', { __metadata__: metadata }, 0)
    await t.throwsAsync(readActivations(file), { code: 'ERR_FORMAT', message })
  }
})

test('results: tensors that are not of the rank and the head dimension are refused', async (t) => {
  const result = await boxesResult(
    { rank: { rule: 'fixed', rank: 2 }, nulls: 2 },
    { heads: 'L3H0', prompts: 24 },
  )
  const { info } = result
  const file = at('shapes.safetensors')
  const d = info.sites[0].headDim
  const tensors = new Map(result.tensorParts().tensors())
  const write = async (changed) => {
    const entries = { __metadata__: result.tensorParts().metadata() }
    const parts = []
    let end = 0
    for (const [name, { data, shape }] of tensors) {
      const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
      const dtype = data instanceof Float32Array ? 'F32' : 'F64'
      entries[name] = {
        dtype,
        shape: changed[name.replace('L3H0.order.', '')] ?? shape,
        data_offsets: [end, end + bytes.length],
      }
      end += bytes.length
      parts.push(bytes)
    }
    writeFileSync(writeRaw('shapes.safetensors', entries, 0), Buffer.concat(parts), { flag: 'a' })
  }
  await write({})
  t.is((await loadResult(file)).head('L3H0').contrast('order').headDim, d)
  /** @type {[string, number[]][]} */
  const wrong = [
    ['u', [2, d]],
    ['u', [2 * d]],
    ['v', [1, 2 * d]],
    ['s', [1, 2]],
    ['null_u', [2, 2, d]],
    ['null_v', [1, 2 * d, 2]],
    ['mean_query', [1, d]],
    ['key_components', [2, tensors.get('L3H0.order.key_components').data.length / 2]],
  ]
  for (const [part, shape] of wrong) {
    await write({ [part]: shape })
    const message = new RegExp(
      `the tensor L3H0\\.order\\.${part} has the shape \\[${shape.join(', ')}\\], expected \\[`,
    )
    await t.throwsAsync(loadResult(file), { code: 'ERR_FORMAT', message }, part)
  }
})

test('results: a document whose fields are something else is refused with the place of the field', async (t) => {
  const result = await boxesResult({ nulls: 2 }, { heads: 'L3H0', prompts: 24 })
  const load = (info) => {
    const metadata = { format: 'qkspace-result', qkspace: JSON.stringify(info) }
    return loadResult(writeRaw('fields.safetensors', { __metadata__: metadata }, 0))
  }
  const info = JSON.parse(JSON.stringify(result.info))
  // What is fine lacks no field, only its tensors.
  await t.throwsAsync(load(info), { message: /lacks the tensor L3H0\.order\.u/ })
  let tried = 0
  for (const { place, changed } of withFields(info, {
    free: /example\.|sites\.\d+\.(?!layer|kind$|heads|kvHeads|headDim|hooks)/,
  })) {
    /** @type {import('../dist/index.js').QkError} */
    const { message, code } = await t.throwsAsync(load(changed), undefined, place)
    t.is(code, 'ERR_FORMAT', place)
    if (place !== 'format' && place !== 'formatVersion') {
      t.true(message.includes(place.replace(/(\.\d+)+$/, '')), `${place}: ${message}`)
    }
    tried += 1
  }
  t.true(tried > 50)
  const twice = structuredClone(info)
  twice.heads.L3H0.match = twice.heads.L3H0.order
  await t.throwsAsync(load(twice), {
    code: 'ERR_FORMAT',
    message: /heads\.L3H0 has a contrast "match", which the prompts/,
  })
  const none = structuredClone(info)
  none.heads.L3H0 = {}
  await t.throwsAsync(load(none), { code: 'ERR_FORMAT', message: /heads\.L3H0 has no contrast "order"/ })
})

const term = { query: -1, positive: [1], negative: [2] }
/** @type {Record<string, [string | object, RegExp]>} */
const lines = {
  'contrasts that are null': [{ text: 'a', contrasts: null }, /"contrasts" is an object/],
  'a contrast that is null': [{ text: 'a', contrasts: { c: null } }, /contrast "c" is an object/],
  'a contrast called __proto__': [
    '{"text":"a","contrasts":{"__proto__":{"terms":[]}}}',
    /cannot name a contrast/,
  ],
  'terms that are null': [{ text: 'a', contrast: 'c', terms: null }, /"terms" is a list/],
  'a term that is null': [{ text: 'a', contrast: 'c', terms: [null] }, /term 0 is an object/],
  'a positive that is null': [
    { text: 'a', contrast: 'c', terms: [{ ...term, positive: null }] },
    /"positive" is a list/,
  ],
  'labels that are null': [{ text: 'a', contrast: 'c', labels: null }, /"labels" is an object/],
  'labels of null': [{ text: 'a', contrast: 'c', labels: { query: null } }, /labels\.query is a list/],
  'a key that is null': [
    { text: 'a', contrast: 'c', labels: { query: [1], key: null } },
    /labels\.key is a list/,
  ],
  'names of keys that are null': [
    { text: 'a', contrast: 'c', terms: [term], keyNames: null },
    /"keyNames" is an object/,
  ],
  'a counterfactual that is null': [
    { text: 'a', contrast: 'c', terms: [term], counterfactual: null },
    /counterfactual: it is an object/,
  ],
  'tokens that are null': [{ tokens: null, contrast: 'c', terms: [term] }, /"tokens" is a list/],
  'inputs that are null': [{ inputs: null, contrast: 'c', terms: [term] }, /"inputs" is an object/],
  'an input that is null': [{ inputs: { x: null }, contrast: 'c', terms: [term] }, /input "x" is/],
  'an id that is no text': [{ id: { a: 1 }, text: 'a', contrast: 'c', terms: [term] }, /"id" is a text/],
  'a group that is no text': [{ group: 7, text: 'a', contrast: 'c', terms: [term] }, /"group" is a text/],
  'an answer that is a list': [{ answer: [], text: 'a', contrast: 'c', terms: [term] }, /"answer" is a text/],
  'a prompt that is null': ['null', /a prompt is an object/],
  'half a line': ['{"text":', /not JSON/],
  'bytes that are not UTF-8': [Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), /not UTF-8/],
}

for (const [what, [line, message]] of Object.entries(lines)) {
  test(`prompt sets: ${what} is refused with file and line`, async (t) => {
    const file = at(`${what.replaceAll(/\W/g, '-')}.jsonl`)
    const good = `${JSON.stringify({ text: 'a b c', contrast: 'c', terms: [term] })}\n\n`
    const bytes = Buffer.isBuffer(line)
      ? line
      : Buffer.from(typeof line === 'string' ? line : JSON.stringify(line))
    writeFileSync(file, Buffer.concat([Buffer.from(good), bytes]))
    const error = await t.throwsAsync(readPrompts(file).summary(), { code: 'ERR_PROMPT', message })
    t.true(error.message.startsWith(`${file}:3: `), error.message)
    const piped = promptsFromInput(Buffer.concat([Buffer.from(good), bytes]))
    await t.throwsAsync(piped.summary(), { code: 'ERR_PROMPT', message: /^standard input:3: / })
  })
}

test('prompt sets: byte order mark, CRLF, a line separator inside a text, no end of line', async (t) => {
  const file = at('ends.jsonl')
  const prompt = (text) => JSON.stringify({ text, contrast: 'c', terms: [term] })
  writeFileSync(file, `\uFEFF${prompt('one')}\r\n${prompt('two\u2028three')}\r\n\r\n${prompt('é')}`)
  const found = []
  for await (const { prompt: one, where } of readPrompts(file)) {
    found.push([where, one.text])
  }
  t.deepEqual(found, [
    [`${file}:1`, 'one'],
    [`${file}:2`, 'two\u2028three'],
    [`${file}:4`, 'é'],
  ])
})

test('prompt sets: one that vanishes or cannot be read is an error of the file', async (t) => {
  const file = at('vanishes.jsonl')
  writeFileSync(file, JSON.stringify({ text: 'a', contrast: 'c', terms: [term] }))
  const set = readPrompts(file)
  rmSync(file)
  await t.throwsAsync(set.summary(), {
    code: 'ERR_FILE',
    message: /cannot read the prompts .*vanishes\.jsonl/,
  })
  await t.throwsAsync(set[Symbol.asyncIterator]().next(), { code: 'ERR_FILE', message: /vanishes\.jsonl/ })
  t.throws(() => readPrompts(folder), { code: 'ERR_FILE', message: /it is a folder/ })
  t.throws(() => readPrompts(file), { code: 'ERR_FILE', message: /no such file/ })
  await t.throwsAsync(fileHash(file), { code: 'ERR_FILE', message: /vanishes\.jsonl/ })
})

const asUser =
  process.getuid?.() === 0 ? (title, fn) => test.skip(`${title} (root reads everything)`, fn) : test

asUser('prompt sets: one without permission to read is an error of the file', async (t) => {
  const file = at('secret.jsonl')
  writeFileSync(file, '{}')
  chmodSync(file, 0)
  await t.throwsAsync(readPrompts(file).summary(), { code: 'ERR_FILE', message: /secret\.jsonl/ })
})

test('pipes are refused where a file is read by place, and do not wait for a writer', async (t) => {
  const { status } = spawnSync('mkfifo', [at('pipe')])
  t.is(status, 0)
  t.throws(() => readNpy(at('pipe')), { code: 'ERR_FILE', message: /it is not a file/ })
  t.throws(() => readPrompts(at('pipe')), { code: 'ERR_FILE', message: /it is not a file/ })
  await t.throwsAsync(loadResult(at('pipe')), { code: 'ERR_FILE', message: /it is not a file/ })
})

test('a text that the tokenizer cannot encode is an error with the place of the prompt', async (t) => {
  // WordLevel without a token for what it does not know.
  const tokenizer = at('tokenizer.json')
  const words = { type: 'WordLevel', vocab: { The: 0, hat: 1 }, unk_token: 'none' }
  writeFileSync(
    tokenizer,
    JSON.stringify({ version: '1.0', pre_tokenizer: { type: 'Whitespace' }, model: words }),
  )
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer })
  const set = at('unknown.jsonl')
  writeFileSync(
    set,
    JSON.stringify({ text: 'The zebra', contrast: 'c', terms: [{ query: 1, positive: [1], negative: [0] }] }),
  )
  const expected = {
    code: 'ERR_TOKENIZER',
    message: /unknown\.jsonl:1: .*tokenizer\.json cannot encode "The zebra"/,
  }
  await t.throwsAsync(accumulate(model, readPrompts(set)), expected)
  await t.throwsAsync(capture(model, { text: 'The zebra' }), {
    message: /^the prompt: .* cannot encode "The zebra"/,
  })
  const answered = [
    { text: 'The hat', answer: ' zebra', contrast: 'c', terms: [{ query: 1, positive: [1], negative: [0] }] },
  ]
  await t.throwsAsync(accumulate(model, answered), { message: /^prompt 0: .* cannot encode "The hat zebra"/ })
})
