/** The help of every command ends with examples, and each runs as it is written. */

import { copyFileSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { cli, temporaryFolder } from './helpers/files.js'
import { runProgram } from './helpers/packages.js'
import { prepareFolder, runBlock } from './helpers/snippets.js'

const folder = temporaryFolder(test)
const CLUSTER = 'test/cluster runs it, with a Redis'
const NOT_RUN = {
  'npx qkspace build && npx qkspace doctor': 'test/package/build.test.js compiles',
  'qkspace demo --out results': 'test/package/install.test.js runs it on four versions of Node',
  'qkspace submit decompose --models models.json --model boxes --prompts /shared/boxes.jsonl --shards 64 --folder /shared/runs --out /shared/boxes.safetensors':
    CLUSTER,
  'qkspace submit sweep --models models.json --model boxes --roles --shards 8 --folder /shared/runs --out /shared/found':
    CLUSTER,
  'qkspace submit status decompose-0123456789abcdef': CLUSTER,
  'qkspace submit cancel decompose-0123456789abcdef': CLUSTER,
  'qkspace worker --models models.json --redis redis://10.0.0.5:6379 --concurrency 2': CLUSTER,
  'qkspace toy train --r1 3 --r2 3 --quick --out toy.onnx': 'trains for minutes',
}

/** What an example finds in its folder; examples before it have left the rest. */
const BEFORE = {
  'qkspace merge 1.safetensors 2.safetensors --out boxes.safetensors':
    'qkspace decompose --model boxes.onnx --tokenizer tokenizer.json --prompts boxes.jsonl --shard 2/2 --out 2.safetensors',
}

test.before(async (t) => {
  t.timeout(300_000)
  prepareFolder(folder)
  const model = path.join(folder, 'my-model')
  mkdirSync(model)
  copyFileSync(path.join(folder, 'model.onnx'), path.join(model, 'model.onnx'))
  copyFileSync(path.join(folder, 'model.onnx'), path.join(folder, 'boxes.onnx'))
  const { status, stderr } = await sh(`
qkspace prompts boxes --variant order --prompts 80 --out boxes.jsonl
qkspace prompts boxes --variant order --prompts 24 --seed 11 --out held-out.jsonl
qkspace decompose --model model.onnx --prompts boxes.jsonl --out boxes.safetensors
cp boxes.safetensors a.safetensors
cp boxes.safetensors b.safetensors`)
  if (status !== 0) {
    throw new Error(stderr)
  }
})

const sh = (code) => runBlock(folder, { language: 'sh', code })

async function helpOf(...command) {
  const { stdout } = await runProgram(process.execPath, [cli, ...command, '--help'])
  return stdout
}

/** Commands that do something, by their names; those with commands of their own are taken apart. */
async function commandsOf(...parents) {
  const listed = (await helpOf(...parents)).split('Commands:\n')[1]
  if (listed === undefined) {
    return [parents]
  }
  const names = [...listed.matchAll(/^ {2}(\w+) .*$/gm)].map(([, name]) => name)
  const inner = await Promise.all(
    names.filter((name) => name !== 'help').map((name) => commandsOf(...parents, name)),
  )
  return inner.flat()
}

const examplesIn = (help) =>
  (help.split(/^Examples?:\n/m)[1] ?? '')
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)

test('every command has an example, and each of them runs', async (t) => {
  t.timeout(600_000)
  const commands = await commandsOf()
  t.true(commands.length > 15)
  const left = new Set(Object.keys(NOT_RUN))
  for (const command of commands) {
    const lines = examplesIn(await helpOf(...command))
    t.true(lines.length > 0, command.join(' '))
    for (const line of lines) {
      t.true(
        line.includes(`qkspace ${command.join(' ')} `) || line.endsWith(`qkspace ${command.join(' ')}`),
        line,
      )
      if (left.delete(line)) {
        continue
      }
      const { status, stderr } = await sh(`${BEFORE[line] ?? ''}\n${line}`)
      t.is(status, 0, `${line}\n${stderr}`)
    }
  }
  t.deepEqual([...left], [])
})
