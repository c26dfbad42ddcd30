/** Runs on a real Redis with real workers: the results of one pass, and what workers refuse, repeat and leave. */

import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { bundledFile } from '../../dist/bundled/files.js'
import { Runs } from '../../dist/cluster/runs.js'
import { loadResult } from '../../dist/index.js'
import { Cluster, noRedis, pause } from '../helpers/cluster.js'
import { temporaryFolder } from '../helpers/files.js'
import { copyPackage } from '../helpers/package-copy.js'
import { resultHash, testsOf } from '../helpers/scale.js'

const folder = temporaryFolder(test)
const FAST = ['--batch-size', '8', '--nulls', '2']
let cluster
let runs
let places = 0

const skipped = (title, run) => test.skip(`${title} (${noRedis})`, run)
const withRedis = noRedis ? skipped : test.serial

/** Every test has a folder and prompts of its own, and all have one Redis. */
test.beforeEach(async (t) => {
  if (noRedis) {
    return
  }
  t.timeout(300_000)
  cluster = await Cluster.start(path.join(folder, `${places++}`), { prompts: 32 })
  runs = await Runs.open({ redis: cluster.redis.url, queue: 'qkspace' })
})

test.afterEach.always(async () => {
  await runs?.close()
  await cluster?.end()
})

const statusIn = ({ stdout }) => JSON.parse(stdout)

/** Waits for a state of a run that holds. */
async function until(run, holds) {
  for (;;) {
    const status = await runs.status(run).catch(() => undefined)
    if (status && holds(status)) {
      return status
    }
    await pause(50)
  }
}

/** The run that was submitted. */
async function runOf(submitted) {
  await submitted.says(/"run":"[^"]+"/)
  return /"run":"([^"]+)"/.exec(submitted.stderr)[1]
}

withRedis('decompose: the tests of one pass, progress and the result as JSON', async (t) => {
  const workers = [cluster.worker(), cluster.worker()]
  const { status, stdout, stderr } = await cluster.submit('decompose', { more: FAST }).ended
  t.is(status, 0, stderr)
  const { run, ...said } = JSON.parse(stdout)
  const out = cluster.at('decompose.safetensors')
  t.like(said, {
    state: 'done',
    shards: 4,
    done: 4,
    running: [],
    failed: [],
    refusals: [],
    out,
    saved: [out],
  })
  const lines = stderr.split('\n').filter((line) => line.startsWith('{'))
  t.true(lines.length >= 2)
  for (const line of lines) {
    t.like(JSON.parse(line), { run, shards: 4 })
  }
  const result = await loadResult(out)
  t.is(result.info.prompts.prompts, 32)
  t.deepEqual(testsOf(result), testsOf(await loadResult(await cluster.onePass('decompose', { more: FAST }))))
  const told = workers.map((worker) => worker.stderr).join('')
  for (const job of [`${run}-1`, `${run}-2`, `${run}-3`, `${run}-4`, run]) {
    t.is(told.split(`${job} is done\n`).length, 2, `${job} once`)
  }

  // The same shards put together by hand.
  const files = readdirSync(cluster.at('runs', run)).map((file) => cluster.at('runs', run, file))
  const merged = await cluster.merge(files, 'merged.safetensors')
  t.is(resultHash(await loadResult(merged)), resultHash(result))

  // Submitted again, with another place for the result: nothing is computed again.
  const before = files.map((file) => statSync(file).ino)
  const again = await cluster.submit('decompose', { more: FAST, out: 'again.safetensors' }).ended
  t.is(again.status, 0, again.stderr)
  t.is(statusIn(again).run, run)
  t.deepEqual(
    files.map((file) => statSync(file).ino),
    before,
  )
  t.is(resultHash(await loadResult(cluster.at('again.safetensors'))), resultHash(result))
  t.true(workers.some((worker) => /is done: its file was there/.test(worker.stderr)))
})

