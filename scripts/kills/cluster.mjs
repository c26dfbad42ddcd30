/**
 * A run on a cluster whose workers, their child processes and whose Redis are killed again and again. Its result has to be
 * that of shards that nobody disturbed, to the bit, and its tests have to be those of one pass.
 *
 *   node scripts/kills/cluster.mjs [--shards 64] [--workers 4] [--kills 20] [--restarts 5] [--seed 1]
 */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import {
  accumulate,
  decompose,
  disposeSums,
  loadResult,
  mergeSums,
  readPrompts,
  saveSums,
} from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'
import { Cluster, pause } from '../../test/helpers/cluster.js'
import { openBoxes, resultHash, testsOf } from '../../test/helpers/scale.js'

/** Prompts of a batch: small, so that there are as many batches as shards. */
const BATCH = 4
const MORE = ['--batch-size', `${BATCH}`, '--nulls', '2']

/**
 * Every disturbance waits until its share of the shards is done, and then a random time. Gives what happened, and `wrong`, a
 * line for everything that is not as it should be.
 */
export async function disturbCluster({ folder, shards, workers, kills, restarts, seed }) {
  const random = seededRandom(seed)
  const cluster = await Cluster.start(folder, { prompts: BATCH * shards })
  const happened = { killedWorkers: 0, killedChildren: 0, redisRestarts: 0, endedEarly: false }
  const gone = []
  try {
    const alive = Array.from({ length: workers }, () => cluster.worker())
    const running = cluster.submit('decompose', { shards, more: MORE })
    const started = performance.now()
    const kinds = { worker: kills, child: Math.ceil(kills / 4), redis: restarts }
    const events = shuffled(
      Object.entries(kinds).flatMap(([kind, count]) => Array(count).fill(kind)),
      random,
    )
    for (const [i, event] of events.entries()) {
      const share = Math.floor((0.8 * shards * i) / events.length)
      while (running.isAlive && progressOf(running) < share) {
        await pause(50)
      }
      await pause(random.next() * LONGEST_MS)
      if (!running.isAlive) {
        happened.endedEarly = true
        break
      }
      await DISTURB[event]({ cluster, alive, gone, random, happened })
    }
    const ended = await running.ended
    const seconds = (performance.now() - started) / 1000
    const tries = [...gone, ...alive].map(({ stderr }) => stderr).join('')
    return {
      ...happened,
      seconds,
      takenOver: [...tries.matchAll(/is taken over/g)].length,
      wrong: await judged(cluster, ended, shards),
    }
  } finally {
    await cluster.end()
  }
}

const LONGEST_MS = 400

function shuffled(list, random) {
  return list
    .map((item) => [random.next(), item])
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item)
}

function progressOf(running) {
  const lines = running.stderr.split('\n').filter((line) => line.startsWith('{'))
  return lines.length === 0 ? 0 : JSON.parse(lines.at(-1)).done
}

/** What is killed is started again, as those who operate a cluster do. */
const DISTURB = {
  async worker({ cluster, alive, gone, random, happened }) {
    const place = Math.floor(random.next() * alive.length)
    await alive[place].kill('SIGKILL')
    gone.push(alive[place])
    alive[place] = cluster.worker()
    happened.killedWorkers += 1
  },
  /** The process that computes; its worker starts another one. */
  async child({ alive, random, happened }) {
    const children = alive.flatMap((worker) => worker.children)
    if (children.length > 0) {
      process.kill(children[Math.floor(random.next() * children.length)], 'SIGKILL')
      happened.killedChildren += 1
    }
  },
  async redis({ cluster, random, happened }) {
    await cluster.redis.end('SIGKILL')
    await pause(random.next() * LONGEST_MS)
    await cluster.redis.begin()
    happened.redisRestarts += 1
  },
}

async function judged(cluster, { status, stdout, stderr }, shards) {
  if (status !== 0) {
    const reason = stdout === '' ? stderr : JSON.parse(stdout).reason
    return [`the run failed: ${reason}`]
  }
  const result = await loadResult(cluster.at('decompose.safetensors'))
  const wrong = []
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b)
  if (!same(testsOf(result), testsOf(await loadResult(await cluster.onePass('decompose', { more: MORE }))))) {
    wrong.push('the tests are not those of one pass')
  }
  if (resultHash(result) !== resultHash(await undisturbed(cluster, shards))) {
    wrong.push('the result is not, to the bit, that of undisturbed shards')
  }
  const files = cluster.shardFiles().length
  if (files !== shards) {
    wrong.push(`there are ${files} files of ${shards} shards`)
  }
  return wrong
}

/** The same shards, one after another in this process. */
async function undisturbed(cluster, count) {
  mkdirSync(cluster.at('undisturbed'))
  const model = await openBoxes({ threads: 1 })
  const prompts = readPrompts(cluster.at('prompts.jsonl'))
  const files = []
  for (let index = 1; index <= count; index++) {
    const shard = { index, count }
    const sums = await accumulate(model, prompts, { shard, batchSize: BATCH, threads: 1 })
    const file = cluster.at('undisturbed', `${index}.safetensors`)
    await saveSums(sums, file)
    disposeSums(sums)
    files.push(file)
  }
  const sums = await mergeSums(model, files)
  const out = cluster.at('undisturbed', 'result.safetensors')
  await (await decompose(sums, { nulls: 2, seed: 0, spectrum: true })).save(out)
  disposeSums(sums)
  return loadResult(out)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  /** @returns {{ type: 'string', default: string }} */
  const number = (value) => ({ type: 'string', default: `${value}` })
  const { values } = parseArgs({
    options: {
      shards: number(64),
      workers: number(4),
      kills: number(20),
      restarts: number(5),
      seed: number(1),
    },
  })
  /** @type {any} */
  const given = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)]))
  const folder = mkdtempSync(path.join(tmpdir(), 'qkspace-cluster-'))
  const { wrong, ...happened } = await disturbCluster({ folder, ...given })
  rmSync(folder, { recursive: true, force: true })
  console.log({ ...given, ...happened })
  console.log(wrong.length === 0 ? 'the result is right' : wrong.join('\n'))
  process.exitCode = wrong.length === 0 ? 0 : 1
}
