/** Folders as transformers.js, Optimum and onnxruntime-genai lay them out, and the tokenizer beside a model. */

import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { bundledFile, openModel } from '../dist/index.js'
import { runCommand } from './helpers/command.js'
import { temporaryFolder } from './helpers/files.js'
import { writeTinyModel } from './helpers/tiny-model.js'

const folder = temporaryFolder(test)
const boxes = bundledFile('boxes.onnx')
const tokenizer = bundledFile('boxes.tokenizer.json')
const toy = bundledFile('toy-task1-r3-r3-d16.onnx')
const external = writeTinyModel(folder, { external: true })

/** A folder with copies of files, or texts, by path. */
function made(files) {
  const root = mkdtempSync(path.join(folder, 'model-'))
  for (const [name, content] of Object.entries(files)) {
    const target = path.join(root, name)
    mkdirSync(path.dirname(target), { recursive: true })
    if (content.from) {
      copyFileSync(content.from, target)
    } else {
      writeFileSync(target, content)
    }
  }
  return root
}

const MODEL = { from: boxes }
const TOKENIZER = { from: tokenizer }
const genai = (filename) => JSON.stringify({ model: { decoder: { filename } } })
const config = { 'config.json': '{}', 'tokenizer.json': TOKENIZER, 'tokenizer_config.json': '{}' }

/** @typedef {[string, object, import('../dist/index.js').OpenOptions, string]} Layout */

const SUFFIXES = /** @type {const} */ ([
  ['fp32', ''],
  ['fp16', '_fp16'],
  ['q8', '_quantized'],
  ['int8', '_int8'],
  ['uint8', '_uint8'],
  ['q4', '_q4'],
  ['q4f16', '_q4f16'],
  ['bnb4', '_bnb4'],
])

/**
 * A folder with a file of every dtype, of which only the wanted one is a model.
 * @param {(typeof SUFFIXES)[number]} wanted
 * @returns {Layout}
 */
function byDtype([dtype, suffix]) {
  const files = SUFFIXES.map(([, one]) => [`onnx/model${one}.onnx`, one === suffix ? MODEL : 'x'])
  return [`transformers.js, ${dtype}`, Object.fromEntries(files), { dtype }, `onnx/model${suffix}.onnx`]
}

/**
 * What is in the folder, how it is opened, and which file that opens.
 * @type {Layout[]}
 */
const layouts = [
  ['transformers.js', { 'onnx/model.onnx': MODEL, 'onnx/model_q4.onnx': 'x' }, {}, 'onnx/model.onnx'],
  ...SUFFIXES.map(byDtype),
  ['the only file of another dtype', { 'onnx/model_q4f16.onnx': MODEL }, {}, 'onnx/model_q4f16.onnx'],
  [
    'parts of a model, one of them named',
    { 'onnx/encoder_model.onnx': 'x', 'onnx/decoder_model_merged.onnx': MODEL },
    { file: 'decoder_model_merged.onnx' },
    'onnx/decoder_model_merged.onnx',
  ],
  [
    'the only part of a dtype',
    { 'onnx/encoder_model_fp16.onnx': 'x', 'onnx/decoder_model_merged_q4.onnx': MODEL },
    { dtype: 'q4' },
    'onnx/decoder_model_merged_q4.onnx',
  ],
  [
    'a model beside optimised ones',
    { 'onnx/model.onnx': MODEL, 'onnx/model_O1.onnx': 'x', 'onnx/model_qint8_avx512.onnx': 'x' },
    {},
    'onnx/model.onnx',
  ],
  ['Optimum', { 'model.onnx': MODEL }, {}, 'model.onnx'],
  ['Optimum, one decoder', { 'decoder_model.onnx': MODEL }, {}, 'decoder_model.onnx'],
  [
    'Optimum, several decoders',
    { 'decoder_model.onnx': 'x', 'decoder_with_past_model.onnx': 'x', 'decoder_model_merged.onnx': MODEL },
    { file: 'decoder_model_merged.onnx' },
    'decoder_model_merged.onnx',
  ],
  [
    'onnxruntime-genai',
    { 'genai_config.json': genai('decoder.onnx'), 'decoder.onnx': MODEL, 'embedding.onnx': 'x' },
    {},
    'decoder.onnx',
  ],
  [
    'onnxruntime-genai beside files by dtype',
    { 'genai_config.json': genai('model.onnx'), 'model.onnx': 'x', 'onnx/model.onnx': MODEL },
    { dtype: 'fp32' },
    'onnx/model.onnx',
  ],
  [
    'a file is named beside an unreadable genai_config.json',
    { 'genai_config.json': '{', 'model.onnx': MODEL },
    { file: 'model.onnx' },
    'model.onnx',
  ],
  ['a deep file', { 'model.onnx': 'x', 'a/b/c.onnx': MODEL }, { file: './a/b/c.onnx' }, 'a/b/c.onnx'],
]

