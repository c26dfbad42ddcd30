/** `qkspace capture` and `writeCaptures`: what the files hold, who reads them, and how they are refused. */

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import {
  boxesOrder,
  bundledFile,
  bundledWords,
  captureMany,
  openModel,
  promptLine,
  readActivations,
  writeCaptures,
} from '../dist/index.js'
import { withSafetensors } from '../dist/store/safetensors.js'
import { runCommand } from './helpers/command.js'
import { temporaryFolder } from './helpers/files.js'
import { writeTinyModel } from './helpers/tiny-model.js'

const folder = temporaryFolder(test)
const file = bundledFile('boxes.onnx')
const boxes = ['--model', file, '--tokenizer', bundledFile('boxes.tokenizer.json')]
const prompts = boxesOrder({ ...bundledWords(), prompts: 5, seed: 4 })
const set = path.join(folder, 'set.jsonl')
writeFileSync(set, prompts.map((prompt) => `${promptLine(prompt)}\n`).join(''))

const run = (...args) => runCommand(folder, ['capture', ...args])

/** Everything that a file holds: values as float32, or the bits of float16. */
function contentOf(written) {
  return withSafetensors(written, async ({ entries, metadata, read }) => {
    const tensors = {}
    for (const { name, shape, dtype, ...rest } of entries) {
      const bytes = await read({ name, shape, dtype, ...rest })
      tensors[name] = {
        shape,
        dtype,
        data: dtype === 'F16' ? new Uint16Array(bytes) : new Float32Array(bytes),
      }
    }
    return { tensors, info: JSON.parse(metadata.qkspace), format: metadata.format }
  })
}

test('one prompt: tensors by the names of their hooks, and what they are of', async (t) => {
  const text = prompts[0].text
  const args = [
    ...boxes,
    '--prompt',
    text,
    '--heads',
    'L3H0,L3H1',
    '--scores',
    '--pattern',
    '--out',
    'one.safetensors',
  ]
  const { stdout, stderr, status, left, cwd } = await run(...args)
  t.is(stderr, '')
  t.is(status, 0)
  t.deepEqual(left, ['one.safetensors'])
  t.regex(stdout, /^1 prompt of 44 tokens\n/)
  t.regex(stdout, /\nblocks\.3\.attn\.hook_rot_q +\[1, 44, 2, 32\] f32\n/)
  t.regex(stdout, /differ from those of the model by \d\.\de[-+]\d+ at most\n\nsaved one\.safetensors\n$/)
  const { tensors, info, format } = await contentOf(path.join(cwd, 'one.safetensors'))
  t.is(format, 'qkspace-capture')
  t.deepEqual(
    Object.entries(tensors).map(([name, { shape }]) => [name.slice('blocks.3.attn.hook_'.length), shape]),
    [
      ['rot_k', [1, 44, 1, 32]],
      ['rot_q', [1, 44, 2, 32]],
      ['attn_scores', [1, 2, 44, 44]],
      ['pattern', [1, 2, 44, 44]],
    ],
  )
  const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex')
  t.like(info.model, { path: file, sha256 })
  const [site] = info.sites
  t.like(site, { layer: 3, heads: ['L3H0', 'L3H1'], kvHeads: [0], keyHeads: [0, 0] })
  t.is(info.prompts.length, 1)
  t.like(info.prompts[0], { prefix: '', where: 'the prompt', text })
  t.is(info.prompts[0].tokens.length, 44)
  t.true(info.prompts[0].relativeErrors[0] < 1e-5)
  const [layer] = await readActivations(path.join(cwd, 'one.safetensors'))
  t.is(layer.layer, 3)
  t.deepEqual(layer.q.data, tensors['blocks.3.attn.hook_rot_q'].data)
})

test('a prompt set: the tensors of each prompt under its id, as captureMany gives them', async (t) => {
  const { stdout, status, cwd } = await run(...boxes, '--prompts', set, '--json', '--out', 'rows.safetensors')
  t.is(status, 0)
  const { saved, ...printed } = JSON.parse(stdout)
  t.is(saved, 'rows.safetensors')
  const written = path.join(cwd, 'rows.safetensors')
  const { tensors, info } = await contentOf(written)
  t.deepEqual(info, printed)
  t.deepEqual(
    info.prompts.map(({ id, prefix, where }) => [id, prefix, where]),
    prompts.map(({ id }, i) => [id, `${id}/`, `${set}:${i + 1}`]),
  )
  t.is(Object.keys(tensors).length, 5 * 8)
  const model = await openModel(file, { tokenizer: bundledFile('boxes.tokenizer.json') })
  for await (const { prompt, activations } of captureMany(model, prompts)) {
    for (const [name, { data, shape }] of Object.entries(activations)) {
      const { data: own, shape: ownShape } = tensors[`${prompt.id}/${name}`]
      t.deepEqual(own, data)
      t.deepEqual(ownShape, shape)
    }
  }
  /** @type {import('../dist/index.js').QkError} */
  const error = await t.throwsAsync(readActivations(written), { code: 'ERR_FORMAT', message: /5 prompts/ })
  t.regex(error.hint, /one prompt a file/)
})

test('float16 stays what it is; prompts without an id go by their index', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 6, half: true }))
  const written = path.join(folder, 'half.safetensors')
  await writeCaptures(written, model, captureMany(model, [{ tokens: [1, 2] }, { tokens: [3, 4, 5] }]))
  const { tensors } = await contentOf(written)
  const names = Object.keys(tensors)
  t.deepEqual([...new Set(names.map((name) => name.split('/')[0]))], ['p0', 'p1'])
  t.true(Object.values(tensors).every(({ dtype }) => dtype === 'F16'))
  for await (const { activations } of captureMany(model, [{ tokens: [1, 2] }])) {
    for (const [name, { data }] of Object.entries(activations)) {
      t.deepEqual(tensors[`p0/${name}`].data, data)
    }
  }
})

