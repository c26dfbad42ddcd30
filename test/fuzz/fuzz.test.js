/** A short run of every fuzzer, and that they find what is planted. */

import { execFile } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { inputOf, loadTarget, TARGETS } from '../../scripts/fuzz/inputs.mjs'
import { temporaryFolder } from '../helpers/files.js'

const folder = temporaryFolder(test)
const script = fileURLToPath(new URL('../../scripts/fuzz/run.mjs', import.meta.url))

/** Of commands and models each input is a process of its own. */
const COUNTS = { onnx: 10, cli: 10, tokenizer: 200 }
const SEED = 1

/** The run's output and exit status. */
async function fuzz(args, env = {}) {
  const options = { env: { ...process.env, ...env }, maxBuffer: 2 ** 26 }
  return promisify(execFile)(process.execPath, [script, ...args], options).then(
    ({ stdout, stderr }) => ({ status: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ status: code, stdout, stderr }),
  )
}

for (const name of TARGETS) {
  test.serial(`${name}: nothing is found in a short run`, async (t) => {
    t.timeout(600_000)
    const count = COUNTS[name] ?? 1000
    const { status, stdout, stderr } = await fuzz([
      '--target',
      name,
      '--seed',
      `${SEED}`,
      '--count',
      `${count}`,
      '--seconds',
      '120',
    ])
    t.is(status, 0, stdout + stderr)
    t.true(stdout.includes(`${name}: ${count} inputs of seed ${SEED}, 0 findings`), stdout)
  })
}

test('the same target, seed and number give the same input, another number another', async (t) => {
  for (const name of ['npy', 'jsonl', 'arrays']) {
    const target = await loadTarget(name)
    const prepared = await target.prepare(folder)
    t.deepEqual(inputOf(target, prepared, 3, 7), inputOf(target, await target.prepare(folder), 3, 7))
    t.notDeepEqual(inputOf(target, prepared, 3, 7), inputOf(target, prepared, 3, 8))
    t.notDeepEqual(inputOf(target, prepared, 3, 7), inputOf(target, prepared, 4, 7))
  }
})

/** The inputs of the planted targets. */
const PLAIN = { make: (random) => Buffer.from(String(random.next())) }

const PLANTED = {
  abort: { body: 'process.abort()', found: /abort \(SIGABRT\) at input 2/ },
  exit: { body: 'process.exit(0)', found: /abort \(status 0\) at input 2/ },
  hang: { body: 'for (;;);', found: /hang at input 2/ },
  memory: {
    body: 'const held = []; for (;;) held.push(Buffer.alloc(2 ** 26, 1))',
    found: /memory at input 2/,
  },
  error: { body: "throw new TypeError('planted')", found: /error without a code at input 2/ },
  unhandled: {
    body: "Promise.reject(new TypeError('planted')); await new Promise(setImmediate)",
    found: /unhandledRejection at input 2/,
  },
}

for (const [name, { body, found }] of Object.entries(PLANTED)) {
  test(`a planted ${name} is found, and laid at its input`, async (t) => {
    const module = path.join(folder, `${name}.mjs`)
    writeFileSync(
      module,
      `import { readFileSync } from 'node:fs'
      export const target = {
        extension: 'txt',
        prepare: async () => {},
        make: (random) => Buffer.from(String(random.next())),
        run: async (file) => {
          if (readFileSync(file, 'utf8') === ${JSON.stringify(inputOf(PLAIN, undefined, SEED, 2).toString())}) { ${body} }
        },
      }`,
    )
    const { status, stdout } = await fuzz([
      '--target',
      module,
      '--seed',
      `${SEED}`,
      '--count',
      '4',
      '--seconds',
      name === 'hang' ? '2' : '60',
    ])
    t.is(status, 1, stdout)
    t.regex(stdout, found)
    t.regex(stdout, /4 inputs of seed 1, 1 findings/)
    const kept = stdout.split('\n')[1].trim()
    t.is(readFileSync(kept, 'utf8'), inputOf(PLAIN, undefined, SEED, 2).toString())
    rmSync(kept)
  })
}

test('wrong options are refused with status 2', async (t) => {
  /** @type {[string[], RegExp][]} */
  const wrong = [
    [['--target', 'nothing'], /there is no target nothing/],
    [['--count', '1.5'], /--count is 1.5/],
    [['--sed', '1'], /--sed/],
    [['--seed', 'x'], /--seed is x, expected a whole number/],
  ]
  for (const [args, message] of wrong) {
    const { status, stderr } = await fuzz(args)
    t.is(status, 2)
    t.regex(stderr, message)
  }
})