for (const [what, files, options, expected] of layouts) {
  test(`${what}: the file, and the tokenizer of the folder`, async (t) => {
    const root = made({ ...config, ...files })
    const model = await openModel(root, options)
    t.is(model.path, path.join(root, expected))
    t.is(model.sites.length, 4)
    t.is(model.tokenizer.path, path.join(root, 'tokenizer.json'))
    t.is(model.hub, undefined)
    t.deepEqual(model.warnings, [])
  })
}

test('weights beside the file, as .onnx_data in each layout', async (t) => {
  const data = path.basename(external)
  for (const place of ['', 'onnx/']) {
    const root = made({
      [`${place}${data}`]: { from: external },
      [`${place}${data}_data`]: { from: `${external}_data` },
    })
    t.is((await openModel(root)).sites.length, 1)
  }
})

/**
 * What is in the folder, how it is opened, and what is said.
 * @type {[string, object, any, string, RegExp, RegExp?][]}
 */
const refused = [
  ['an empty folder', {}, {}, 'ERR_FILE', /has no \.onnx file, nor has its folder onnx/],
  ['a folder without a model', config, {}, 'ERR_FILE', /has no \.onnx file/],
  [
    'two candidates',
    { 'onnx/model_fp16.onnx': 'x', 'onnx/model_q4.onnx': 'x' },
    {},
    'ERR_ARGUMENT',
    /no default model; it has\n {2}onnx\/model_fp16\.onnx \(dtype fp16\)\n {2}onnx\/model_q4\.onnx \(dtype q4\)$/,
    /dtype: 'fp16'.*--dtype fp16.*file: 'onnx\/model_fp16\.onnx'.*--file/,
  ],
  [
    'two parts',
    { 'encoder_model.onnx': 'x', 'decoder_model.onnx': 'x', 'decoder_model_q4.onnx': 'x' },
    {},
    'ERR_ARGUMENT',
    /2 models, none of which is the default; it has.*decoder_model_q4/s,
    /--file/,
  ],
  ['two of the default name', { 'model.onnx': 'x', 'onnx/model.onnx': 'x' }, {}, 'ERR_ARGUMENT', /2 models/],
  [
    'two of a dtype',
    { 'onnx/encoder_model_q4.onnx': 'x', 'onnx/decoder_model_q4.onnx': 'x', 'onnx/model.onnx': 'x' },
    { dtype: 'q4' },
    'ERR_ARGUMENT',
    /2 models of dtype q4, none of which is the default; it has\n.*decoder.*\n.*encoder_model_q4\.onnx \(dtype q4\)$/,
  ],
  ['a dtype that is absent', { 'model.onnx': 'x' }, { dtype: 'int8' }, 'ERR_FILE', /no model of dtype int8/],
  [
    'an unknown dtype',
    { 'model.onnx': 'x' },
    { dtype: 'float' },
    'ERR_ARGUMENT',
    /dtype is 'float', expected/,
  ],
  ['a file that is absent', { 'model.onnx': 'x' }, { file: 'n.onnx' }, 'ERR_FILE', /no file n\.onnx; it has/],
  ['a file outside', { 'model.onnx': 'x' }, { file: '../m.onnx' }, 'ERR_ARGUMENT', /a path inside/],
  ['an absolute file', { 'model.onnx': 'x' }, { file: boxes }, 'ERR_ARGUMENT', /a path inside/],
  ['a file that is no text', { 'model.onnx': 'x' }, { file: 3 }, 'ERR_TYPE', /file must be a path/],
  [
    'dtype and file',
    { 'model.onnx': 'x' },
    { file: 'model.onnx', dtype: 'fp32' },
    'ERR_ARGUMENT',
    /both choose/,
  ],
  [
    'genai_config of an absent file',
    { 'genai_config.json': genai('m.onnx') },
    {},
    'ERR_FILE',
    /names m\.onnx, and there/,
  ],
  [
    'genai_config that leads out',
    { 'genai_config.json': genai('../m.onnx') },
    {},
    'ERR_FORMAT',
    /not inside/,
  ],
  ['genai_config without a decoder', { 'genai_config.json': '[]' }, {}, 'ERR_FORMAT', /no model\.decoder/],
  ['genai_config that is null', { 'genai_config.json': 'null' }, {}, 'ERR_FORMAT', /no model\.decoder/],
  ['genai_config that is unreadable', { 'genai_config.json': '{' }, {}, 'ERR_FORMAT', /is not JSON/],
  ['a model that is none', { 'model.onnx': 'x' }, {}, 'ERR_NOT_ONNX', /model\.onnx/],
]

for (const [what, files, options, code, message, hint] of refused) {
  test(`refused: ${what}`, async (t) => {
    /** @type {import('../dist/index.js').QkError} */
    const error = await t.throwsAsync(openModel(made(files), options), { code, message })
    if (hint) {
      t.regex(error.hint, hint)
    }
  })
}

test('dtype and file choose inside a folder alone', async (t) => {
  for (const options of [{ dtype: /** @type {const} */ ('fp32') }, { file: 'boxes.onnx' }]) {
    await t.throwsAsync(openModel(boxes, options), {
      code: 'ERR_ARGUMENT',
      message: /choose inside a folder/,
    })
  }
  // @ts-expect-error a number in the place of a path
  await t.throwsAsync(openModel(7), { code: 'ERR_TYPE', message: /a path or an id/ })
  const root = made({ onnx: 'a file where a folder should be' })
  await t.throwsAsync(openModel(root), { code: 'ERR_FILE', message: /has no \.onnx file/ })
})

