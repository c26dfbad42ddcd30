/** Kills a command at random moments and looks at what it leaves (scripts/kill-test.mjs, test/kills.test.js). */

import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundledFile, bundledWords } from '../../dist/bundled/files.js'
import { boxesOrder } from '../../dist/contrast/families/boxes.js'
import { promptLine } from '../../dist/contrast/write-prompts.js'
import { seededRandom } from '../../dist/math/random.js'

const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const MODEL = ['--model', bundledFile('boxes.onnx'), '--tokenizer', bundledFile('boxes.tokenizer.json')]
const PROMPTS = ['--prompts', 'prompts.jsonl']

/** Arguments by a number, the seed or the set of heads, which makes the results differ. They write into `results`. */
export const COMMANDS = {
  decompose: (n) => ['decompose', ...MODEL, ...PROMPTS, '--seed', `${n}`, '--out', 'results/r.safetensors'],
  sweep: (n) => ['sweep', ...MODEL, ...PROMPTS, '--seed', `${n}`, '--out', 'results/s.safetensors'],
  demo: () => ['demo', '--out', 'results'],
  paper: (n) => ['paper', '--quick', '--seed', `${n}`, '--out', 'results'],
}

/** @type {NodeJS.Signals[]} */
const SIGNALS = ['SIGKILL', 'SIGINT', 'SIGTERM']

/**
 * Runs the command twice, which gives the earlier and the new files, and then `moments` times on a copy of the earlier
 * ones, killing it at a random moment of the time that it takes. `counts` says how many files were found to be what;
 * `wrong` has a line for everything that is neither earlier nor new.
 */
export async function killAtMoments(name, { folder, moments, seed }) {
  const random = seededRandom(seed)
  const at = (part) => path.join(folder, part)
  const earlier = await filesAfter(at('earlier'), COMMANDS[name](1))
  const started = performance.now()
  const later = await filesAfter(at('new'), COMMANDS[name](2))
  const length = performance.now() - started
  const counts = {}
  const wrong = []
  for (let i = 0; i < moments; i++) {
    const signal = SIGNALS[i % SIGNALS.length]
    const delay = random.next() * length
    rmSync(at('killed'), { recursive: true, force: true })
    cpSync(at('earlier'), at('killed'), { recursive: true })
    const ended = await run(at('killed'), COMMANDS[name](2), { signal, delay })
    const how = `${signal} after ${Math.round(delay)} ms of ${Math.round(length)}`
    if (ended.signal !== signal && ended.status !== 0) {
      wrong.push(`${how}: ${ended.status ?? ended.signal} ${ended.stderr}`)
    }
    for (const [outcome, file] of judged(filesOf(at('killed')), earlier, later, signal)) {
      counts[outcome] = (counts[outcome] ?? 0) + 1
      if (!['earlier', 'new', 'left by SIGKILL'].includes(outcome)) {
        wrong.push(`${how}: ${file} is ${outcome}`)
      }
    }
  }
  return { counts, wrong }
}

/** What each file is, of those that are there and those that should be. */
function* judged(files, earlier, later, signal) {
  for (const [file, bytes] of files) {
    if (bytes.equals(earlier.get(file) ?? Buffer.from('\u0000'))) {
      yield ['earlier', file]
    } else if (bytes.equals(later.get(file) ?? Buffer.from('\u0000'))) {
      yield ['new', file]
    } else if (!earlier.has(file) && !later.has(file)) {
      const isPart = /^\..*\.part$/.test(path.basename(file))
      yield [isPart && signal === 'SIGKILL' ? 'left by SIGKILL' : 'left behind', file]
    } else {
      yield ['neither earlier nor new', file]
    }
  }
  for (const file of earlier.keys()) {
    if (!files.has(file)) {
      yield ['gone', file]
    }
  }
}

/** The files of a whole run in a fresh folder, by name. */
export async function filesAfter(folder, args) {
  mkdirSync(path.join(folder, 'results'), { recursive: true })
  const prompts = boxesOrder({ ...bundledWords(), prompts: 40, seed: 1 })
  writeFileSync(path.join(folder, 'prompts.jsonl'), `${prompts.map(promptLine).join('\n')}\n`)
  const { status, stderr } = await run(folder, args)
  if (status !== 0) {
    throw new Error(`${args.join(' ')} failed: ${stderr}`)
  }
  return filesOf(folder)
}

/** The files of the results in a folder, by name. */
export function filesOf(folder) {
  const results = path.join(folder, 'results')
  const names = readdirSync(results, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  )
  return new Map(
    names.map((entry) => {
      const file = path.join(entry.parentPath, entry.name)
      return [path.relative(results, file), readFileSync(file)]
    }),
  )
}

/**
 * A run of a command, killed where there is a signal and it still runs: after `delay` milliseconds, or as soon as the file
 * `once` is there.
 * @param {string} cwd
 * @param {string[]} args
 * @param {{ signal?: NodeJS.Signals, delay?: number, once?: string }} [kill]
 */
export function run(cwd, args, { signal, delay, once } = {}) {
  const child = spawn(process.execPath, [cli, ...args], { cwd, stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  const timer = signal && once === undefined && setTimeout(() => child.kill(signal), delay)
  const watch = once !== undefined && setInterval(() => existsSync(once) && child.kill(signal), 5)
  return new Promise((resolve) => {
    child.on('close', (status, killedBy) => {
      clearTimeout(timer)
      clearInterval(watch)
      resolve({ status, signal: killedBy, stderr })
    })
  })
}
