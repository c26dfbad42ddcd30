/** The command line on models of a Hugging Face Hub on the loopback, end to end. */

import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { boxesOrder } from '../../dist/contrast/families/boxes.js'
import { bundledFile, bundledWords, loadResult } from '../../dist/index.js'
import { runCommand } from '../helpers/command.js'
import { cli, temporaryFolder } from '../helpers/files.js'
import { startHub } from '../helpers/hub-server.js'

const folder = temporaryFolder(test)
const hub = startHub(test)
const model = readFileSync(bundledFile('boxes.onnx'))
const FILES = {
  'config.json': Buffer.from('{}'),
  'tokenizer.json': readFileSync(bundledFile('boxes.tokenizer.json')),
  'tokenizer_config.json': Buffer.from(
    JSON.stringify({
      chat_template: '{% for m in messages %}{{ m.content }}{% endfor %}',
      add_bos_token: false,
    }),
  ),
  'onnx/model.onnx': model,
}
const prompts = path.join(folder, 'boxes.jsonl')
writeFileSync(
  prompts,
  boxesOrder({ ...bundledWords(), prompts: 24, seed: 1 })
    .map((prompt) => JSON.stringify(prompt))
    .join('\n'),
)

function environment() {
  const HF_HOME = mkdtempSync(path.join(folder, 'home-'))
  return { HF_HOME, HF_HUB_CACHE: '', HF_TOKEN: '', HF_HUB_OFFLINE: '', HF_ENDPOINT: hub.endpoint }
}

test('inspect hf:org/name --json', async (t) => {
  const commit = hub.add('org/inspect', FILES)
  const env = environment()
  const { stdout, stderr, status } = await runCommand(folder, ['inspect', 'hf:org/inspect', '--json'], env)
  t.is(status, 0, stderr)
  const document = JSON.parse(stdout)
  const snapshot = path.join(env.HF_HOME, 'hub/models--org--inspect/snapshots', commit)
  t.is(document.model, path.join(snapshot, 'onnx/model.onnx'))
  t.is(document.tokenizer, path.join(snapshot, 'tokenizer.json'))
  t.deepEqual(document.hub, { repo: 'org/inspect', revision: 'main', commit, file: 'onnx/model.onnx' })
  t.is(document.sites.length, 4)
  // No bar where standard error is no terminal; what was found is said there.
  t.is(
    stderr,
    `qkspace: model ${snapshot}/onnx/model.onnx\nqkspace: tokenizer ${snapshot}/tokenizer.json, found beside the model\n`,
  )
})

test('decompose, attribute, sweep and prompts check take such a model; results know its commit', async (t) => {
  const commit = hub.add('org/decompose', FILES)
  const env = environment()
  const named = ['--model', 'hf:org/decompose']
  const result = path.join(folder, 'hub.safetensors')
  const common = [...named, '--prompts', prompts, '--heads', 'L3H0', '--json']
  const made = await runCommand(folder, ['decompose', ...common, '--rank', 'fixed:2', '--out', result], env)
  t.is(made.status, 0, made.stderr)
  const origin = { repo: 'org/decompose', revision: 'main', commit, file: 'onnx/model.onnx' }
  t.deepEqual(JSON.parse(made.stdout).model.hub, origin)
  const { info } = await loadResult(result)
  t.deepEqual(info.model.hub, origin)
  const page = path.join(folder, 'hub.html')
  const written = await runCommand(folder, ['report', result, '--out', page])
  t.is(written.status, 0, written.stderr)
  t.regex(readFileSync(page, 'utf8'), /<title>org\/decompose\/onnx\/model\.onnx: /)
  t.regex(
    (await runCommand(folder, ['compare', result, result])).stdout,
    /: org\/decompose\/onnx\/model\.onnx, 24/,
  )
  const offline = { ...env, HF_HUB_OFFLINE: '1' }
  for (const args of [
    ['attribute', ...common, '--result', result],
    ['intervene', ...common, '--result', result, '--randoms', '1', '--nulls', '0'],
    ['sweep', ...common, '--nulls', '0', '--held-out', '0'],
    ['prompts', 'check', prompts, ...named, '--json'],
  ]) {
    const { status, stdout, stderr } = await runCommand(folder, args, offline)
    t.is(status, 0, stderr)
    t.notThrows(() => JSON.parse(stdout))
    t.regex(stderr, /tokenizer .*tokenizer\.json, found beside the model/)
  }
})

