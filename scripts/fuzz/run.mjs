/**
 * Tries random inputs: `node scripts/fuzz/run.mjs --target NAME --seed N --count C [--from I] [--seconds 20]`. Without a
 * target all are tried.
 *
 * An input must be taken, or refused by an error with a code: no abort, no hang, no more than 2 GiB, no other error. Inputs
 * are tried in child processes, many in each, which are started again when they die. What is found is printed with its
 * seed and number, and its input is written to build/fuzz; the exit status is 1 then.
 */

import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { inputOf, loadTarget, TARGETS } from './inputs.mjs'
import { watch } from './limits.mjs'

const MOST_BYTES = 2 ** 31
/** Long enough for a child to prepare, on a machine that has other things to do. */
const PREPARE_SECONDS = 120

const values = options()
const [seed, count, from, seconds] = ['seed', 'count', 'from', 'seconds'].map((option) => {
  const value = Number(values[option])
  if (!Number.isSafeInteger(value) || value < 0) {
    usage(`--${option} is ${values[option]}, expected a whole number`)
  }
  return value
})
const names = values.target ?? TARGETS
const unknown = names.find((name) => !TARGETS.includes(name) && !path.isAbsolute(name))
if (unknown !== undefined) {
  usage(`there is no target ${unknown}; there are ${TARGETS.join(', ')}`)
}

const kept = fileURLToPath(new URL('../../build/fuzz/', import.meta.url))
let failed = false
for (const name of names) {
  const found = await tryTarget(name)
  failed ||= found > 0
}
process.exit(failed ? 1 : 0)

async function tryTarget(name) {
  const folder = mkdtempSync(path.join(os.tmpdir(), `qkspace-fuzz-${path.basename(name)}-`))
  const counts = {}
  const findings = []
  try {
    for (let next = from; next < from + count; ) {
      next = await tryUntilDeath(name, next, folder, counts, findings)
    }
    const kinds = new Map()
    for (const finding of findings) {
      kinds.set(likeness(finding), [...(kinds.get(likeness(finding)) ?? []), finding])
    }
    for (const alike of kinds.values()) {
      await report(name, alike, folder)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  const table = Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([outcome, times]) => `${outcome} ${times}`)
  process.stdout.write(
    `${name}: ${count} inputs of seed ${seed}, ${findings.length} findings (${table.join(', ')})\n`,
  )
  return findings.length
}

/** Starts a child at input `start`; the number of the input to go on with. */
async function tryUntilDeath(name, start, folder, counts, findings) {
  const end = from + count
  const script = fileURLToPath(new URL('./child.mjs', import.meta.url))
  writeFileSync(path.join(folder, 'progress'), '')
  const child = spawn(
    process.execPath,
    ['--expose-gc', script, name, `${seed}`, `${start}`, `${end}`, folder],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, HF_HUB_OFFLINE: '1', NODE_NO_WARNINGS: '1' },
    },
  )
  let words = ''
  child.stderr.setEncoding('utf8').on('data', (text) => {
    words = (words + text).slice(-2000)
  })
  let uncaught = false
  let finished = false
  const lines = createInterface({ input: child.stdout })
  lines.on('line', (line) => {
    const told = JSON.parse(line)
    if (told.finished) {
      finished = true
    } else if (told.outcome) {
      counts[told.outcome] = (counts[told.outcome] ?? 0) + 1
    } else {
      uncaught ||= told.kind.startsWith('un')
      findings.push(told)
    }
  })
  const reached = () => {
    const bytes = readFileSync(path.join(folder, 'progress'))
    return bytes.length < 8 ? undefined : bytes.readDoubleLE()
  }
  let over
  let stop = watch(child.pid, { seconds: PREPARE_SECONDS, bytes: MOST_BYTES, progress: reached }, (kind) => {
    over = kind
  })
  const started = setInterval(() => {
    if (reached() === undefined) {
      return
    }
    clearInterval(started)
    stop()
    stop = watch(child.pid, { seconds, bytes: MOST_BYTES, progress: reached }, (kind) => {
      over = kind
    })
  }, 50)
  const [status, signal] = await new Promise((resolve) => {
    child.on('close', (...outcome) => resolve(outcome))
  })
  clearInterval(started)
  stop()
  const index = reached()
  if (status === 0 && finished) {
    return end
  }
  if (index === undefined) {
    throw new Error(`${name}: the child could not start: ${signal ?? status}\n${words}`)
  }
  if (!uncaught) {
    findings.push({ index, kind: over ?? `abort (${signal ?? `status ${status}`})`, message: words })
  }
  return index + 1
}

/** The same for findings that have come the same way: their kind, and where in the code they arose. */
function likeness({ kind, message }) {
  const frames = message.match(/^ +at .*$/gm) ?? [message.slice(0, 60)]
  return [kind, ...frames.slice(0, 3)].join('\n')
}

/** Prints the first of findings that are alike, and keeps its input. */
async function report(name, [{ index, kind, message }, ...more], folder) {
  const target = await loadTarget(name)
  mkdirSync(kept, { recursive: true })
  const file = path.join(kept, `${path.basename(name)}-${seed}-${index}.${target.extension}`)
  writeFileSync(file, inputOf(target, await target.prepare(folder), seed, index))
  const again = `npm run fuzz -- --target ${name} --seed ${seed} --from ${index} --count 1`
  process.stdout.write(
    `${name}: ${kind} at input ${index}: ${again}\n  ${file}\n  ${message.trim().slice(0, 600)}\n`,
  )
  if (more.length > 0) {
    process.stdout.write(`  ${more.length} more like it\n`)
  }
}

function options() {
  try {
    return parseArgs({
      options: {
        target: { type: 'string', multiple: true },
        seed: { type: 'string', default: '0' },
        count: { type: 'string', default: '1000' },
        from: { type: 'string', default: '0' },
        seconds: { type: 'string', default: '20' },
      },
    }).values
  } catch (error) {
    return usage(error.message)
  }
}

function usage(message) {
  process.stderr.write(`${message}\n`)
  process.exit(2)
}
