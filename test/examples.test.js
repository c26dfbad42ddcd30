/** Every file of examples/ runs as it is, from any folder, and says what it should. */

import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { readPrompts } from '../dist/index.js'
import { cudaOnHost, noCompiler } from './helpers/cuda-on-host.js'
import { temporaryFolder } from './helpers/files.js'
import { root, runProgram } from './helpers/packages.js'

const folder = temporaryFolder(test)
const examples = path.join(root, 'examples')

/** Output and what was left behind, of a run in a folder of its own. */
async function run(name, ...args) {
  const cwd = mkdtempSync(path.join(folder, 'run-'))
  const env = { ...process.env, TMPDIR: cwd }
  const program = path.join(examples, name)
  const { status, stdout, stderr } = await runProgram(process.execPath, [program, ...args], { cwd, env })
  return { status, stdout, stderr, cwd, left: readdirSync(cwd) }
}

const EXPECTED = {
  'first-steps.mjs': (t, { stdout }) => {
    t.regex(stdout, /^6 of 16 heads discovered/)
    t.regex(stdout, /L3H0: rank 9, p 0\.0001, q 0\.0004/)
    t.regex(stdout, /95th percentile of exchanged prompts 2\.\d/)
    t.regex(stdout, /with random labels: 0 heads discovered\n$/)
  },
  'roles.mjs': (t, { stdout }) => {
    t.is(stdout.match(/^L1H[0-3]: induction, \d\d% of its attention$/gm).length, 4)
    t.is(stdout.match(/^L0H[13]: previous token, \d\d% of its attention$/gm).length, 2)
    t.regex(stdout, /subspaces of exchanged prompts \d+%, random ones \d+%\n$/)
  },
  'own-prompt-set.mjs': (t, { stdout, cwd, left }) => {
    t.regex(stdout, /^120 prompts, the first:/)
    t.regex(stdout, /discovered: .*L3H0 \(rank \d+, q 0\.0/)
    const [made] = left
    t.is(
      readFileSync(path.join(cwd, made, 'own.jsonl'), 'utf8')
        .trimEnd()
        .split('\n').length,
      120,
    )
  },
  'arrays-backend.mjs': (t, { stdout }) => {
    t.regex(stdout, /^head 0: rank 1, p 0\.0001$/m)
    t.regex(stdout, /^head 1: rank 0, p 0\.[1-9]/m)
  },
  'gpu.mjs': (t, { stdout }) => {
    t.regex(stdout, /^(no GPU is used: .+|on .+\nC\+ of 32 heads from 16384 pairs: \d+ numbers)/)
  },
  'transformers-js-folder.mjs': (t, { stdout, left }) => {
    t.is(stdout.split('\n')[0], 'onnx/model.onnx: 4 attention sites, a tokenizer beside it')
    t.regex(stdout, /pattern of L3H0: \[1,1,7,7\]/)
    t.deepEqual(left, [])
  },
  'story-names.mjs': async (t, { stdout, cwd }) => {
    const file = path.join(cwd, 'stories.jsonl')
    writeFileSync(file, stdout)
    let read = 0
    for await (const _ of readPrompts(file)) {
      read++
    }
    t.is(read, 200)
  },
}

test('every example is expected to do something, and is in the table', (t) => {
  const files = readdirSync(examples).filter((name) => name.endsWith('.mjs'))
  t.deepEqual(files.sort(), Object.keys(EXPECTED).sort())
  const table = readFileSync(path.join(examples, 'README.md'), 'utf8')
  for (const name of files) {
    t.true(table.includes(`(${name})`), name)
  }
})

for (const [name, check] of Object.entries(EXPECTED)) {
  test(name, async (t) => {
    const ran = await run(name)
    t.is(ran.status, 0, ran.stderr)
    await check(t, ran)
  })
}

const noEmulator = noCompiler()
const emulatorTest = noEmulator ? test.skip : test
const emulated = 'gpu.mjs where a GPU is emulated'
emulatorTest(noEmulator ? `${emulated} (${noEmulator})` : emulated, async (t) => {
  t.timeout(300_000)
  const env = { ...process.env, QKSPACE_CUDA_LIBRARY: cudaOnHost() }
  const program = path.join(examples, 'gpu.mjs')
  const { status, stdout, stderr } = await runProgram(process.execPath, [program, '48', '2'], { env })
  t.is(status, 0, stderr)
  t.regex(stdout, /^on CUDA on the host.*\nC\+ of 2 heads from 48 pairs: 32768 numbers\n$/)
})