withRedis('sweep: a folder with the rows of one pass', async (t) => {
  cluster.worker({ concurrency: 2 })
  const more = ['--batch-size', '8', '--nulls', '2', '--held-out', '8', '--heads', 'L0H1,L3H0']
  const { status, stderr, stdout } = await cluster.submit('sweep', { out: 'found', shards: 2, more }).ended
  t.is(status, 0, stderr)
  t.deepEqual(readdirSync(cluster.at('found')).sort(), [
    'sweep.csv',
    'sweep.html',
    'sweep.json',
    'sweep.safetensors',
  ])
  t.is(JSON.parse(stdout).saved.length, 4)
  await cluster.onePass('sweep', { out: 'one', more })
  const testsIn = (name) =>
    JSON.parse(readFileSync(cluster.at(name, 'sweep.json'), 'utf8')).rows.map(
      ({ head, contrast, rank, p, q, discovered }) => ({ head, contrast, rank, p, q, discovered }),
    )
  t.deepEqual(testsIn('found'), testsIn('one'))
})

withRedis('what lies in the place of a shard and is not it is replaced', async (t) => {
  const worker = cluster.worker()
  const first = statusIn(await cluster.submit('decompose', { shards: 3, more: FAST }).ended)
  const file = (shard) => cluster.at('runs', first.run, `shard-${shard}-of-3.safetensors`)
  const whole = readFileSync(file(1))
  const damaged = Buffer.from(whole)
  damaged[damaged.length - 5000] ^= 1
  writeFileSync(file(1), damaged)
  writeFileSync(file(2), 'no tensors')
  writeFileSync(file(3), whole)
  worker.stderr = ''
  const again = await cluster.submit('decompose', { shards: 3, more: FAST, out: 'again.safetensors' }).ended
  t.is(again.status, 0, again.stderr)
  t.false(/its file was there/.test(worker.stderr))
  t.deepEqual(readFileSync(file(1)), whole)
  const hashOf = async (name) => resultHash(await loadResult(cluster.at(name)))
  t.is(await hashOf('again.safetensors'), await hashOf('decompose.safetensors'))
  t.deepEqual(
    readdirSync(cluster.at('runs', first.run)).filter((name) => name.startsWith('.')),
    [],
    'nothing unfinished',
  )
})

/** @type {[what: string, worker: () => any, reason: RegExp][]} */
const WRONG_WORKERS = [
  [
    'another model file',
    () => ({ models: cluster.writeModels('other.json', { model: bundledFile('induction.onnx') }) }),
    /the model .*induction\.onnx has SHA-256/,
  ],
  [
    'another tokenizer',
    () => ({ models: cluster.writeModels('other.json', { tokenizer: otherTokenizer() }) }),
    /the tokenizer has SHA-256/,
  ],
  [
    'no model of the name',
    () => ({ models: cluster.writeModels('other.json', undefined, 'toys') }),
    /names no model "boxes"/,
  ],
  [
    'another version',
    () => ({ command: copyPackage(path.join(folder, 'other-version'), { version: '9.9.9' }) }),
    /qkspace 9\.9\.9 is here, and the run is of/,
  ],
]

for (const [what, worker, reason] of WRONG_WORKERS) {
  withRedis(`a worker with ${what} does not take the run; another one does`, async (t) => {
    const wrong = cluster.worker(worker())
    const submitted = cluster.submit('decompose', { shards: 2, more: FAST })
    const run = await runOf(submitted)
    const { refusals, done } = await until(run, (status) => status.refusals.length > 0)
    t.is(done, 0)
    t.regex(refusals[0].worker, new RegExp(`:${wrong.pid}$`))
    t.regex(refusals[0].reason, reason)
    cluster.worker()
    const { status, stderr } = await submitted.ended
    t.is(status, 0, stderr)
    t.regex(wrong.stderr, /is refused: /)
    t.notRegex(wrong.stderr, /is done/)
  })
}

function otherTokenizer() {
  const file = cluster.at('tokenizer.json')
  writeFileSync(file, `${readFileSync(bundledFile('boxes.tokenizer.json'), 'utf8')}\n`)
  return file
}

