import { spawn } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundledFile, bundledWords } from '../../../dist/bundled/files.js'
import { boxesOrder } from '../../../dist/contrast/families/boxes.js'
import { promptLine } from '../../../dist/contrast/write-prompts.js'
import { boxesResult } from '../../../test/helpers/small-results.js'

const cli = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url))

/**
 * Command lines that are right, as pieces. Files are those of a folder that each command gets a copy of. `build`, `demo`
 * and `paper`, which take long, are only tried with something wrong.
 */
const COMMANDS = [
  ['inspect', 'boxes.onnx', '--json'],
  ['inspect', 'boxes.onnx', '--size', 'batch=2'],
  ['prompts', 'check', 'p.jsonl', '--seed', '1', '--json'],
  ['prompts', 'boxes', '--out', 'new.jsonl', '--prompts', '4', '--seed', '1'],
  ['prompts', 'categories', '--out', 'new.jsonl', '--prompts', '4'],
  ['power', '--units', '100', '--d', '8', '--effect', '1'],
  [
    'capture',
    '--model',
    'boxes.onnx',
    '--tokenizer',
    't.json',
    '--prompts',
    'p.jsonl',
    '--limit',
    '2',
    '--out',
    'c.safetensors',
  ],
  [
    'decompose',
    '--model',
    'boxes.onnx',
    '--tokenizer',
    't.json',
    '--prompts',
    'p.jsonl',
    '--heads',
    'L3H0',
    '--rank',
    'fixed:2',
    '--out',
    'r2.safetensors',
  ],
  [
    'attribute',
    '--model',
    'boxes.onnx',
    '--tokenizer',
    't.json',
    '--prompts',
    'p.jsonl',
    '--result',
    'r.safetensors',
    '--out',
    'a.json',
  ],
  [
    'explain',
    '--model',
    'boxes.onnx',
    '--tokenizer',
    't.json',
    '--prompts',
    'p.jsonl',
    '--result',
    'r.safetensors',
    '--limit',
    '1',
  ],
  ['compare', 'r.safetensors', 'r.safetensors', '--json'],
  ['export', 'r.safetensors', '--out', 'e.safetensors', '--for', 'transformer-lens'],
  ['cite', 'r.safetensors', '--bibtex'],
  ['report', 'r.safetensors', '--out', 'report.html'],
  ['doctor', '--json'],
  ['demo', '--unknown'],
  ['paper', '--unknown'],
  ['build', '--unknown'],
]

const WORDS = [
  '',
  '-',
  '--',
  '-1',
  '0',
  '1e999',
  'NaN',
  '1e9',
  '0.5',
  'x',
  'all',
  'L0H0',
  'L99H99',
  'energy:0.9',
  'fixed:99',
  'boxes.onnx',
  'p.jsonl',
  'r.safetensors',
  't.json',
  'missing.onnx',
  'folder',
  'folder/x.safetensors',
  'x.txt',
  'é',
  '𝒳',
  '__proto__',
  '--json',
  '--out',
  '--model',
  '--prompts',
  '--heads',
  '--rank',
  '--seed',
  '--help',
  '--backend',
  'js',
  'cuda',
  '--nulls',
  '--tokenizer',
  '--modle',
  '--limit',
  '/dev/null',
  '/proc/self/x',
]

/** Not to be changed, since what is written behind them would run for long or build. */
const KEPT = new Set(['demo', 'paper', 'build', '--unknown'])

/** Command lines with words exchanged, put in or left out. */
export const target = {
  extension: 'json',
  prepare: async (folder) => {
    const files = path.join(folder, 'files')
    if (!existsSync(path.join(files, 'r.safetensors'))) {
      mkdirSync(path.join(files, 'folder'), { recursive: true })
      copyFileSync(bundledFile('boxes.onnx'), path.join(files, 'boxes.onnx'))
      copyFileSync(bundledFile('boxes.tokenizer.json'), path.join(files, 't.json'))
      const prompts = boxesOrder({ ...bundledWords(), prompts: 8, seed: 1 })
      writeFileSync(path.join(files, 'p.jsonl'), `${prompts.map(promptLine).join('\n')}\n`)
      const result = await boxesResult({ rank: { rule: 'fixed', rank: 2 }, nulls: 3 }, { prompts: 8 })
      await result.save(path.join(files, 'r.safetensors'))
    }
    return { folder, files }
  },
  make: (random) => {
    const args = [...random.pick(COMMANDS)]
    for (let changes = random.below(3); changes >= 0; changes--) {
      const at = random.below(args.length + 1)
      if (KEPT.has(args[at])) {
        continue
      }
      const kind = random.below(4)
      if (kind === 0) {
        args.splice(at, 1)
      } else if (kind === 1) {
        args.splice(at, 0, random.pick(WORDS))
      } else if (kind === 2) {
        args.splice(at, 1, random.pick(WORDS))
      } else {
        args.splice(at, 0, args[random.below(args.length)])
      }
    }
    return Buffer.from(JSON.stringify(args))
  },
  run: async (file, { folder, files }) => {
    const args = JSON.parse(readFileSync(file, 'utf8'))
    const cwd = mkdtempSync(path.join(folder, 'run-'))
    try {
      for (const name of ['boxes.onnx', 't.json', 'p.jsonl', 'r.safetensors']) {
        copyFileSync(path.join(files, name), path.join(cwd, name))
      }
      mkdirSync(path.join(cwd, 'folder'))
      const { status, signal, stderr } = await runIn(cwd, args)
      const uncoded = /^(?!QkError|CommanderError)\w*Error\b.*\n +at /m.exec(stderr)
      if (signal || ![0, 1, 2].includes(status) || uncoded || /panicked|Warning:/.test(stderr)) {
        throw new Error(`${signal ?? `status ${status}`}: ${stderr}`)
      }
    } finally {
      rmSync(cwd, { recursive: true, force: true })
    }
  },
}

/** QKSPACE_DEBUG prints the stack of an error, and with it what kind of error it is. */
function runIn(cwd, args) {
  const child = spawn(process.execPath, [cli, ...args], {
    cwd,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, QKSPACE_DEBUG: '1', HF_HUB_OFFLINE: '1' },
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  return new Promise((resolve) => {
    child.on('close', (status, signal) => resolve({ status, signal, stderr }))
  })
}