test('a chat template of the Hub, or of a folder', async (t) => {
  hub.add('org/chat', FILES)
  const env = environment()
  const args = ['prompts', 'boxes', '--variant', 'order', '--prompts', '3']
  const { status, stdout, stderr } = await runCommand(
    folder,
    [...args, '--chat-template', 'hf:org/chat'],
    env,
  )
  t.is(status, 0, stderr)
  t.is(stdout.trim().split('\n').length, 3)
  const own = mkdtempSync(path.join(folder, 'chat-'))
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) {
    writeFileSync(path.join(own, name), FILES[name])
  }
  t.is((await runCommand(folder, [...args, '--chat-template', own])).stdout, stdout)
})

test('the snippets of docs/model-sources.md run', async (t) => {
  hub.add('org/name', { ...FILES, 'onnx/model_q4.onnx': model })
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const cwd = mkdtempSync(path.join(folder, 'docs-'))
  mkdirSync(path.join(cwd, 'node_modules'))
  for (const [name, target] of Object.entries({ lib: 'lib', dist: 'dist', 'node_modules/qkspace': '.' })) {
    symlinkSync(path.join(root, target), path.join(cwd, name))
  }
  const text = readFileSync(path.join(root, 'docs/model-sources.md'), 'utf8')
  const snippets = [...text.matchAll(/^```(sh|js)\n(.*?)^```/gms)]
  t.is(snippets.length, 4)
  const env = { ...process.env, ...environment() }
  for (const [, language, code] of snippets) {
    const [program, args] =
      language === 'sh' ? ['sh', ['-ec', code]] : [process.execPath, ['--input-type=module', '-e', code]]
    const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk) => {
        said += chunk
      })
    }
    t.is(await new Promise((resolve) => child.on('close', resolve)), 0, `${code}\n${said}`)
  }
})

test('what fails is one message and status 1, what is written wrong is status 2', async (t) => {
  hub.add('org/fails', FILES)
  const env = environment()
  /** @type {[string[], Record<string, string>, number, RegExp][]} */
  const ended = [
    [['inspect', 'hf:org/none'], env, 1, /has no repository org\/none/],
    [['inspect', 'hf:org'], env, 1, /does not name a model/],
    [['inspect', 'hf:org/fails'], { ...env, HF_HUB_OFFLINE: '1' }, 1, /not in the cache/],
    [['inspect', 'hf:org/fails', '--dtype', 'q4'], env, 1, /no model of dtype q4/],
    [['inspect', 'hf:org/fails', '--dtype', 'float'], env, 2, /There is no dtype "float"; use fp32/],
    [['inspect', 'hf:org/fails', '--dtype', 'q4', '--file', 'x.onnx'], env, 2, /cannot be used with/],
  ]
  for (const [args, variables, expected, message] of ended) {
    const { status, stdout, stderr } = await runCommand(folder, args, variables)
    t.is(status, expected, stderr)
    t.is(stdout, '')
    t.regex(stderr, message)
    t.notRegex(stderr, /\n\s+at /)
  }
})

test.serial(
  'interrupted in the middle of a download, it ends at once and leaves nothing that looks whole',
  async (t) => {
    hub.add('org/interrupted', FILES)
    const env = environment()
    const half = new Promise((resolve) => {
      hub.fault = ({ host, response, bytes }) => {
        if (host !== 'cdn' || bytes?.length !== model.length) {
          return false
        }
        response.writeHead(200, { 'Content-Length': bytes.length })
        response.write(bytes.subarray(0, bytes.length / 2), resolve)
        return true
      }
    })
    const child = spawn(process.execPath, [cli, 'inspect', 'hf:org/interrupted'], {
      env: { ...process.env, ...env },
      stdio: 'ignore',
    })
    const ended = new Promise((resolve) => child.on('close', (_, signal) => resolve(signal)))
    await half
    const blobs = path.join(env.HF_HOME, 'hub/models--org--interrupted/blobs')
    // It has begun to write when its temporary file is there.
    while (!readdirSync(blobs).some((name) => name.endsWith('.part'))) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    child.kill('SIGINT')
    t.is(await ended, 'SIGINT')
    hub.fault = undefined
    t.false(readdirSync(blobs, { recursive: true }).some((name) => name.endsWith('.part')))
    t.false(readdirSync(path.join(blobs, '..')).includes('refs'))
  },
)
