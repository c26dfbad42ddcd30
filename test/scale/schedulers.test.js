/** The examples for Slurm, Kubernetes and GNU parallel, run with the variables that those set. */

import { execFile, spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { boxesOrder, bundledFile, bundledWords, writePrompts } from '../../dist/index.js'
import { cli, temporaryFolder } from '../helpers/files.js'

const folder = temporaryFolder(test)
const examples = fileURLToPath(new URL('../../examples/scale/', import.meta.url))
const run = promisify(execFile)
const SHARDS = 3

const prompts = path.join(folder, 'prompts.jsonl')
const bin = path.join(folder, 'bin')
// A tokenizer beside the model is found.
const MODEL = path.join(folder, 'model', 'model.onnx')
const common = { MODEL, PROMPTS: prompts, SHARDS: `${SHARDS}` }

test.before(async () => {
  await writePrompts(prompts, boxesOrder({ ...bundledWords(), prompts: 60, seed: 1 }))
  mkdirSync(bin)
  mkdirSync(path.dirname(MODEL))
  copyFileSync(bundledFile('boxes.onnx'), MODEL)
  copyFileSync(bundledFile('boxes.tokenizer.json'), path.join(path.dirname(MODEL), 'tokenizer.json'))
  // What an installation puts on the path.
  const command = path.join(bin, 'qkspace')
  writeFileSync(command, `#!/bin/sh\nexec "${process.execPath}" "${cli}" "$@"\n`)
  chmodSync(command, 0o755)
  const one = path.join(folder, 'one')
  await run(process.execPath, [cli, 'sweep', '--model', MODEL, '--prompts', prompts, '--out', one])
})

const environment = (more) => ({
  ...process.env,
  ...common,
  ...more,
  PATH: `${bin}${path.delimiter}${process.env.PATH}`,
})

/** Merges as the example does, and compares with one pass. */
async function mergedIsOnePass(t, RUN) {
  await run('sh', [path.join(examples, 'merge.sh')], { env: environment({ RUN }) })
  const read = (place) => JSON.parse(readFileSync(path.join(place, 'sweep.json'), 'utf8'))
  const told = ({ rows, roles }) => ({
    roles: Object.fromEntries(
      Object.entries(roles).map(([head, own]) => [head, own.map(({ role }) => role)]),
    ),
    rows: rows.map(({ head, contrast, rank, p, q, discovered }) => ({
      head,
      contrast,
      rank,
      p,
      q,
      discovered,
    })),
  })
  t.deepEqual(told(read(path.join(RUN, 'found'))), told(read(path.join(folder, 'one'))))
}

test('Slurm: an array of jobs', async (t) => {
  const RUN = path.join(folder, 'slurm')
  for (let task = 1; task <= SHARDS; task++) {
    const env = environment({ RUN, SLURM_ARRAY_TASK_ID: `${task}`, SLURM_ARRAY_TASK_COUNT: `${SHARDS}` })
    await run('sh', [path.join(examples, 'slurm.sh')], { env })
  }
  await mergedIsOnePass(t, RUN)
})

test('Kubernetes: an indexed job', async (t) => {
  const RUN = path.join(folder, 'kubernetes')
  const lines = readFileSync(path.join(examples, 'kubernetes.yaml'), 'utf8').split('\n')
  const begin = lines.findIndex((line) => line.trim() === '- |') + 1
  const script = lines.slice(begin).join('\n')
  for (let index = 0; index < SHARDS; index++) {
    await run('sh', ['-euc', script], { env: environment({ RUN, JOB_COMPLETION_INDEX: `${index}` }) })
  }
  await mergedIsOnePass(t, RUN)
})

test('a shard that is missing is listed', async (t) => {
  const RUN = path.join(folder, 'incomplete')
  for (const task of ['1', '3']) {
    const env = environment({ RUN, SLURM_ARRAY_TASK_ID: task, SLURM_ARRAY_TASK_COUNT: `${SHARDS}` })
    await run('sh', [path.join(examples, 'slurm.sh')], { env })
  }
  /** @type {any} */
  const error = await t.throwsAsync(
    run('sh', [path.join(examples, 'merge.sh')], { env: environment({ RUN }) }),
  )
  t.regex(error.stderr, /missing of 3 shards: 2/)
})

const hasParallel = spawnSync('parallel', ['--version'], { encoding: 'utf8' }).stdout?.startsWith('GNU')
const withParallel = hasParallel ? test : test.skip

withParallel(`GNU parallel${hasParallel ? '' : ' (needs it)'}`, async (t) => {
  const RUN = path.join(folder, 'parallel')
  const env = environment({ RUN, PARALLEL_HOME: path.join(folder, 'parallel-home') })
  await run('sh', [path.join(examples, 'parallel.sh'), '--jobs', '2'], { env })
  await mergedIsOnePass(t, RUN)
})
