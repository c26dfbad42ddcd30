/**
 * The tests that need a GPU; without one they fail, with the reason.
 *
 *   npm run test:gpu                        the conformance suite, every kernel, and commands end to end on 'cuda'
 *   npm run test:gpu -- --sanitize          every kernel in a small case, under compute-sanitizer: memcheck, then racecheck
 *   npm run test:gpu -- --sanitize --whole  all tests instead, which takes racecheck very long
 *   npm run test:gpu -- --match '*pairs*'   tests of that title (AVA's patterns; may be repeated)
 *   npm run test:gpu -- --results FOLDER    what was printed, as files
 */

import { spawn, spawnSync } from 'node:child_process'
import { createWriteStream, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values: options } = parseArgs({
  options: {
    sanitize: { type: 'boolean', default: false },
    whole: { type: 'boolean', default: false },
    match: { type: 'string', multiple: true, default: [] },
    results: { type: 'string' },
  },
})
const root = fileURLToPath(new URL('../../', import.meta.url))
const results = options.results && path.resolve(options.results)
if (results) {
  mkdirSync(results, { recursive: true })
}

const ava = [
  path.join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs'),
  options.sanitize && !options.whole ? 'test/backend/kernels-cuda.test.js' : 'test/**/*-cuda.test.js',
  ...options.match.flatMap((title) => ['--match', title]),
]

if (!options.sanitize) {
  process.exit(await run('test', process.execPath, ava))
}
const sanitizer = ['compute-sanitizer', '/usr/local/cuda/bin/compute-sanitizer'].find(
  (exe) => spawnSync(exe, ['--version']).status === 0,
)
if (!sanitizer) {
  process.stderr.write('compute-sanitizer was not found; it comes with the CUDA toolkit\n')
  process.exit(1)
}
const verdicts = []
for (const tool of ['memcheck', 'racecheck']) {
  verdicts.push(await sanitize(tool))
}
process.exit(verdicts.every(Boolean) ? 0 : 1)

/** Runs with the GPU required, shows what is printed, and keeps it. Gives the exit status. */
function run(name, command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, QKSPACE_REQUIRE: 'cuda' },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const log = results && createWriteStream(path.join(results, `${name}.txt`))
    for (const stream of ['stdout', 'stderr']) {
      child[stream].on('data', (chunk) => {
        process[stream].write(chunk)
        log?.write(chunk)
      })
    }
    child.on('error', reject)
    child.on('close', (status) => (log ? log.end(() => resolve(status ?? 1)) : resolve(status ?? 1)))
  })
}

/** Whether the tests pass under the tool and it finds nothing in any of their processes. */
async function sanitize(tool) {
  const folder = path.join(results ?? path.join(root, 'build'), tool)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const status = await run(`${tool}-tests`, sanitizer, [
    '--tool',
    tool,
    '--target-processes',
    'all',
    '--log-file',
    path.join(folder, '%p.txt'),
    process.execPath,
    ...ava,
    '--timeout',
    '30m',
  ])
  const logs = readdirSync(folder).map((name) => readFileSync(path.join(folder, name), 'utf8'))
  rmSync(folder, { recursive: true })
  if (results) {
    writeFileSync(path.join(results, `${tool}.txt`), logs.join('\n'))
  }
  // Of the runner's processes one uses the GPU; the others end without a summary, or with one that counts nothing.
  const summaries = logs.flatMap((log) => log.match(/^=+ (ERROR|RACECHECK) SUMMARY: .*$/gm) ?? [])
  const clean = summaries.length > 0 && summaries.every((line) => /SUMMARY: 0 /.test(line))
  for (const line of summaries) {
    process.stdout.write(`${tool}: ${line.replace(/^=+ /, '')}\n`)
  }
  if (summaries.length === 0) {
    process.stdout.write(`${tool}: no summary; it did not see the GPU being used\n`)
  }
  return status === 0 && clean
}