test('a plain path: the tokenizer beside it, or around the folder onnx', async (t) => {
  const beside = made({ 'any.onnx': MODEL, 'tokenizer.json': TOKENIZER })
  t.is((await openModel(path.join(beside, 'any.onnx'))).tokenizer.path, path.join(beside, 'tokenizer.json'))
  const around = made({ 'onnx/model.onnx': MODEL, 'tokenizer.json': TOKENIZER })
  const found = await openModel(path.join(around, 'onnx/model.onnx'))
  t.is(found.tokenizer.path, path.join(around, 'tokenizer.json'))
  const above = made({ 'other/model.onnx': MODEL, 'tokenizer.json': TOKENIZER })
  t.is((await openModel(path.join(above, 'other/model.onnx'))).tokenizer, undefined)
  t.is((await openModel(boxes)).tokenizer, undefined)
  // In a folder of links, as a cache is, it lies beside the link.
  const links = made({ 'tokenizer.json': TOKENIZER })
  symlinkSync(boxes, path.join(links, 'model.onnx'))
  t.is((await openModel(links)).tokenizer.path, path.join(links, 'tokenizer.json'))
})

test('tokenizer: another one, or none', async (t) => {
  const root = made({ 'model.onnx': MODEL, 'tokenizer.json': 'not read' })
  t.is((await openModel(root, { tokenizer })).tokenizer.path, tokenizer)
  const none = await openModel(root, { tokenizer: false })
  t.is(none.tokenizer, undefined)
  t.deepEqual(none.warnings, [])
  for (const wrong of /** @type {any[]} */ ([true, 3, null])) {
    await t.throwsAsync(openModel(root, { tokenizer: wrong }), {
      code: 'ERR_TYPE',
      message: /a path, or false/,
    })
  }
})

test('a tokenizer beside a model that takes no tokens is left alone', async (t) => {
  const root = made({ 'model.onnx': { from: toy }, 'tokenizer.json': 'not read' })
  const model = await openModel(root)
  t.false(model.takesTokens)
  t.is(model.tokenizer, undefined)
  t.deepEqual(model.warnings, [])
})

test('one that cannot be read is a warning where it was only found, and an error where it is named', async (t) => {
  const root = made({ 'model.onnx': MODEL, 'tokenizer.json': '{}' })
  const model = await openModel(root)
  t.is(model.tokenizer, undefined)
  t.is(model.warnings.length, 1)
  t.regex(model.warnings[0], /beside the model is not used: .*tokenizer\.json/)
  await t.throwsAsync(openModel(root, { tokenizer: path.join(root, 'tokenizer.json') }), {
    code: 'ERR_TOKENIZER',
  })
})

test('on the command line', async (t) => {
  const root = made({ ...config, 'onnx/model.onnx': MODEL, 'onnx/model_q4.onnx': 'x' })
  const inspect = async (...args) => runCommand(folder, ['inspect', root, ...args])
  const found = await inspect('--json')
  t.is(found.status, 0, found.stderr)
  const document = JSON.parse(found.stdout)
  t.is(document.model, path.join(root, 'onnx/model.onnx'))
  t.is(document.tokenizer, path.join(root, 'tokenizer.json'))
  t.regex(found.stderr, /^qkspace: model .*\nqkspace: tokenizer .*tokenizer\.json, found beside the model\n$/)
  const without = await inspect('--json', '--no-tokenizer', '--file', 'model.onnx')
  t.false('tokenizer' in JSON.parse(without.stdout))
  t.notRegex(without.stderr, /tokenizer/)
  const given = await inspect('--json', '--tokenizer', tokenizer)
  t.is(JSON.parse(given.stdout).tokenizer, tokenizer)
  t.notRegex(given.stderr, /found beside/)
  t.is((await inspect('--dtype', 'q4')).status, 1)
  t.is((await inspect('--dtype', 'five')).status, 2)
  for (const args of [
    ['decompose'],
    ['sweep'],
    ['attribute'],
    ['intervene'],
    ['prompts', 'check'],
    ['inspect'],
  ]) {
    const { stdout } = await runCommand(folder, [...args, '--help'])
    for (const option of ['--tokenizer', '--no-tokenizer', '--dtype', '--file', '--size', 'hf:org/name']) {
      t.true(stdout.includes(option), `${args.join(' ')} ${option}`)
    }
  }
  const toyFolder = made({ 'model.onnx': { from: toy } })
  const payload = await runCommand(folder, [
    'prompts',
    'payload',
    '--model',
    toyFolder,
    '--prompts',
    '2',
    '--out',
    'p.jsonl',
  ])
  t.is(payload.status, 0, payload.stderr)
  t.true(readFileSync(path.join(payload.cwd, 'p.jsonl'), 'utf8').length > 0)
})