const python = '/usr/bin/python3'
const READ = `
import json, struct, sys, numpy
raw = open(sys.argv[1], 'rb').read()
n = struct.unpack('<Q', raw[:8])[0]
header = json.loads(raw[8:8 + n])
header.pop('__metadata__')
end = 0
for name, t in sorted(header.items(), key=lambda item: item[1]['data_offsets']):
    begin, stop = t['data_offsets']
    assert begin == end and n % 8 == 0
    end = stop
    x = numpy.frombuffer(raw[8 + n + begin:8 + n + stop], {'F32': '<f4', 'F16': '<f2'}[t['dtype']]).reshape(t['shape'])
    if name.endswith('hook_pattern'): assert abs(x.sum(-1) - 1).max() < 1e-5
assert 8 + n + end == len(raw)
print(len(header))
`
const withPython = spawnSync(python, ['-c', 'import numpy']).status === 0
const checked = withPython ? test : (title, check) => test.skip(`${title} (needs python3-numpy)`, check)

checked('the file is what the format says, as read by Python', async (t) => {
  const { status, cwd } = await run(...boxes, '--prompts', set, '--pattern', '--out', 'p.safetensors')
  t.is(status, 0)
  const read = spawnSync(python, ['-c', READ, path.join(cwd, 'p.safetensors')], { encoding: 'utf8' })
  t.is(read.stderr, '')
  t.is(read.stdout.trim(), `${5 * 12}`)
})

test('heads that share key heads unevenly are captured, and refused as activations', async (t) => {
  const { status, cwd } = await run(
    ...boxes,
    '--tokens',
    '1,2,3',
    '--heads',
    'L1H0,L1H1,L1H2,L2H0,L2H2',
    '--out',
    'uneven.safetensors',
  )
  t.is(status, 0)
  const written = path.join(cwd, 'uneven.safetensors')
  await t.throwsAsync(readActivations(written), {
    code: 'ERR_SHAPE',
    message: /L1H0, L1H1, L1H2 .* do not share their key heads evenly/,
  })
  t.is((await readActivations(written, { layers: [2] })).length, 1)
})

test('what goes wrong leaves nothing behind, and the file that was there as it was', async (t) => {
  const model = await openModel(writeTinyModel(folder, { seed: 7 }))
  const own = mkdtempSync(path.join(folder, 'own-'))
  const written = path.join(own, 'kept.safetensors')
  await writeCaptures(written, model, captureMany(model, [{ tokens: [1, 2] }]))
  const before = readFileSync(written)
  /** @type {[import('../dist/index.js').Prompt[], { code: string, message: RegExp }][]} */
  const failing = [
    [[{ tokens: [1, 2] }, { tokens: [99] }], { code: 'ERR_PROMPT', message: /prompt 1/ }],
    [
      [
        { tokens: [1, 2], id: 'twice' },
        { tokens: [3, 4], id: 'twice' },
      ],
      { code: 'ERR_PROMPT', message: /another prompt has its tensors under twice\// },
    ],
  ]
  for (const [given, expected] of failing) {
    await t.throwsAsync(writeCaptures(written, model, captureMany(model, given)), expected)
    t.deepEqual(readdirSync(own), ['kept.safetensors'])
    t.deepEqual(readFileSync(written), before)
  }
  await t.throwsAsync(writeCaptures(written, model, []), { code: 'ERR_PROMPT', message: /no captures/ })
  // @ts-expect-error an object that is no model
  await t.throwsAsync(writeCaptures(written, {}, []), { code: 'ERR_TYPE' })
  await t.throwsAsync(writeCaptures('rows.npz', model, []), { code: 'ERR_ARGUMENT', message: /\.npz/ })
})

test('bad usage exits with 2, failed work with 1; another file is never replaced', async (t) => {
  const text = ['--prompt', prompts[0].text, '--out', 'x.safetensors']
  const other = path.join(folder, 'weights.safetensors')
  writeFileSync(other, 'something else')
  /** @type {[number, string[], RegExp][]} */
  const cases = [
    [2, ['--out', 'x.safetensors'], /no prompt is given/],
    [2, ['--tokens', '1,2'], /required option '--out/],
    [2, [...text, '--tokens', '1'], /--prompt and --tokens are given together/],
    [2, ['--tokens', '1', '--out', 'x.csv'], /ends in \.csv/],
    [2, [...text, '--heads', 'x'], /does not name a head/],
    [1, [...text, '--heads', 'L9H9'], /there is no head L9H9/],
    [1, ['--tokens', '1', '--out', other], /is not a file of captures/],
    [1, ['--tokens', '1', '--out', 'no/x.safetensors'], /there is no folder/],
    [1, ['--tokens', '99999', '--out', 'x.safetensors'], /99999/],
    [1, ['--prompts', 'none.jsonl', '--out', 'x.safetensors'], /none\.jsonl/],
  ]
  for (const [expected, args, message] of cases) {
    const { status, stderr, left } = await run(...boxes, ...args)
    t.regex(stderr, message)
    t.is(status, expected, stderr)
    t.deepEqual(left, [])
  }
  t.is(readFileSync(other, 'utf8'), 'something else')
})