withRedis('a job that runs twice counts once', async (t) => {
  const first = cluster.worker()
  const submitted = cluster.submit('decompose', { shards: 2, more: FAST })
  const run = await runOf(submitted)
  // Stopped in the middle of a job: it seems to be gone, and comes back later.
  const stopped = await stopInJob(first, run)
  const second = cluster.worker()
  await second.says(/is taken over/)
  const { status, stdout, stderr } = await submitted.ended
  t.is(status, 0, stderr)
  t.is(JSON.parse(stdout).done, 2)
  for (const pid of stopped) {
    process.kill(pid, 'SIGCONT')
  }
  await first.says(/could not renew lock|Missing lock|is done|failed/)
  t.like(await runs.status(run), { state: 'done', done: 2, failed: [] })
  const result = await loadResult(cluster.at('decompose.safetensors'))
  t.is(result.info.prompts.prompts, 32)
  t.deepEqual(testsOf(result), testsOf(await loadResult(await cluster.onePass('decompose', { more: FAST }))))
})

async function stopInJob(worker, run) {
  for (;;) {
    await until(run, ({ running }) => running.length > 0)
    const pids = [...worker.children, worker.pid]
    for (const pid of pids) {
      process.kill(pid, 'SIGSTOP')
    }
    const { running } = await runs.status(run)
    if (running.length > 0) {
      return pids
    }
    for (const pid of pids) {
      process.kill(pid, 'SIGCONT')
    }
  }
}

withRedis('what no other try mends fails at once, with the list', async (t) => {
  const worker = cluster.worker()
  writeFileSync(cluster.at('bad.jsonl'), `${readFileSync(cluster.at('prompts.jsonl'), 'utf8')}{"text": 3}\n`)
  const { status, stdout, stderr } = await cluster.submit('decompose', { prompts: 'bad.jsonl', shards: 2 })
    .ended
  t.is(status, 1)
  const { state, failed, reason, run } = JSON.parse(stdout)
  t.is(state, 'failed')
  t.deepEqual(
    failed.map(({ shard }) => shard),
    [1, 2],
  )
  for (const { reason: why } of failed) {
    t.regex(why, /bad\.jsonl:33/)
  }
  t.regex(reason, /^2 of 2 shards lack:\n {2}shard 1\/2: .*bad\.jsonl:33.*\n {2}shard 2\/2: /)
  t.regex(stderr, /2 of 2 shards lack/)
  t.is(worker.stderr.split(`${run}-1 failed: `).length, 2, 'tried once')
  t.false(existsSync(cluster.at('decompose.safetensors')))

  // Mended, it is another run.
  const mended = await cluster.submit('decompose', { shards: 2, more: FAST }).ended
  t.is(mended.status, 0, mended.stderr)
})

withRedis('prompts that change after they were submitted', async (t) => {
  const submitted = cluster.submit('decompose', { shards: 2 })
  await runOf(submitted)
  const file = cluster.at('prompts.jsonl')
  writeFileSync(file, readFileSync(file, 'utf8').split('\n').slice(4).join('\n'))
  cluster.worker()
  const { status, stdout } = await submitted.ended
  t.is(status, 1)
  t.regex(JSON.parse(stdout).failed[0].reason, /prompts\.jsonl has changed since the run was submitted/)
})

withRedis('cancelled: nothing of the run stays in the queue, and workers go on with others', async (t) => {
  const worker = cluster.worker()
  const submitted = cluster.submit('decompose', { shards: 16, more: ['--batch-size', '2'] })
  const run = await runOf(submitted)
  await until(run, ({ running }) => running.length > 0)
  const cancelling = await cluster.command('submit', 'cancel', run).ended
  t.is(cancelling.status, 0, cancelling.stderr)
  const { status, stdout, stderr } = await submitted.ended
  t.is(status, 1)
  t.is(JSON.parse(stdout).state, 'cancelled')
  t.regex(stderr, /was cancelled/)
  const unknown = await cluster.command('submit', 'status', run).ended
  t.is(unknown.status, 1)
  t.regex(unknown.stderr, /there is no run decompose-/)
  t.false(existsSync(cluster.at('decompose.safetensors')))
  const next = await cluster.submit('decompose', { shards: 2, more: FAST }).ended
  t.is(next.status, 0, next.stderr)
  t.true(worker.isAlive)
  const nothing = await cluster.command('submit', 'cancel', 'decompose-0').ended
  t.is(nothing.status, 1)
  t.regex(nothing.stderr, /there is no run decompose-0/)
})

