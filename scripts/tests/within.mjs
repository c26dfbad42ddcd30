/**
 * All tests as far as a time allows: `node scripts/tests/within.mjs MINUTES`. The fast tier comes first and is never cut
 * off; the other files follow as long as there is time. Names what was left out; exits 1 where something failed.
 */

import { spawn } from 'node:child_process'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { slowFiles } from '../../test/tiers.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const ava = path.join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs')

const minutes = Number(process.argv[2])
if (!(minutes > 0)) {
  process.stderr.write(`the first argument is ${process.argv[2]}, expected a number of minutes\n`)
  process.exit(2)
}
const end = Date.now() + minutes * 60_000
const failed = []
const leftOut = []

if (!(await run([ava, '--config', 'ava.fast.config.js']))) {
  failed.push('the fast tier')
}
// What several of the files load is built once.
await run(['test/cuda-on-host/prepare.mjs'])

const waiting = slowFiles()
const work = async () => {
  for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
    if (Date.now() > end) {
      leftOut.push(file)
    } else if (!(await run([ava, file]))) {
      failed.push(file)
    }
  }
}
await Promise.all(Array.from({ length: os.availableParallelism() }, work))

for (const name of failed) {
  process.stderr.write(`failed: ${name}\n`)
}
if (leftOut.length > 0) {
  process.stderr.write(`left out, since ${minutes} minutes were over: ${leftOut.join(', ')}\n`)
} else {
  process.stderr.write('nothing was left out\n')
}
process.exit(failed.length > 0 ? 1 : 0)

/** Whether the script succeeded; what it printed comes when it is done, so that two do not write into each other. */
function run(args) {
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text
    })
  }
  return new Promise((resolve) => {
    child.on('close', (status) => {
      process.stdout.write(output)
      resolve(status === 0)
    })
  })
}
