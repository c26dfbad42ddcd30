/** A file that makes onnxruntime crash is an error where it is opened in a process of its own first. */

import { spawnSync } from 'node:child_process'
import path from 'node:path'
import test from 'ava'
import { bundledFile, openModel } from '../dist/index.js'
import { runCommand } from './helpers/command.js'
import { cli, temporaryFolder } from './helpers/files.js'
import { FLOAT, GraphBuilder, valueInfo } from './helpers/graph-builder.js'

const folder = temporaryFolder(test)

/** The past has fewer axes than the operator reads, which onnxruntime notices only as it runs. */
function crashingModel() {
  const g = new GraphBuilder()
  const past = g.node('Squeeze', ['past_value'])
  g.node('Attention', ['q', 'k', 'v', '', 'past_key', past], {}, ['y', 'present_key', 'present_value'])
  const inputs = [
    ...['q', 'k', 'v'].map((name) => valueInfo(name, FLOAT, [2, 3, 4, 8])),
    valueInfo('past_key', FLOAT, [2, 3, 12, 8]),
    valueInfo('past_value', FLOAT, ['n']),
  ]
  return g.write(path.join(folder, 'crash.onnx'), inputs, ['y'], { opset: 23 })
}

test('a crash in the child is an error here', async (t) => {
  const file = crashingModel()
  const error = await t.throwsAsync(openModel(file, { isolate: true }), {
    code: 'ERR_INFERENCE',
    message: /the process that tried the model crashed \(SIGABRT: onnxruntime aborted\)/,
  })
  t.true(error.message.startsWith(file))
  const { status, stderr } = await runCommand(folder, ['inspect', file])
  t.is(status, 1)
  t.regex(stderr, /SIGABRT/)
})

test('the same file ends the process that is not isolated from it', (t) => {
  const { signal } = spawnSync(process.execPath, [cli, 'inspect', '--no-isolate', crashingModel()])
  t.is(signal, 'SIGABRT')
})

test('what opens in the child opens here, with its options', async (t) => {
  const options = { tokenizer: bundledFile('boxes.tokenizer.json'), threads: 1 }
  const model = await openModel(bundledFile('boxes.onnx'), { ...options, isolate: true })
  const plain = await openModel(bundledFile('boxes.onnx'), options)
  t.deepEqual(model.sites, plain.sites)
})

test('errors of the child are those of opening', async (t) => {
  const missing = path.join(folder, 'missing.onnx')
  /** @type {import('../dist/index.js').QkError} */
  const here = await t.throwsAsync(openModel(missing))
  /** @type {import('../dist/index.js').QkError} */
  const isolated = await t.throwsAsync(openModel(missing, { isolate: true }))
  t.deepEqual([isolated.code, isolated.message, isolated.hint], [here.code, here.message, here.hint])
  const file = bundledFile('boxes.onnx')
  await t.throwsAsync(openModel(file, { isolate: true, sizes: { width: 2 } }), {
    code: 'ERR_ARGUMENT',
    message: /no free axis "width"/,
  })
  // @ts-expect-error a string in the place of a boolean
  await t.throwsAsync(openModel(file, { isolate: 'yes' }), { code: 'ERR_TYPE' })
})