withRedis('a worker that is asked to end gives back what it is at', async (t) => {
  const first = cluster.worker()
  const submitted = cluster.submit('decompose', { shards: 4, more: FAST })
  await until(await runOf(submitted), ({ running }) => running.length > 0)
  const { status, signal } = await first.kill('SIGTERM')
  t.deepEqual({ status, signal }, { status: 0, signal: null })
  t.deepEqual(first.children, [])
  const second = cluster.worker()
  const ended = await submitted.ended
  t.is(ended.status, 0, ended.stderr)
  t.notRegex(second.stderr, /is taken over/)
})

withRedis('a child process outlives no worker', async (t) => {
  const worker = cluster.worker()
  const run = await runOf(cluster.submit('decompose', { shards: 4, more: FAST }))
  await until(run, ({ running }) => running.length > 0)
  let child
  while (child === undefined) {
    await pause(20)
    child = worker.children[0]
  }
  await worker.kill('SIGKILL')
  const isThere = () =>
    existsSync(`/proc/${child}`) && !/\) Z /.test(readFileSync(`/proc/${child}/stat`, 'utf8'))
  while (isThere()) {
    await pause(20)
  }
  t.pass()
})

withRedis('submitted twice at a time it is one run; detached, and its status', async (t) => {
  const both = [1, 2].map(() => cluster.submit('decompose', { more: [...FAST, '--detach'] }).ended)
  const [one, two] = (await Promise.all(both)).map(({ status, stdout, stderr }) => {
    t.is(status, 0, stderr)
    return JSON.parse(stdout)
  })
  t.deepEqual(one, two)
  const { run, state } = one
  t.is(state, 'capture')
  const other = await cluster.submit('decompose', { more: FAST, out: 'other.safetensors' }).ended
  t.is(other.status, 1)
  t.regex(other.stderr, /is under way, and writes .*decompose\.safetensors/)
  const joined = cluster.submit('decompose', { more: FAST })
  await runOf(joined)
  cluster.worker()
  const { status, stderr, stdout } = await joined.ended
  t.is(status, 0, stderr)
  t.is(JSON.parse(stdout).run, run)
  const shown = await cluster.command('submit', 'status', run).ended
  t.is(shown.status, 0, shown.stderr)
  t.is(
    shown.stdout,
    `${run}: done\n4 of 4 shards done, 0 running, 0 failed\nsaved ${cluster.at('decompose.safetensors')}\n`,
  )
})

withRedis('a worker says that Redis is away, and that it is back, and goes on', async (t) => {
  const worker = cluster.worker()
  const first = await cluster.submit('decompose', { shards: 1, more: FAST }).ended
  t.is(first.status, 0, first.stderr)
  for (let time = 1; time <= 2; time++) {
    await cluster.redis.end('SIGKILL')
    await worker.says(/Redis does not answer \(connect ECONNREFUSED .*\); waiting for it/)
    await cluster.redis.begin()
    await worker.says(/Redis is back/)
    worker.stderr = ''
  }
  const second = await cluster.submit('decompose', { shards: 2, more: FAST }).ended
  t.is(second.status, 0, second.stderr)
})

withRedis('Redis that forgets is told', async (t) => {
  const weak = await cluster.command('submit', 'status', 'decompose-0').ended
  t.notRegex(weak.stderr, /may forget/)
  await cluster.redis.set('appendfsync', 'everysec')
  const told = await cluster.command('submit', 'status', 'decompose-0').ended
  t.regex(told.stderr, /warning: Redis may forget jobs .*--appendfsync always/)
})
